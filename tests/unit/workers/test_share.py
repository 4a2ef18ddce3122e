from __future__ import annotations

import threading

import pytest

from common.errors import NodeBusy
from tests.unit.workers.rig import until
from workers.share import NodeShare


@pytest.mark.parametrize(("threads", "slots"), [(1, 1), (2, 1), (3, 1), (4, 1), (6, 2), (8, 2), (9, 3), (24, 8)])
def test_a_node_gets_at_most_a_third_of_the_threads(threads: int, slots: int) -> None:
    share = NodeShare(threads, patience=0)
    for _ in range(slots):
        share.take("slow")
    with pytest.raises(NodeBusy):
        share.take("slow")
    share.take("another")


def test_a_slot_given_back_goes_to_who_waits() -> None:
    share = NodeShare(3, patience=10)
    share.take("node")
    got = threading.Event()

    def wait() -> None:
        share.take("node")
        got.set()

    thread = threading.Thread(target=wait)
    thread.start()
    share.give("node")
    thread.join(5)
    assert got.is_set()


def test_a_slot_is_given_back_when_the_call_fails() -> None:
    share = NodeShare(3, patience=0)
    with pytest.raises(OSError, match="cut"), share.slot("node"):
        raise OSError("cut")
    with share.slot("node"):
        pass


def test_never_more_calls_at_once_than_slots() -> None:
    share = NodeShare(6, patience=10)
    inside, most, lock = 0, 0, threading.Lock()

    def call() -> None:
        nonlocal inside, most
        for _ in range(50):
            with share.slot("node"):
                with lock:
                    inside += 1
                    most = max(most, inside)
                with lock:
                    inside -= 1

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    until(lambda: not any(thread.is_alive() for thread in threads))
    assert most <= share.limit
