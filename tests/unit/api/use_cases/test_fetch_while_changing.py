"""The object is replaced or deleted while it is read: what is read is one version, whole, or an error."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from common.errors import (
    NoSuchObject,
    ObjectDamaged,
    Unavailable,
)
from common.queue.base import TaskName
from tests.unit.api.use_cases.world import BUCKET, MIB, World, content


def test_an_object_replaced_before_the_first_byte_is_read_anew(world: World) -> None:
    world.put(content(10), write_copies=3)
    vanish_once(world, lambda: world.put(b"newer", write_copies=3))
    seen: list[int] = []

    def select(version: object) -> list[tuple[int, int]]:
        seen.append(version.size)  # type: ignore[attr-defined]
        return [(0, seen[-1])]

    fetched = world.fetch(BUCKET, "k", select)
    assert b"".join(fetched.chunks) == b"newer"
    assert fetched.version.size == 5
    assert seen == [10, 5]
    assert TaskName.VERIFY not in world.queue.ids


def test_an_object_deleted_before_the_first_byte_is_not_there(world: World) -> None:
    world.put(content(10), write_copies=3)
    vanish_once(world, lambda: world.delete(BUCKET, "k"))
    with pytest.raises(NoSuchObject):
        world.open()
    assert TaskName.VERIFY not in world.queue.ids


def test_an_object_replaced_at_every_try_is_unavailable(world: World) -> None:
    def again() -> None:
        world.put(content(10), write_copies=3)
        vanish_once(world, again)

    again()
    with pytest.raises(Unavailable):
        world.open()


def vanish_once(world: World, change: Callable[[], object]) -> None:
    """At the next read: the object changes, and the blobs being read go."""
    armed = [True]

    def before(operation: str, name: str) -> None:
        if operation != "put" and armed:
            armed.clear()
            for store in world.nodes.stores.values():
                store.blobs.clear()
                store.faults.before = None
            change()

    for store in world.nodes.stores.values():
        store.faults.before = before


@pytest.mark.parametrize("change", ["delete", "overwrite"])
def test_a_download_goes_on_after_its_object_is_deleted_or_replaced(wide: World, change: str) -> None:
    chunks = wide.open().chunks
    got = next(chunks)
    wide.delete(BUCKET, "k") if change == "delete" else wide.put(b"newer")
    assert got + b"".join(chunks) == content(6 * MIB + 9)


def test_a_download_whose_blobs_went_is_cut_off_and_blames_nobody(wide: World) -> None:
    chunks = wide.open().chunks
    next(chunks)
    wide.put(b"newer", write_copies=3)
    names = {wide.name()}
    for store in wide.nodes.stores.values():
        store.blobs = {name: blob for name, blob in store.blobs.items() if name in names}
    with pytest.raises((Unavailable, ObjectDamaged)):
        list(chunks)
    assert TaskName.VERIFY not in wide.queue.ids
    assert set(map(frozenset, wide.states().values())) == {frozenset({"stored"})}


def test_a_download_whose_rows_are_gone_is_cut_off(make_world: Callable[..., World]) -> None:
    world = make_world(blob_size=MIB)
    world.put(content(20 * MIB))
    chunks = world.open().chunks
    got = len(next(chunks))
    world.delete(BUCKET, "k")
    world.change("DELETE FROM copies")
    world.change("DELETE FROM blobs")
    got += sum(len(next(chunks)) for _ in range(15))
    assert got == 16 * MIB
    with pytest.raises(Unavailable):
        next(chunks)
