"""Uploads over several requests when something breaks: what is kept, what is given up, and who may go on."""

from __future__ import annotations

from dataclasses import replace
from time import time

import pytest

from api.http.tus import Checksum
from api.store.upload_turn import LEASE_SECONDS
from common.catalogue.uploads import Holder, Resumable
from common.errors import (
    BodyCut,
    BodyTimeout,
    BovedaError,
    CatalogueUnavailable,
    Conflict,
    IntegrityError,
    KeysUnavailable,
    NoSuchObject,
    NotEnoughNodes,
    UploadGone,
)
from common.model.names import blob_name
from common.model.versions import Headers
from common.queue.base import TaskName
from tests.support.waiting import wait_until
from tests.unit.api.use_cases.world import BUCKET, MIB, BytesBody, World, content

LENGTH = 5 * MIB + 1000
DATA = content(LENGTH)


def begin(world: World, length: int = LENGTH) -> str:
    return world.uploads.create(BUCKET, "k", length, Headers()).id


def send(world: World, upload_id: str, offset: int, end: int = LENGTH) -> Resumable:
    return world.uploads.append(upload_id, offset, BytesBody(DATA[offset:end]), end - offset)


def breaking(data: bytes, at: int, error: BovedaError) -> BytesBody:
    def fail() -> None:
        raise error

    return BytesBody(data, at={at: fail})


def offset(world: World, upload_id: str) -> int:
    return world.uploads.look(upload_id).offset


def stands(world: World, upload_id: str, at: int) -> None:
    """A blob counts as soon as it is put, while the next one is received."""
    wait_until(lambda: offset(world, upload_id) == at, what=f"it stands at {at}")


def states(world: World) -> list[tuple[object, object]]:
    """Of each blob's version, and where the blob begins."""
    rows = world.rows("SELECT v.state, b.offset FROM blobs b JOIN versions v ON v.id = b.version_id ORDER BY b.offset")
    return [(row[0], row[1]) for row in rows]


@pytest.mark.parametrize("error", [BodyCut("gone"), BodyTimeout("silent")])
@pytest.mark.parametrize(
    ("came", "kept"),
    [(0, 0), (MIB * 3 // 4, 0), (MIB, MIB), (2 * MIB + 5, 2 * MIB), (3 * MIB, 3 * MIB), (3 * MIB + 5, 3 * MIB)],
)
def test_of_a_body_that_broke_off_the_whole_chunks_are_kept(
    world: World, error: BovedaError, came: int, kept: int
) -> None:
    upload = begin(world)
    send(world, upload, 0, 10)
    with pytest.raises(type(error)):
        world.uploads.append(upload, 10, breaking(DATA[10:], came, error), LENGTH - 10)
    assert offset(world, upload) == 10 + kept
    assert world.scalar("SELECT count(*) FROM blobs WHERE length = 0") == 0
    assert send(world, upload, 10 + kept).finished
    assert world.get() == DATA


def test_of_a_body_that_broke_off_nothing_unchecked_is_kept(world: World) -> None:
    upload = begin(world)
    body = breaking(DATA, 4 * MIB, BodyCut("gone"))
    with pytest.raises(BodyCut):
        world.uploads.append(upload, 0, body, LENGTH, Checksum("sha1", bytes(20)))
    assert offset(world, upload) == 0
    assert {state for state, _ in states(world)} == {"doomed"}


def test_while_one_request_sends_another_is_refused_and_then_goes_on(world: World) -> None:
    upload = begin(world)
    refused = []

    def other() -> None:
        with pytest.raises(Conflict):
            send(world, upload, 0)
        refused.append(offset(world, upload))

    body = BytesBody(DATA[: 3 * MIB], at={100: other, 2 * MIB + 100: lambda: stands(world, upload, 2 * MIB)})
    assert world.uploads.append(upload, 0, body, 3 * MIB).blobs == 2
    assert refused == [0]
    send(world, upload, 3 * MIB)
    assert world.get() == DATA


@pytest.mark.parametrize("end", [2 * MIB + 10, LENGTH])
def test_a_request_that_falls_silent_is_overtaken_and_changes_nothing_afterwards(
    world: World, monkeypatch: pytest.MonkeyPatch, end: int
) -> None:
    now = [time()]
    monkeypatch.setattr(world.catalogue.database, "_clock", lambda: now[0])
    upload = begin(world)

    def silence() -> None:
        stands(world, upload, 2 * MIB)
        now[0] += LEASE_SECONDS + 1
        world.monotonic += LEASE_SECONDS + 1
        assert send(world, upload, 2 * MIB, end).offset == end

    with pytest.raises(UploadGone if end == LENGTH else Conflict):
        world.uploads.append(upload, 0, BytesBody(DATA, at={3 * MIB: silence}), LENGTH)
    if end < LENGTH:
        send(world, upload, end)
    assert world.get() == DATA
    assert {state for state, _ in states(world)} == {"current"}


def test_a_long_body_keeps_its_lease(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [time()]
    monkeypatch.setattr(world.catalogue.database, "_clock", lambda: now[0])
    upload = begin(world)

    def minutes() -> None:
        now[0] += LEASE_SECONDS - 1
        world.monotonic += LEASE_SECONDS - 1

    def other() -> None:
        with pytest.raises(Conflict):
            send(world, upload, 0)

    steps = {number * (MIB // 4): minutes for number in range(1, 7)} | {7 * MIB // 4: other}
    world.uploads.append(upload, 0, BytesBody(DATA, at=steps), LENGTH)
    assert world.get() == DATA


def died_behind(world: World, upload: str, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that died: its last blob is on a node, nothing says so, and its lease stands."""
    uploads = world.catalogue.uploads
    landed = uploads.landed

    def die(at: Resumable, holder: Holder, stored: list[tuple[str, str]], end: int) -> float:
        if end > kept:
            raise SystemExit
        return landed(at, holder, stored, end)

    with monkeypatch.context() as patched:
        patched.setattr(uploads, "landed", die)
        patched.setattr(uploads, "release", lambda *_: None)
        with pytest.raises(SystemExit):
            send(world, upload, 0)


def test_after_a_process_died_another_goes_on_behind_the_last_blob_that_counts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [time()]
    monkeypatch.setattr(world.catalogue.database, "_clock", lambda: now[0])
    upload = begin(world)
    died_behind(world, upload, 2 * MIB, monkeypatch)
    assert offset(world, upload) == 2 * MIB
    with pytest.raises(Conflict):
        send(world, upload, 2 * MIB)
    now[0] += LEASE_SECONDS + 1
    assert send(world, upload, 2 * MIB).finished
    assert world.get() == DATA
    assert states(world) == [
        ("current", 0),
        *sorted([("current", 2 * MIB), ("doomed", 2 * MIB)]),
        ("current", 4 * MIB),
    ], "the blob that was left is a doomed version's, to be deleted"
    assert world.catalogue.objects.doom_copies(0) == 3
    lost = world.rows("SELECT blob_id FROM copies WHERE state = 'doomed'")
    assert any(blob_name(str(lost[0][0])) in store.blobs for store in world.nodes.stores.values())


def test_no_node_now_costs_the_blob_that_was_on_its_way_and_no_more(world: World) -> None:
    upload = begin(world)

    def all_down() -> None:
        stands(world, upload, 2 * MIB)
        world.nodes.busy = set(world.nodes.stores)

    with pytest.raises(NotEnoughNodes):
        world.uploads.append(upload, 0, BytesBody(DATA, at={2 * MIB + 100: all_down}), LENGTH)
    world.nodes.busy = set()
    assert offset(world, upload) == 2 * MIB
    send(world, upload, 2 * MIB)
    assert world.get() == DATA
    assert len(world.queue.ids[TaskName.REPLICATE]) == 3


def test_a_copy_whose_disk_changed_meanwhile_is_not_acknowledged(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = begin(world)
    add_blob = world.catalogue.uploads.add_blob

    def then_doubt(*args: object) -> None:
        add_blob(*args)  # type: ignore[arg-type]
        for node_id in world.nodes.stores:
            world.catalogue.nodes.doubt(node_id)

    with monkeypatch.context() as patched:
        patched.setattr(world.catalogue.uploads, "add_blob", then_doubt)
        with pytest.raises(CatalogueUnavailable):
            send(world, upload, 0)
    assert offset(world, upload) == 0
    send(world, upload, 0)
    assert world.get() == DATA


def test_a_key_that_was_rotated_meanwhile_is_no_trouble(world: World) -> None:
    upload = begin(world)
    send(world, upload, 0, 100)
    world.catalogue.keks.ensure(world.keys.rotate())
    send(world, upload, 100)
    assert world.get() == DATA


def test_without_a_key_nothing_is_lost_and_the_lease_ends(world: World) -> None:
    upload = begin(world)
    send(world, upload, 0, 100)
    world.keys.away = True
    with pytest.raises(KeysUnavailable):
        send(world, upload, 100)
    world.keys.away = False
    send(world, upload, 100)
    assert world.get() == DATA


def test_the_data_key_of_an_upload_opens_as_nothing_else(world: World) -> None:
    upload = world.catalogue.uploads.find(begin(world))
    other = world.catalogue.uploads.find(begin(world))
    with pytest.raises(IntegrityError):
        world.uploads._upload(replace(upload, wrapped_dek=other.wrapped_dek))


def test_an_upload_that_is_ended_while_it_is_sent_is_gone(world: World) -> None:
    upload = begin(world)
    with pytest.raises(UploadGone):
        world.uploads.append(upload, 0, BytesBody(DATA, at={3 * MIB: lambda: world.uploads.end(upload)}), LENGTH)
    with pytest.raises(NoSuchObject):
        world.current()
    assert {state for state, _ in states(world)} == {"doomed"}


def test_of_two_that_commit_the_second_finds_it_done(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = begin(world)
    commit = world.catalogue.objects.commit

    def too_late(*args: object, **options: object) -> object:
        monkeypatch.setattr(world.catalogue.objects, "commit", commit)
        assert world.uploads.look(upload).finished, "somebody looks just before"
        return commit(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(world.catalogue.objects, "commit", too_late)
    sent = send(world, upload, 0)
    assert sent.finished
    assert world.current().id == sent.version_id
    assert world.get() == DATA


def test_an_upload_into_a_bucket_that_was_deleted_is_gone(world: World) -> None:
    upload = begin(world)
    send(world, upload, 0, 100)
    world.catalogue.buckets.delete(BUCKET)
    with pytest.raises(UploadGone):
        send(world, upload, 100)
    with pytest.raises(UploadGone):
        world.uploads.look(upload)
    assert world.catalogue.objects.doom_copies(0) == 3
