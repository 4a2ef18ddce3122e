"""One flipped bit anywhere in a copy: never a wrong byte out, the copy blamed, the object still whole."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from common.crypto.envelope import OVERHEAD_HEADER, cipher_length
from common.errors import CopiesUnreachable, ObjectDamaged
from common.model.copies import CopyState
from common.queue.base import TaskName
from tests.unit.api.use_cases.world import MIB, World, content

SIZE = 2 * MIB + 1000  # chunks 0 and 1 are whole, chunk 2 is short
CHUNK = MIB + 16
HEADER = {"magic": 0, "version": 4, "chunk size": 6, "end of prefix": 15, "salt": 16, "salt's end": 39} | {
    "commitment": 40,
    "commitment's end": 71,
}
BODY = {
    f"{where} of chunk {index}": OVERHEAD_HEADER + index * CHUNK + offset
    for index, length in ((0, MIB), (1, MIB), (2, 1000))
    for where, offset in (
        ("first", 0),
        ("middle", length // 2),
        ("last", length - 1),
        ("tag", length),
        ("end", length + 15),
    )
}


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    world = make_world(blob_size=4 * MIB)
    world.put(content(SIZE), write_copies=3)
    assert len(world.nodes.stores[first(world)].blobs[world.name()][0]) == cipher_length(SIZE)
    return world


def first(world: World) -> str:
    return world.nodes.read_order(world.nodes.stores)[0]


@pytest.mark.parametrize("offset", (HEADER | BODY).values(), ids=(HEADER | BODY).keys())
def test_a_flipped_bit_is_found_and_the_object_read_whole(world: World, offset: int) -> None:
    world.corrupt(first(world), offset)
    assert world.get() == content(SIZE)
    assert world.states()[first(world)] == {"suspect"}


@pytest.mark.parametrize("offset", BODY.values(), ids=BODY.keys())
def test_a_flipped_bit_is_found_by_a_range_that_touches_its_chunk_and_by_no_other(world: World, offset: int) -> None:
    world.corrupt(first(world), offset)
    index = (offset - OVERHEAD_HEADER) // CHUNK
    for touched in range(3):
        start = touched * MIB + 500
        assert world.get((start, 400)) == content(SIZE)[start : start + 400]
        assert (CopyState.SUSPECT in world.states()[first(world)]) == (touched >= index)


@pytest.mark.parametrize("offset", [*HEADER.values(), 72, 80, 171, 187], ids=str)
def test_a_flipped_bit_in_a_small_blob_is_found(world: World, offset: int) -> None:
    world.put(content(100), "small", write_copies=3)
    world.corrupt(first(world), offset, key="small")
    assert world.get(key="small") == content(100)
    assert world.states("small")[first(world)] == {"suspect"}


@pytest.mark.parametrize("offset", [*HEADER.values(), 72, 87], ids=str)
def test_a_flipped_bit_in_an_empty_object_is_found(world: World, offset: int) -> None:
    world.put(b"", "empty", write_copies=3)
    world.corrupt(first(world), offset, key="empty")
    assert world.get(key="empty") == b""
    assert world.states("empty")[first(world)] == {"suspect"}


def test_three_copies_damaged_in_different_chunks_are_read_whole(world: World) -> None:
    for index, node_id in enumerate(world.nodes.read_order(world.nodes.stores)):
        world.corrupt(node_id, OVERHEAD_HEADER + index * CHUNK + 9)
    for _ in range(2):  # again when all three are suspect
        assert world.get() == content(SIZE)
        assert set(map(frozenset, world.states().values())) == {frozenset({"suspect"})}


def test_three_copies_with_damaged_headers_are_read_whole(world: World) -> None:
    for offset, node_id in zip((3, 20, 50), world.nodes.stores, strict=True):
        world.corrupt(node_id, offset)
    assert world.get() == content(SIZE)
    assert world.states()[first(world)] == {"suspect"}


def test_one_chunk_damaged_in_every_copy_cuts_the_read_off_right_before_it(world: World) -> None:
    for node_id in world.nodes.stores:
        world.corrupt(node_id, OVERHEAD_HEADER + CHUNK + 77)
    chunks = world.open().chunks
    assert next(chunks) == content(SIZE)[:MIB]
    with pytest.raises(ObjectDamaged):
        next(chunks)
    assert world.get((2 * MIB, 1000)) == content(SIZE)[2 * MIB :]
    with pytest.raises(ObjectDamaged):
        world.open((MIB, 1))


def test_a_bit_of_a_copy_flipped_anywhere_never_gives_a_wrong_byte(world: World) -> None:
    data = content(40)
    world.put(data, "small")
    node_id = world.order(world.current("small"))[0]
    for offset in range(cipher_length(40)):
        world.corrupt(node_id, offset, key="small")
        try:
            assert world.get(key="small") == data
            assert offset < OVERHEAD_HEADER
        except ObjectDamaged:
            assert offset >= OVERHEAD_HEADER
        world.corrupt(node_id, offset, key="small")


def test_a_copy_its_node_fails_at_is_read_around_and_a_worker_is_asked_to_look(world: World) -> None:
    world.nodes.stores[first(world)].faults.rotten.add(world.name())
    assert world.get() == content(SIZE)
    assert world.states()[first(world)] == {"stored"}, "the request cannot tell whether it is the node"
    assert world.queue.ids[TaskName.DOUBT] == [blob_id(world)]


def test_an_answer_that_breaks_off_behind_its_first_chunk_is_doubted_too(world: World) -> None:
    world.nodes.stores[first(world)].faults.cut = OVERHEAD_HEADER + CHUNK
    assert world.get() == content(SIZE)
    assert world.queue.ids[TaskName.DOUBT] == [blob_id(world)]


def test_an_object_whose_copies_are_all_suspect_and_failed_at_is_damaged_not_unavailable(world: World) -> None:
    for store in world.nodes.stores.values():
        store.faults.rotten.add(world.name())
    with pytest.raises(CopiesUnreachable):
        world.get()
    for node_id in world.nodes.stores:
        world.catalogue.copies.suspect(blob_id(world), node_id, "a worker looked")
    with pytest.raises(ObjectDamaged):
        world.get()


def blob_id(world: World) -> str:
    return world.copies()[0].blob.id
