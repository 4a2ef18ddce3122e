"""What goes in comes out: every boundary of chunks and blobs, and what a store leaves behind."""

from __future__ import annotations

import hashlib

import pytest

from common.errors import NoSuchBucket, NoSuchObject, NotAllowed
from common.model.versions import Headers, ObjectState
from common.queue.base import TaskName
from tests.unit.api.use_cases.world import BUCKET, MIB, BytesBody, World, content

SIZES = [0, 1, 16384, MIB - 1, MIB, MIB + 1, 2 * MIB - 1, 2 * MIB, 2 * MIB + 1, 3 * MIB, 4 * MIB, 7 * MIB + 5]


@pytest.mark.parametrize("known", [True, False], ids=["length announced", "length unknown"])
@pytest.mark.parametrize("size", SIZES)
def test_a_body_of_any_length_comes_back_whole(world: World, size: int, known: bool) -> None:
    data = content(size)
    stored = world.put(data, known=known)
    assert world.get() == data
    assert stored.version.size == size
    assert stored.version.blob_count == max(1, -(-size // (2 * MIB)))
    assert stored.version.sha256 == hashlib.sha256(data).digest()
    assert world.store.buffers.free == world.settings.api_threads


@pytest.mark.parametrize(
    ("start", "length"),
    [
        (0, 1),
        (5 * MIB + 4, 1),
        (MIB - 1, 2),
        (2 * MIB - 1, 2),
        (2 * MIB, 1),
        (MIB, MIB),
        (1, 4 * MIB),
        (3 * MIB + 7, 2 * MIB - 2),
        (4 * MIB, MIB + 5),
    ],
)
def test_a_range_is_exactly_these_bytes(world: World, start: int, length: int) -> None:
    data = content(5 * MIB + 5)
    world.put(data)
    assert world.get((start, length)) == data[start : start + length]


def test_several_ranges_come_one_behind_the_other_in_the_order_asked_for(world: World) -> None:
    data = content(5 * MIB)
    world.put(data)
    ranges = [(3 * MIB, 10), (0, 5), (2 * MIB - 3, 6)]
    assert world.get(*ranges) == b"".join(data[start : start + length] for start, length in ranges)


def test_no_chunk_reaches_over_the_border_of_a_range(world: World) -> None:
    world.put(content(3 * MIB))
    chunks = list(world.open((0, 10), (10, 20)).chunks)
    assert [len(chunk) for chunk in chunks] == [10, 20]


def test_a_range_reads_only_the_chunks_it_touches(world: World) -> None:
    world.put(content(2 * MIB))
    asked: list[int] = []
    for store in world.nodes.stores.values():
        real = store.get

        def get(name, deadline, offset=0, length=None, real=real):  # type: ignore[no-untyped-def]
            asked.append(length)
            return real(name, deadline, offset, length)

        store.get = get  # type: ignore[method-assign]
    assert len(world.get((MIB + 5, 10))) == 10
    assert asked == [MIB + 16]


def test_no_ranges_read_nothing(world: World) -> None:
    world.put(content(10))
    for store in world.nodes.stores.values():
        store.faults.down = True
    fetched = world.fetch(BUCKET, "k", lambda version: ())
    assert list(fetched.chunks) == []
    assert fetched.version.size == 10


def test_a_version_of_more_blobs_than_a_page_is_read_from_any_position(make_world) -> None:  # type: ignore[no-untyped-def]
    world = make_world(blob_size=MIB)
    data = content(40 * MIB + 3)
    world.put(data)
    assert world.get() == data
    for start in (39 * MIB + 7, 17 * MIB, 16 * MIB - 1, 40 * MIB):
        assert world.get((start, 3)) == data[start : start + 3]


def test_what_is_returned_is_what_the_catalogue_says(world: World) -> None:
    headers = Headers("text/plain", "gzip", "es", "attachment", "no-store", {"uno": "1", "dos": "zwei"})
    for size in (10, 5 * MIB):
        stored = world.put(content(size), headers=headers, write_copies=2)
        found = world.catalogue.objects.find(BUCKET, "k")
        assert found.version == stored.version
        assert found.protection == stored.protection
        assert stored.protection.state is ObjectState.REPLICATING


def test_a_second_body_under_a_name_replaces_the_first(world: World) -> None:
    assert not world.put(b"one").replaced
    assert world.put(content(3 * MIB)).replaced
    assert world.put(b"three").replaced
    assert world.get() == b"three"


@pytest.mark.parametrize("size", [10, 5 * MIB])
def test_the_primary_is_the_first_in_placement_order_and_the_rest_is_enqueued(world: World, size: int) -> None:
    stored = world.put(content(size))
    first, *others = world.order(stored.version)
    assert world.states() == {first: {"stored"}, **{node_id: {"missing"} for node_id in others}}
    assert world.queue.ids[TaskName.REPLICATE] == list(dict.fromkeys(copy.blob.id for copy in world.copies()))
    world.replicate()
    assert world.catalogue.objects.find(BUCKET, "k").protection.state is ObjectState.PROTECTED
    assert world.get() == content(size)


@pytest.mark.parametrize("size", [10, 5 * MIB])
def test_an_object_with_all_its_copies_written_is_protected_and_nothing_is_enqueued(world: World, size: int) -> None:
    stored = world.put(content(size), write_copies=3)
    assert stored.protection.state is ObjectState.PROTECTED
    assert set(map(frozenset, world.states().values())) == {frozenset({"stored"})}
    assert world.queue.ids == {}


def test_copies_that_no_node_can_hold_yet_stand_without_a_node(make_world) -> None:  # type: ignore[no-untyped-def]
    world = make_world(nodes=2)
    for size in (10, 5 * MIB):
        stored = world.put(content(size))
        first, second = world.order(stored.version)
        assert world.states() == {first: {"stored"}, second: {"missing"}, None: {"missing"}}
        assert len(world.copies()) == 3 * stored.version.blob_count


def test_blobs_whose_only_missing_copies_have_no_node_are_not_enqueued(make_world) -> None:  # type: ignore[no-untyped-def]
    world = make_world(nodes=1)
    world.put(b"x")
    assert world.queue.ids == {}


def test_nothing_of_the_body_stands_readable_on_a_node(world: World) -> None:
    data = b"a line that would be found again\n" * 100
    world.put(data, write_copies=3)
    for store in world.nodes.stores.values():
        for sealed, _ in store.blobs.values():
            assert b"found again" not in sealed


def test_the_same_body_twice_has_nothing_in_common_on_the_nodes(world: World) -> None:
    world.put(b"same" * 1000, key="a")
    world.put(b"same" * 1000, key="b")
    first, second = (data for store in world.nodes.stores.values() for data, _ in store.blobs.values())
    assert first[16:] != second[16:]
    assert sum(a == b for a, b in zip(first[16:], second[16:], strict=True)) < len(first) / 20


def test_what_is_not_there_is_said_so(world: World) -> None:
    with pytest.raises(NoSuchObject):
        world.get(key="nothing")
    with pytest.raises(NoSuchBucket):
        world.fetch("nobucket", "k", lambda version: [(0, 1)])
    with pytest.raises(NoSuchBucket):
        world.store("nobucket", "k", BytesBody(b"x"), Headers())
    with pytest.raises(NoSuchObject):
        world.delete(BUCKET, "k")


def test_a_deleted_object_is_gone_and_its_name_free(world: World) -> None:
    world.put(b"one")
    world.delete(BUCKET, "k")
    with pytest.raises(NoSuchObject):
        world.get()
    assert not world.put(b"two").replaced
    assert world.get() == b"two"


@pytest.mark.parametrize("copies", [0, 4])
def test_write_copies_out_of_the_buckets_bounds_are_not_allowed(world: World, copies: int) -> None:
    with pytest.raises(NotAllowed, match="X-Write-Copies"):
        world.put(b"x", write_copies=copies)
    assert world.blobs_on_nodes() == 0
