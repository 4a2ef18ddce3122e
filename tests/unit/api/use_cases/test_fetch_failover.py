"""A node refuses, hangs, is cut, lies or is gone while an object is read: the next goes on from that very chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

import pytest

import api.fetch.copy_read
from common.blobstore.base import Deadline
from common.blobstore.memory import MemoryReader, MemoryStore
from common.crypto.envelope import OVERHEAD_HEADER
from common.errors import (
    BlobMissing,
    CatalogueUnavailable,
    CopiesUnreachable,
    KeysUnavailable,
    NodeError,
    NodeTimeout,
    ObjectDamaged,
)
from common.queue.base import TaskName
from tests.unit.api.use_cases.world import MIB, World, content

BLOB = 4 * MIB
SEALED_CHUNK = MIB + 16


def in_read_order(world: World) -> list[MemoryStore]:
    return [world.nodes.stores[node_id] for node_id in world.nodes.read_order(world.nodes.stores)]


class Asked:
    """Every range a node was asked for, as (node's place in the read order, offset)."""

    def __init__(self, world: World) -> None:
        self.ranges: list[tuple[int, int]] = []
        for place, store in enumerate(in_read_order(world)):
            real = store.get

            def get(name, deadline, offset=0, length=None, real=real, place=place):  # type: ignore[no-untyped-def]
                self.ranges.append((place, offset))
                return real(name, deadline, offset, length)

            store.get = get  # type: ignore[method-assign]


def chunk_at(index: int) -> int:
    return OVERHEAD_HEADER + index * SEALED_CHUNK


@pytest.mark.parametrize("fault", ["down", "refuses"])
def test_a_node_that_refuses_is_left_and_no_copy_is_blamed(wide: World, fault: str) -> None:
    setattr(in_read_order(wide)[0].faults, fault, True)
    assert wide.get() == content(6 * MIB + 9)
    assert set(map(frozenset, wide.states().values())) == {frozenset({"stored"})}
    assert wide.queue.ids == {}


def test_a_node_that_hangs_costs_one_second_and_no_copy_is_blamed(world: World) -> None:
    world.put(content(10), write_copies=3)
    in_read_order(world)[0].faults.hung = True
    assert world.get() == content(10)
    assert set(map(frozenset, world.states().values())) == {frozenset({"stored"})}


def test_a_busy_node_is_passed_over(wide: World) -> None:
    wide.nodes.busy = {next(iter(wide.nodes.read_order(wide.nodes.stores)))}
    assert wide.get() == content(6 * MIB + 9)


def test_only_a_node_whose_bytes_opened_is_told_to_be_well(world: World) -> None:
    world.put(content(10), write_copies=3)
    one, two, _ = world.nodes.read_order(world.nodes.stores)
    world.corrupt(one, 80)
    assert world.get() == content(10)
    assert world.nodes.proved == [two]


@pytest.mark.parametrize("chunks", [0, 1, 3])
def test_an_answer_that_is_cut_goes_on_from_that_chunk_elsewhere(wide: World, chunks: int) -> None:
    in_read_order(wide)[0].faults.cut = chunk_at(chunks) + 5
    asked = Asked(wide)
    assert wide.get((0, BLOB)) == content(6 * MIB + 9)[:BLOB]
    assert asked.ranges == [(0, 0), (1, chunk_at(chunks) if chunks else 0)]
    assert set(map(frozenset, wide.states().values())) == {frozenset({"stored"})}


@pytest.mark.parametrize("chunks", [1, 2])
def test_a_node_that_dies_in_the_middle_of_a_download_is_not_noticed(
    wide: World, chunks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = wide.open().chunks
    got = [next(pieces) for _ in range(chunks)]
    first = in_read_order(wide)[0]
    first.faults.down = True
    real = MemoryReader.readinto

    def reset(self: MemoryReader, buffer: memoryview) -> None:
        monkeypatch.setattr(MemoryReader, "readinto", real)
        raise NodeError("reset")

    monkeypatch.setattr(MemoryReader, "readinto", reset)
    got += list(pieces)
    assert b"".join(got) == content(6 * MIB + 9)


def test_wrong_bytes_are_left_at_their_chunk_and_the_copy_is_blamed_once(wide: World) -> None:
    first = wide.nodes.read_order(wide.nodes.stores)[0]
    wide.corrupt(first, chunk_at(2) + 100)
    asked = Asked(wide)
    assert wide.get() == content(6 * MIB + 9)
    assert asked.ranges == [(0, 0), (1, chunk_at(2)), (0, 0)]
    blamed = [copy for copy in wide.copies() if copy.state == "suspect"]
    assert [(copy.node_id, copy.blob.number) for copy in blamed] == [(first, 0)]
    assert wide.queue.ids[TaskName.VERIFY] == [blamed[0].blob.id]
    wide.get()
    assert wide.queue.ids[TaskName.VERIFY] == [blamed[0].blob.id]


def test_a_suspect_copy_is_asked_last(wide: World) -> None:
    first = wide.nodes.read_order(wide.nodes.stores)[0]
    wide.corrupt(first, chunk_at(0))
    wide.get()
    asked = Asked(wide)
    wide.get((0, 5))
    assert asked.ranges == [(1, chunk_at(0))]


def test_an_absent_copy_is_blamed(world: World) -> None:
    world.put(content(10), write_copies=3)
    first = world.nodes.read_order(world.nodes.stores)[0]
    world.remove(first)
    assert world.get() == content(10)
    assert world.states()[first] == {"suspect"}
    assert world.queue.ids[TaskName.VERIFY] == [world.copies()[0].blob.id]


@pytest.mark.parametrize("length", [0, 1, 71, 72, 100, 1000])
def test_a_short_copy_is_blamed(world: World, length: int) -> None:
    world.put(content(2000), write_copies=3)
    first = world.nodes.read_order(world.nodes.stores)[0]
    world.replace(first, world.nodes.stores[first].blobs[world.name()][0][:length])
    assert world.get() == content(2000)
    assert world.states()[first] == {"suspect"}


@pytest.mark.parametrize("length", [0, 71, 72, chunk_at(1) - 1, chunk_at(1), chunk_at(3) + 7, chunk_at(4)])
def test_a_truncated_copy_is_read_as_far_as_it_goes_and_blamed(wide: World, length: int) -> None:
    first = wide.nodes.read_order(wide.nodes.stores)[0]
    wide.replace(first, wide.nodes.stores[first].blobs[wide.name()][0][:length])
    assert wide.get() == content(6 * MIB + 9)
    assert "suspect" in wide.states()[first]


def test_a_copy_with_bytes_behind_its_end_is_blamed(world: World) -> None:
    world.put(content(2000), write_copies=3)
    first = world.nodes.read_order(world.nodes.stores)[0]
    world.replace(first, world.nodes.stores[first].blobs[world.name()][0] + b"x")
    assert world.get() == content(2000)
    assert world.states()[first] == {"suspect"}


@pytest.mark.parametrize("ranges", [[], [(BLOB - 10, 20)]], ids=["whole", "range"])
def test_another_blobs_bytes_are_never_served(wide: World, ranges: list[tuple[int, int]]) -> None:
    wide.put(content(6 * MIB + 9, seed=2), key="other", write_copies=3)
    first = wide.nodes.read_order(wide.nodes.stores)[0]
    store = wide.nodes.stores[first]
    foreign = store.blobs[wide.name(0, "other")][0]
    second = store.blobs[wide.name(1)][0]
    wide.replace(first, foreign, 0)
    wide.replace(first, foreign[: len(second)], 1)
    expected = content(6 * MIB + 9)
    assert wide.get(*ranges) == (expected[BLOB - 10 : BLOB + 10] if ranges else expected)
    assert wide.states()[first] == {"suspect"}


def test_blobs_of_one_object_in_each_others_place_are_never_served(make_world: Callable[..., World]) -> None:
    world = make_world(blob_size=MIB)
    world.put(content(2 * MIB), write_copies=3)
    for store in world.nodes.stores.values():
        one, two = world.name(0), world.name(1)
        store.blobs[one], store.blobs[two] = store.blobs[two], store.blobs[one]
    with pytest.raises(ObjectDamaged):
        world.open()


# -- where the copies are


def test_the_nodes_of_missing_rows_are_asked_last_and_not_blamed(world: World) -> None:
    stored = world.put(content(10))
    first, second, _ = world.order(stored.version)
    world.nodes.stores[second].blobs.update(world.nodes.stores[first].blobs)
    world.nodes.stores[first].faults.down = True
    assert world.get() == content(10)
    assert world.states()[second] == {"missing"}
    assert TaskName.VERIFY not in world.queue.ids


def test_every_copy_unreachable_is_unavailable(world: World) -> None:
    world.put(content(10), write_copies=3)
    for store in world.nodes.stores.values():
        store.faults.down = True
    with pytest.raises(CopiesUnreachable):
        world.open()
    world.nodes.down = set(world.nodes.stores)
    with pytest.raises(CopiesUnreachable):
        world.open()


def test_every_wanted_copy_absent_or_wrong_is_damaged(world: World) -> None:
    world.put(content(1000), write_copies=3)
    one, two, three = world.nodes.stores
    world.remove(one)
    world.replace(two, b"")
    world.corrupt(three, 200)
    with pytest.raises(ObjectDamaged):
        world.open()
    assert set(map(frozenset, world.states().values())) == {frozenset({"suspect"})}


def test_one_copy_that_could_not_be_asked_is_unavailable_not_damaged(world: World) -> None:
    world.put(content(1000), write_copies=3)
    one, two, three = world.nodes.stores
    world.remove(one)
    world.corrupt(two, 200)
    world.nodes.stores[three].faults.down = True
    with pytest.raises(CopiesUnreachable):
        world.open()
    world.nodes.stores[three].faults.down = False
    world.nodes.down = {three}
    with pytest.raises(CopiesUnreachable):
        world.open()
    world.nodes.down = set()
    assert world.get() == content(1000)


def test_a_row_without_a_node_counts_as_neither(make_world: Callable[..., World]) -> None:
    world = make_world(nodes=2)
    world.put(content(1000), write_copies=2)
    for node_id in world.nodes.stores:
        world.remove(node_id)
    with pytest.raises(ObjectDamaged):
        world.open()


def test_a_copy_only_wanted_on_an_unreachable_node_makes_it_unavailable(world: World) -> None:
    stored = world.put(content(1000))
    first, second, _ = world.order(stored.version)
    world.remove(first)
    world.nodes.down = {second}
    with pytest.raises(CopiesUnreachable):
        world.open()
    world.nodes.down = set()
    with pytest.raises(ObjectDamaged):
        world.open()


def test_a_copy_made_elsewhere_during_the_read_is_found(wide: World) -> None:
    """The rows a long read began with are old by the time of its last blob."""
    chunks = wide.open().chunks
    got = next(chunks)
    name = wide.name(1)
    one, two, three = wide.nodes.stores
    wide.change(f"DELETE FROM copies WHERE node_id <> '{one}' AND blob_id LIKE '{name[-32:]}'")
    for node_id in (one, two, three):
        data = wide.nodes.stores[node_id].blobs.pop(name)
    wide.nodes.stores["late"] = MemoryStore()
    wide.nodes.stores["late"].blobs[name] = data
    wide.change("INSERT INTO nodes SELECT 'late', 'late' " + columns_after_name(wide))
    wide.change(f"UPDATE copies SET node_id = 'late' WHERE blob_id = '{name[-32:]}'")
    assert got + b"".join(chunks) == content(6 * MIB + 9)


def columns_after_name(world: World) -> str:
    def names() -> Iterator[str]:
        for row in world.rows("PRAGMA table_info(nodes)"):
            if row[1] not in ("id", "name"):
                yield "'http://late'" if row[1] == "endpoint" else str(row[1])

    return ", " + ", ".join(names()) + " FROM nodes LIMIT 1"


# -- without a catalogue, keys; ended early


def test_without_a_catalogue_nobody_is_blamed_and_the_read_goes_on(wide: World) -> None:
    first = wide.nodes.read_order(wide.nodes.stores)[0]
    wide.corrupt(first, chunk_at(1))

    def away(version_id: str) -> bool:
        raise CatalogueUnavailable("gone")

    wide.catalogue.objects.is_current = away  # type: ignore[method-assign]
    assert wide.get() == content(6 * MIB + 9)
    assert wide.queue.ids == {}


def test_without_keys_nothing_is_read(world: World) -> None:
    world.put(b"x")
    world.keys.away = True
    with pytest.raises(KeysUnavailable):
        world.open()


def test_a_data_key_wrapped_for_another_object_does_not_open(world: World) -> None:
    world.put(b"one", key="a")
    world.put(b"two", key="b")
    world.change("UPDATE versions SET wrapped_dek = (SELECT wrapped_dek FROM versions WHERE key = 'a')")
    assert world.get(key="a") == b"one"
    with pytest.raises(ObjectDamaged):
        world.open(key="b")


def test_a_read_closed_early_gives_its_connection_back(wide: World) -> None:
    open_answers: list[str] = []
    for store in wide.nodes.stores.values():
        real = store.get

        def get(name, *rest, real=real):  # type: ignore[no-untyped-def]
            @contextmanager
            def counted():  # type: ignore[no-untyped-def]
                with real(name, *rest) as reader:
                    open_answers.append(name)
                    try:
                        yield reader
                    finally:
                        open_answers.remove(name)

            return counted()

        store.get = get  # type: ignore[method-assign]
    for taken in (0, 1, 2):
        fetched = wide.open()
        assert len(open_answers) == 1
        for _ in range(taken):
            next(fetched.chunks)
        fetched.chunks.close()  # type: ignore[attr-defined]
        assert open_answers == []


def test_a_client_that_stalls_loses_the_connection_and_still_gets_everything(
    wide: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(wide)
    monkeypatch.setattr(api.fetch.copy_read, "STALL_SECONDS", 0.0)
    assert wide.get((0, BLOB)) == content(6 * MIB + 9)[:BLOB]
    assert [offset for _, offset in asked.ranges] == [0, *map(chunk_at, range(1, 5))]


def test_time_the_client_takes_is_given_back_to_the_node(wide: World, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    monkeypatch.setattr(Deadline, "extend", lambda self, seconds: given.append(seconds))
    for _ in wide.open((0, BLOB)).chunks:
        end = monotonic() + 0.02
        while monotonic() < end:
            pass
    assert len(given) == 5
    assert min(given[:4]) >= 0.02


@pytest.mark.parametrize("error", [NodeError("x"), NodeTimeout("x"), BlobMissing("x")])
def test_every_kind_of_failure_at_every_node_ends_in_an_error(world: World, error: Exception) -> None:
    world.put(content(10), write_copies=3)

    def fail(operation: str, name: str) -> None:
        raise error

    for store in world.nodes.stores.values():
        store.faults.before = fail
    with pytest.raises(ObjectDamaged if isinstance(error, BlobMissing) else CopiesUnreachable):
        world.open()
