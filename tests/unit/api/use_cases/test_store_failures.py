"""Nodes, clients and the catalogue fail during a store: a success is whole, a failure leaves nothing visible."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from api.store.store_object import Expected
from common.blobstore.memory import MemoryStore
from common.errors import (
    BodyCut,
    BodyTimeout,
    BovedaError,
    CatalogueUnavailable,
    DigestMismatch,
    KeysUnavailable,
    NodeError,
    NoSuchObject,
    NotEnoughNodes,
    OutcomeUnknown,
    PreconditionFailed,
    TooLarge,
    UploadSuperseded,
)
from common.model.versions import Preconditions
from tests.unit.api.use_cases.world import BUCKET, MIB, BytesBody, World, content

SIZES = pytest.mark.parametrize("size", [10, 5 * MIB + 1], ids=["one blob", "three blobs"])
ABSENT = Preconditions(if_none_match=("*",))


def nothing_visible(world: World, key: str = "k") -> None:
    with pytest.raises(NoSuchObject):
        world.catalogue.objects.find(BUCKET, key)
    assert world.queue.ids == {}
    assert world.store.buffers.free == world.settings.api_threads
    assert sum(world.catalogue.status().objects.values()) == 0
    assert world.scalar("SELECT count(*) FROM versions WHERE state <> 'doomed'") == 0


def primary(world: World, data: bytes, spoil: Callable[[MemoryStore], None]) -> str:
    """Spoil the node that takes the first put, at the moment of that put; its id."""
    hit: list[str] = []

    def first(node_id: str) -> Callable[[str, str], None]:
        def before(operation: str, name: str) -> None:
            if operation == "put" and not hit:
                hit.append(node_id)
                spoil(world.nodes.stores[node_id])

        return before

    for node_id, store in world.nodes.stores.items():
        store.faults.before = first(node_id)
    assert world.put(data).version.size == len(data)
    return hit[0]


def die(store: MemoryStore) -> None:
    store.faults.down = True


def fill(store: MemoryStore) -> None:
    store.faults.full = True


def refuse(store: MemoryStore) -> None:
    store.faults.refuses = True


def hang(store: MemoryStore) -> None:
    store.faults.hung = True


@SIZES
@pytest.mark.parametrize("spoil", [die, fill, refuse])
def test_a_failing_primary_is_replaced_by_the_next_node(
    world: World, size: int, spoil: Callable[[MemoryStore], None]
) -> None:
    failed = primary(world, content(size), spoil)
    assert world.states()[failed] == {"missing"}
    for store in world.nodes.stores.values():
        store.faults.before = None
    assert world.get() == content(size)


def test_a_hanging_primary_costs_its_deadline_and_is_replaced(world: World) -> None:
    failed = primary(world, content(10), hang)
    assert world.states()[failed] == {"missing"}
    assert world.get() == content(10)


def test_a_busy_node_is_passed_over(world: World) -> None:
    world.nodes.busy = set(list(world.nodes.stores)[:2])
    stored = world.put(content(10))
    assert stored.protection.stored == 1
    assert world.get() == content(10)


@SIZES
def test_a_primary_that_dies_after_it_took_the_blob_leaves_a_missing_row_where_it_is_wanted(
    world: World, size: int
) -> None:
    def lose_the_answer(store: MemoryStore) -> None:
        real = store.put

        def put(name: str, data: bytes, deadline: object) -> None:
            real(name, data, deadline)  # type: ignore[arg-type]
            raise NodeError("the answer was lost")

        store.put = put  # type: ignore[method-assign, assignment]

    for store in world.nodes.stores.values():
        store.faults.before = None
    first = next(iter(world.nodes.stores))
    lose_the_answer(world.nodes.stores[first])
    for key in map(str, range(6)):
        world.put(content(size), key=key)
        assert "stored" not in world.states(key)[first]
        assert world.get(key=key) == content(size)


@SIZES
def test_no_stored_copy_is_without_a_row_when_the_blob_lands_off_the_wanted_nodes(
    make_world: Callable[..., World], size: int
) -> None:
    world = make_world(nodes=4, copies=2)
    down = set(list(world.nodes.stores)[:2])
    for node_id in down:
        world.nodes.stores[node_id].faults.down = True
    for key in map(str, range(8)):
        stored = world.put(content(size), key=key)
        holders = {copy.node_id for copy in world.copies(key) if copy.state == "stored"}
        assert holders
        assert not holders & down
        assert len(world.copies(key)) == 2 * stored.version.blob_count
        for copy in world.copies(key):
            if copy.state == "stored":
                assert any(copy.blob.id in name for name in world.nodes.stores[copy.node_id or ""].blobs)
        assert world.get(key=key) == content(size)


@SIZES
def test_with_every_node_failing_nothing_becomes_visible(world: World, size: int) -> None:
    for store in world.nodes.stores.values():
        store.faults.down = True
    with pytest.raises(NotEnoughNodes):
        world.put(content(size))
    nothing_visible(world)


@SIZES
def test_fewer_nodes_than_write_copies_take_it_and_nothing_becomes_visible(world: World, size: int) -> None:
    world.nodes.stores[next(iter(world.nodes.stores))].faults.full = True
    with pytest.raises(NotEnoughNodes):
        world.put(content(size), write_copies=3)
    nothing_visible(world)


def test_too_few_known_nodes_are_said_before_the_body_is_read(world: World) -> None:
    world.nodes.down = set(list(world.nodes.stores)[:2])
    body = BytesBody(b"x" * 100)
    with pytest.raises(NotEnoughNodes):
        world.put(body, write_copies=2)
    assert body.position == 0


@SIZES
def test_write_copies_are_on_so_many_nodes_before_the_answer(world: World, size: int) -> None:
    stored = world.put(content(size), write_copies=2)
    assert world.blobs_on_nodes() == 2 * stored.version.blob_count
    assert stored.protection.stored == 2


def test_nodes_that_die_between_two_blobs_fail_the_whole_upload(world: World) -> None:
    def die_all() -> None:
        for store in world.nodes.stores.values():
            store.faults.down = True

    with pytest.raises(NotEnoughNodes):
        world.put(BytesBody(content(7 * MIB), at={3 * MIB: die_all}))
    nothing_visible(world)


# -- the client


@SIZES
def test_a_cut_body_leaves_nothing_visible(world: World, size: int) -> None:
    with pytest.raises(BodyCut):
        world.put(BytesBody(content(size - 1)), expected=Expected(size))
    nothing_visible(world)


@pytest.mark.parametrize("error", [BodyCut("cut"), BodyTimeout("slow"), TooLarge("large"), SystemExit(1)])
@pytest.mark.parametrize("position", [0, MIB, 2 * MIB, 3 * MIB])
def test_a_body_that_fails_anywhere_leaves_nothing_visible(world: World, position: int, error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        world.put(BytesBody(content(5 * MIB), at={position: fail}))
    nothing_visible(world)


@SIZES
def test_a_wrong_digest_leaves_nothing_visible_and_a_right_one_passes(world: World, size: int) -> None:
    data = content(size)
    md5, sha256 = hashlib.md5(data).digest(), hashlib.sha256(data).digest()
    for expected in (Expected(size, md5=sha256[:16]), Expected(None, sha256=md5 * 2)):
        with pytest.raises(DigestMismatch):
            world.put(BytesBody(data), expected=expected)
        nothing_visible(world)
    world.put(BytesBody(data), expected=Expected(size, md5, sha256))
    assert world.get() == data


def test_a_body_over_the_limit_is_refused_announced_or_not(make_world: Callable[..., World]) -> None:
    world = make_world()
    object.__setattr__(world.settings, "max_object_size", 100)
    body = BytesBody(content(101))
    with pytest.raises(TooLarge):
        world.put(body, expected=Expected(101))
    assert body.position == 0
    with pytest.raises(TooLarge):
        world.put(content(101), known=False)
    nothing_visible(world)
    assert world.put(content(100), known=False).version.size == 100


def test_what_comes_behind_the_announced_length_is_not_read(world: World) -> None:
    body = BytesBody(content(100))
    assert world.put(body, expected=Expected(60)).version.size == 60
    assert body.position == 60


# -- preconditions


@SIZES
def test_a_precondition_is_judged_before_the_body(world: World, size: int) -> None:
    world.put(b"first")
    body = BytesBody(content(size))
    with pytest.raises(PreconditionFailed):
        world.put(body, preconditions=ABSENT)
    assert body.position == 0
    assert world.get() == b"first"


@SIZES
def test_a_precondition_is_judged_again_in_the_commit(world: World, size: int) -> None:
    with pytest.raises(PreconditionFailed):
        world.put(
            BytesBody(content(size), at={5: lambda: None, size - 1: lambda: put_other(world)}), preconditions=ABSENT
        )
    assert world.get() == b"other"
    assert world.store.buffers.free == world.settings.api_threads


def put_other(world: World) -> None:
    world.put(b"other")


def test_of_two_bodies_with_if_none_match_exactly_one_wins(world: World) -> None:
    first = BytesBody(content(5 * MIB), at={4 * MIB: lambda: put_other(world)})
    with pytest.raises(PreconditionFailed):
        world.put(first, preconditions=ABSENT)
    assert world.get() == b"other"


def test_if_match_holds_for_the_version_named(world: World) -> None:
    first = world.put(b"first").version
    second = world.put(content(3 * MIB), preconditions=Preconditions(if_match=(first.id,))).version
    with pytest.raises(PreconditionFailed):
        world.put(b"third", preconditions=Preconditions(if_match=(first.id,)))
    assert world.current().id == second.id


# -- time, keys and the catalogue


def test_a_single_blob_that_took_half_the_orphan_grace_is_refused(world: World) -> None:
    def late() -> None:
        world.monotonic += world.settings.orphan_grace / 2 + 1

    with pytest.raises(UploadSuperseded):
        world.put(BytesBody(content(100), at={50: late}, piece=50))
    nothing_visible(world)


def test_a_long_body_may_take_longer_than_the_orphan_grace(world: World) -> None:
    def late() -> None:
        world.monotonic += world.settings.orphan_grace

    world.put(BytesBody(content(5 * MIB), at={3 * MIB: late}))
    assert world.get() == content(5 * MIB)


def test_a_slow_body_keeps_its_upload_from_expiring(world: World) -> None:
    touched: list[float] = []
    real = world.catalogue.objects.touch

    def touch(version_id: str, active_until: float) -> None:
        touched.append(active_until)
        real(version_id, active_until)

    def minute() -> None:
        world.monotonic += 61

    world.catalogue.objects.touch = touch  # type: ignore[method-assign]
    world.put(BytesBody(content(5 * MIB), at={2 * MIB + (i << 18): minute for i in range(2, 6)}))
    assert len(touched) >= 3
    assert world.get() == content(5 * MIB)


def test_an_upload_that_expired_meanwhile_is_refused(world: World) -> None:
    expired: list[int] = []

    def expire() -> None:
        """Again if the blob that is put meanwhile moved the expiry in between."""
        while not any(expired):
            world.change("UPDATE versions SET active_until = 1 WHERE state = 'uploading'")
            expired.append(world.catalogue.objects.expire_uploads())

    with pytest.raises(UploadSuperseded):
        world.put(BytesBody(content(7 * MIB), at={5 * MIB: expire}))
    assert expired[-1] == 1
    nothing_visible(world)


def test_without_keys_the_body_is_not_read(world: World) -> None:
    world.keys.away = True
    body = BytesBody(content(10))
    with pytest.raises(KeysUnavailable):
        world.put(body)
    assert body.position == 0


@SIZES
def test_a_key_retired_during_the_upload_is_replaced_by_the_active_one(world: World, size: int) -> None:
    old = world.keys.active()

    def retire() -> None:
        world.catalogue.keks.ensure(world.keys.rotate())
        world.change(f"UPDATE keks SET state = 'retired' WHERE id = '{old}'")

    stored = world.put(BytesBody(content(size), at={1: retire}, piece=1 << 17 if size > 10 else 5))
    assert stored.version.kek_id == world.keys.active() != old
    assert world.get() == content(size)


@SIZES
@pytest.mark.parametrize("error", [CatalogueUnavailable("gone"), OutcomeUnknown("lost")])
def test_a_commit_that_fails_is_told_and_nothing_is_enqueued(world: World, size: int, error: BovedaError) -> None:
    def commit(*_: object, **__: object) -> None:
        raise error

    world.catalogue.objects.commit = commit  # type: ignore[method-assign, assignment]
    with pytest.raises(type(error)):
        world.put(content(size))
    assert world.queue.ids == {}
    assert world.store.buffers.free == world.settings.api_threads


def test_after_an_unknown_outcome_a_long_upload_is_not_abandoned(world: World) -> None:
    real = world.catalogue.objects.commit

    def commit(*args: object, **kwargs: object) -> None:
        real(*args, **kwargs)  # type: ignore[arg-type]
        raise OutcomeUnknown("lost")

    world.catalogue.objects.commit = commit  # type: ignore[method-assign, assignment]
    with pytest.raises(OutcomeUnknown):
        world.put(content(5 * MIB))
    assert world.get() == content(5 * MIB)


def test_an_upload_that_cannot_be_abandoned_tells_its_own_error(world: World) -> None:
    def abandon(version_id: str) -> None:
        raise CatalogueUnavailable("gone")

    world.catalogue.objects.abandon = abandon  # type: ignore[method-assign]
    with pytest.raises(BodyCut):
        world.put(BytesBody(content(5 * MIB)), expected=Expected(6 * MIB))


def test_an_upload_whose_second_holder_is_given_up_midway_is_refused(world: World) -> None:
    """With `write_copies` 2, of which one was given up after the first blob: one good copy is not two."""

    def give_up() -> None:
        holders = [node_id for node_id, store in world.nodes.stores.items() if store.blobs]
        assert len(holders) == 2
        world.change(f"UPDATE nodes SET mode = 'retired' WHERE id = '{holders[-1]}'")

    body = BytesBody(content(7 * MIB), at={5 * MIB: give_up}, piece=1 << 17)
    with pytest.raises(CatalogueUnavailable, match="send it again"):
        world.put(body, write_copies=2)
    with pytest.raises(NoSuchObject):
        world.current()
