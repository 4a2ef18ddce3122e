"""A node is slow or hangs: another copy is asked, the first that opens is sent, nobody is blamed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from common.blobstore.memory import MemoryStore
from common.errors import CopiesUnreachable
from common.queue.base import TaskName
from tests.unit.api.use_cases.world import MIB, World, content

SLACK = 0.4  # for a busy machine


@pytest.fixture
def hedging(make_world: Callable[..., World]) -> World:
    """An object of one chunk and one of several, on all three nodes; a first byte is late after 50 ms."""
    world = make_world(blob_size=4 * MIB)
    world.put(content(1000), write_copies=3)
    world.put(content(3 * MIB + 5), key="wide", write_copies=3)
    world.nodes.late = 0.05
    return world


def in_order(world: World) -> list[MemoryStore]:
    return [world.nodes.stores[node_id] for node_id in world.nodes.read_order(world.nodes.stores)]


def timed(call: Callable[[], bytes]) -> tuple[bytes, float]:
    started = time.monotonic()
    return call(), time.monotonic() - started


def idle_spare_threads(world: World) -> bool:
    """Whether all of them can be had at once."""
    held = threading.Event()
    taken = [world.fetch._spare.run(held.wait) for _ in range(4)]
    held.set()
    for future in taken:
        if future is not None:
            future.result(5)
    return None not in taken


@pytest.mark.parametrize(("key", "length"), [("k", 1000), ("wide", 3 * MIB + 5)])
@pytest.mark.parametrize("hung", [1, 2])
def test_hung_nodes_cost_the_time_after_which_they_are_late_and_no_more(
    hedging: World, key: str, length: int, hung: int
) -> None:
    for store in in_order(hedging)[:hung]:
        store.faults.hung = True
    got, seconds = timed(lambda: hedging.get(key=key))
    assert got == content(length)
    assert 0.05 * hung <= seconds < 0.05 * hung + SLACK
    assert set(map(frozenset, hedging.states(key).values())) == {frozenset({"stored"})}


def test_three_hung_nodes_do_not_add_up(hedging: World) -> None:
    for store in in_order(hedging):
        store.faults.hung = True
    started = time.monotonic()
    with pytest.raises(CopiesUnreachable):
        hedging.open()
    assert time.monotonic() - started < 1.2 + SLACK


def test_a_node_that_answers_in_time_has_no_second_one_asked_beside_it(hedging: World) -> None:
    hedging.nodes.late = 5.0
    assert hedging.get() == content(1000)
    first, *others = in_order(hedging)
    assert sum(operation == "get" for operation, _ in first.calls) == 1
    assert [call for store in others for call in store.calls if call[0] == "get"] == []


def test_the_slow_one_is_taken_if_it_is_the_first_after_all(hedging: World) -> None:
    first, second, third = in_order(hedging)
    first.faults.slow, second.faults.slow, third.faults.slow = 0.2, 5.0, 5.0
    got, seconds = timed(hedging.get)
    assert got == content(1000)
    assert 0.2 <= seconds < 0.2 + SLACK
    assert hedging.nodes.proved == [hedging.nodes.read_order(hedging.nodes.stores)[0]]


def test_a_second_copy_that_does_not_open_is_passed_over_for_the_third(hedging: World) -> None:
    one, two, three = hedging.nodes.read_order(hedging.nodes.stores)
    hedging.nodes.stores[one].faults.hung = True
    hedging.corrupt(two, 100)
    got, seconds = timed(hedging.get)
    assert got == content(1000)
    assert seconds < 0.05 + SLACK
    assert hedging.nodes.proved == [three]
    assert hedging.states() == {one: {"stored"}, two: {"suspect"}, three: {"stored"}}


def test_a_slow_node_with_wrong_bytes_is_not_waited_for_and_not_served(hedging: World) -> None:
    one, two, _ = hedging.nodes.read_order(hedging.nodes.stores)
    hedging.nodes.stores[one].faults.slow = 0.15
    hedging.nodes.stores[two].faults.slow = 0.3
    hedging.corrupt(one, 100)
    assert hedging.get() == content(1000)
    assert hedging.nodes.proved[-1] != one


def test_without_a_free_thread_it_waits_as_long_as_it_would_alone(hedging: World) -> None:
    in_order(hedging)[0].faults.hung = True
    held = threading.Event()
    for _ in range(4):
        hedging.fetch._spare.run(held.wait)
    try:
        got, seconds = timed(hedging.get)
    finally:
        held.set()
    assert got == content(1000)
    assert 1.0 <= seconds < 1.0 + SLACK


def test_the_one_that_lost_gives_its_thread_back_at_once(hedging: World) -> None:
    first, second, third = in_order(hedging)
    first.faults.slow = 0.15
    second.faults.hung = third.faults.hung = True
    hedging.get()
    until = time.monotonic() + 0.5
    while not idle_spare_threads(hedging):
        assert time.monotonic() < until, "a spare thread is still held"


def test_many_readers_of_a_hung_node_all_get_their_bytes(hedging: World) -> None:
    in_order(hedging)[0].faults.hung = True
    slow: list[float] = []

    def read() -> None:
        for _ in range(5):
            got, seconds = timed(hedging.get)
            slow.append(seconds if got == content(1000) else 99)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(slow) == 40
    assert max(slow) < 1.2 + SLACK


def test_a_read_that_is_closed_while_others_were_asked_leaves_nothing_open(hedging: World) -> None:
    in_order(hedging)[0].faults.hung = True
    fetched = hedging.open(key="wide")
    next(fetched.chunks)
    with suppress(AttributeError):
        fetched.chunks.close()  # type: ignore[attr-defined]
    assert idle_spare_threads(hedging)


def test_a_node_only_this_process_believes_down_is_looked_at_before_a_read_is_given_up(world: World) -> None:
    """Its return is noticed by one process before another."""
    stored = world.put(content(10))
    first = world.order(stored.version)[0]
    world.nodes.down = {first}
    with pytest.raises(CopiesUnreachable):
        world.open()
    world.nodes.returning = {first}
    assert world.get() == content(10)


def test_a_blob_whose_first_copy_is_late_again_and_again_is_looked_at(hedging: World) -> None:
    in_order(hedging)[0].faults.hung = True
    for _ in range(2):
        assert hedging.get() == content(1000)
    assert TaskName.DOUBT not in hedging.queue.ids
    assert hedging.get() == content(1000)
    assert hedging.queue.ids[TaskName.DOUBT] == [hedging.copies()[0].blob.id]


def test_a_copy_that_is_overtaken_after_it_began_is_not_late(hedging: World) -> None:
    for _ in range(4):
        assert hedging.get() == content(1000)
    assert TaskName.DOUBT not in hedging.queue.ids
