from __future__ import annotations

import threading
import time

import pytest

from common.errors import NodeBusy
from tests.support.waiting import wait_until
from workers.copies.slots import NodeSlots, WorkerSlots


@pytest.mark.parametrize(("threads", "slots", "puts"), [(1, 1, 1), (3, 1, 1), (4, 1, 2), (8, 2, 4), (24, 8, 12)])
def test_a_node_gets_at_most_a_third_of_the_threads(threads: int, slots: int, puts: int) -> None:
    shares = WorkerSlots.of(threads)
    assert (shares.threads.limit, shares.puts.limit) == (slots, puts)


def test_what_is_over_a_node_s_share_is_refused_and_harms_no_other_node() -> None:
    share = NodeSlots(2, patience=0)
    share.take("slow")
    share.take("slow")
    with pytest.raises(NodeBusy):
        share.take("slow")
    share.take("another")


def test_after_one_waited_in_vain_nobody_else_waits() -> None:
    share = NodeSlots(1, patience=0.05, busy=60)
    share.take("slow")
    for least in (0.05, 0.0, 0.0):
        start = time.monotonic()
        with pytest.raises(NodeBusy):
            share.take("slow")
        assert least <= time.monotonic() - start
    start = time.thread_time()
    for _ in range(1000):
        with pytest.raises(NodeBusy):
            share.take("slow")
    assert time.thread_time() - start < 1
    share.give("slow")
    share.take("slow")


def test_a_slot_given_back_goes_to_who_waits() -> None:
    share = NodeSlots(1, patience=10)
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
    share = NodeSlots(1, patience=0)
    with pytest.raises(OSError, match="cut"), share.slot("node"):
        raise OSError("cut")
    with share.slot("node"):
        pass


def test_never_more_calls_at_once_than_slots() -> None:
    share = NodeSlots(2, patience=10)
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
    wait_until(lambda: not any(thread.is_alive() for thread in threads))
    assert most <= share.limit
