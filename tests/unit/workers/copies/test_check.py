"""A copy is read with the memory that it has to take, and what the node answers is told apart."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable

import pytest
from blake3 import blake3

from common.blobstore.base import Deadline
from common.errors import NodeError, NodeTimeout
from common.model.names import blob_name
from common.model.versions import Blob
from tests.unit.workers.rig import Rig
from workers.copies.check import DAMAGED, GOOD, PIECE_BYTES, UNREACHABLE, CopyCheck, Finding, Unreadable
from workers.copies.slots import NodeSlots

SIZE = 16 << 20
Read = Callable[[CopyCheck, str, Blob, str | None, Deadline], bytearray | None]


def check_copy(rig: Rig) -> CopyCheck:
    return CopyCheck(rig.nodes, NodeSlots(2))


def placed(rig: Rig, data: bytes) -> Blob:
    """A blob of these bytes on the first node."""
    blob = Blob("b" * 32, 0, 0, len(data), len(data), blake3(data).digest(), bytes(24))
    rig.nodes.stores[rig.ids[0]].blobs[blob_name(blob.id)] = (memoryview(data), 0.0)  # type: ignore[assignment]
    return blob


@pytest.mark.parametrize(
    ("read", "most"), [(CopyCheck.whole, SIZE), (CopyCheck.through, PIECE_BYTES)], ids=["kept", "looked at"]
)
def test_a_blob_that_is_read_is_in_memory_once_at_most(rig: Rig, read: Read, most: int) -> None:
    data = os.urandom(SIZE)
    blob = placed(rig, data)
    tracemalloc.start()
    found = read(check_copy(rig), rig.ids[0], blob, None, Deadline(5))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found in (data, None)
    assert peak < most + (1 << 20)


def test_what_a_node_fails_at_twice_while_it_reads_others_is_damaged(rig: Rig) -> None:
    blob = placed(rig, b"x" * 100)
    rig.nodes.stores[rig.ids[0]].faults.rotten.add(blob_name(blob.id))
    finding = check_copy(rig)(rig.ids[0], blob, None)
    assert finding.kind == DAMAGED
    assert "500 InternalError" in finding.detail
    with pytest.raises(Unreadable):
        check_copy(rig).whole(rig.ids[0], blob, None, Deadline(5))


def test_an_answer_that_breaks_off_is_the_same(rig: Rig) -> None:
    blob = placed(rig, b"x" * 100)
    rig.nodes.stores[rig.ids[0]].faults.cut = 40
    assert check_copy(rig)(rig.ids[0], blob, None).kind == DAMAGED


def test_what_a_node_failed_at_once_is_good_when_it_reads_it_after_all(rig: Rig) -> None:
    blob = placed(rig, b"x" * 100)
    rotten = rig.nodes.stores[rig.ids[0]].faults.rotten
    rotten.add(blob_name(blob.id))

    def passing(operation: str, name: str) -> None:
        if len(rig.nodes.stores[rig.ids[0]].calls) > 1:
            rotten.clear()

    rig.nodes.stores[rig.ids[0]].faults.before = passing
    assert check_copy(rig)(rig.ids[0], blob, None) == Finding(GOOD)


def test_a_node_that_fails_at_every_name_says_nothing_about_a_copy(rig: Rig) -> None:
    blob = placed(rig, b"x" * 100)
    rig.nodes.stores[rig.ids[0]].faults.failing = True
    assert check_copy(rig)(rig.ids[0], blob, None).kind == UNREACHABLE


def test_a_node_that_fails_at_one_name_after_long_trying_is_waited_for_once(rig: Rig) -> None:
    blob = placed(rig, b"x" * 100)
    faults = rig.nodes.stores[rig.ids[0]].faults
    faults.rotten.add(blob_name(blob.id))
    faults.trying = 0.3
    with pytest.raises(Unreadable):
        check_copy(rig).through(rig.ids[0], blob, None, Deadline(0.1))
    assert len(rig.nodes.stores[rig.ids[0]].calls) == 2


def test_what_was_found_unreadable_is_not_tried_again_by_the_one_who_repairs_it(rig: Rig) -> None:
    blob = placed(rig, b"x" * 100)
    store = rig.nodes.stores[rig.ids[0]]
    store.faults.rotten.add(blob_name(blob.id))
    check = check_copy(rig)
    assert check(rig.ids[0], blob, None).kind == DAMAGED
    before = len(store.calls)
    with pytest.raises(Unreadable):
        check.whole(rig.ids[0], blob, None, Deadline(5))
    assert len(store.calls) == before
    store.faults.rotten.clear()
    assert check.whole(rig.ids[0], blob, None, Deadline(5)) == b"x" * 100, "the next one looks for itself"


@pytest.mark.parametrize("error", [NodeError("refused"), NodeTimeout("hung")], ids=["refused", "timed out"])
def test_a_node_that_does_not_answer_says_nothing_about_a_copy(rig: Rig, error: NodeError) -> None:
    blob = placed(rig, b"x" * 100)

    def fails(operation: str, name: str) -> None:
        raise error

    rig.nodes.stores[rig.ids[0]].faults.before = fails
    assert check_copy(rig)(rig.ids[0], blob, None).kind == UNREACHABLE
