"""Where a blob goes: the pure rule with literal nodes, and puts side by side with and without spare threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from api.spare_threads import SpareThreads
from api.store.placing import place, wanted_nodes
from api.store.sealing import Sealed
from common.errors import NotEnoughNodes
from common.model.versions import Blob
from tests.support.seen_nodes import SeenNodes

NODES = ["a", "b", "c", "d"]
SEALED = Sealed(Blob("0" * 32, 0, 0, 1, 9, b"", b""), memoryview(b"the bytes"))


@pytest.mark.parametrize(
    ("order", "copies", "landed", "wanted"),
    [
        ("abcd", 3, "", ["a", "b", "c"]),
        ("abcd", 3, "b", ["a", "b", "c"]),
        ("abcd", 3, "d", ["a", "b", "d"]),
        ("abcd", 3, "dc", ["a", "d", "c"]),
        ("abcd", 2, "cd", ["d", "c"]),
        ("abcd", 1, "c", ["c"]),
        ("ab", 3, "b", ["a", "b", None]),
        ("", 2, "", [None, None]),
    ],
)
def test_wanted_are_the_first_in_order_and_every_node_that_has_it(
    order: str, copies: int, landed: str, wanted: list[str | None]
) -> None:
    assert wanted_nodes(list(order), copies, list(landed)) == wanted


@pytest.fixture(params=[4, 1, 0], ids=["threads for all", "one spare thread", "no spare thread"])
def spare(request: pytest.FixtureRequest) -> Iterator[SpareThreads]:
    threads = SpareThreads(max(1, request.param), "put")
    release = threading.Event()
    if not request.param:
        assert threads.run(lambda: release.wait(10))
    yield threads
    release.set()
    threads.close()


@pytest.mark.parametrize("down", ["", "a", "b", "ab"])
def test_enough_nodes_take_it_whichever_fail(spare: SpareThreads, down: str) -> None:
    nodes = SeenNodes(NODES)
    for node_id in down:
        nodes.stores[node_id].faults.down = True
    landed = place(nodes, spare, SEALED, NODES, 2)
    assert sorted(landed) == [node_id for node_id in NODES if node_id not in down][:2]
    assert {node_id for node_id in NODES if nodes.stores[node_id].blobs} == set(landed)


def test_too_few_nodes_are_said_after_every_one_was_tried(spare: SpareThreads) -> None:
    nodes = SeenNodes(NODES)
    for node_id in "abd":
        nodes.stores[node_id].faults.full = True
    with pytest.raises(NotEnoughNodes):
        place(nodes, spare, SEALED, NODES, 2)
    assert [len(nodes.stores[node_id].calls) for node_id in NODES] == [1, 1, 1, 1]


def test_puts_of_one_blob_run_side_by_side() -> None:
    """Each put waits until both have begun: one behind the other they would never meet."""
    nodes = SeenNodes(NODES)
    both = threading.Barrier(2, timeout=5)

    def meet(operation: str, name: str) -> None:
        both.wait()

    for store in nodes.stores.values():
        store.faults.before = meet
    spare = SpareThreads(2, "put")
    assert sorted(place(nodes, spare, SEALED, NODES, 2)) == ["a", "b"]
    spare.close()


def test_an_error_of_one_put_is_raised_once_no_other_uses_the_buffer() -> None:
    nodes = SeenNodes(NODES)
    nodes.stores["b"].faults.slow = 0.1

    def fault(operation: str, name: str) -> None:
        raise RuntimeError

    nodes.stores["a"].faults.before = fault
    spare = SpareThreads(2, "put")
    with pytest.raises(RuntimeError):
        place(nodes, spare, SEALED, NODES, 2)
    assert nodes.stores["b"].blobs
    spare.close()
