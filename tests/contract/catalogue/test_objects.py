from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from common.catalogue.sql.engine.rows import AnyRow
from common.catalogue.sql.versions import lookups
from common.errors import (
    KeysUnavailable,
    NoSuchBucket,
    NoSuchObject,
    PreconditionFailed,
    UploadSuperseded,
)
from common.model.copies import CopyState, Placed
from common.model.names import new_id
from common.model.nodes import NodeHealth
from common.model.versions import NewBlob, Preconditions
from common.model.work import Claim, CopyAction, Outcome
from tests.contract.catalogue.stage import Stage


def test_what_was_committed_is_found_with_all_wanted_copies(stage: Stage) -> None:
    version_id, blob_id, committed = stage.put("a")
    found = stage.catalogue.objects.find("papers", "a")
    assert found.version.id == version_id
    assert found.version.created_at == committed.created_at
    assert found.version.headers.metadata == {"colour": "blue"}
    assert found.version.wrapped_dek == b"wrapped"
    assert [blob.blob.id for blob in found.blobs] == [blob_id]
    assert [copy.state for copy in found.blobs[0].copies] == [
        CopyState.STORED,
        CopyState.MISSING,
        CopyState.MISSING,
    ]


def test_a_missing_bucket_and_a_missing_object_are_told_apart(stage: Stage) -> None:
    with pytest.raises(NoSuchBucket):
        stage.catalogue.objects.find("nowhere", "a")
    with pytest.raises(NoSuchObject):
        stage.catalogue.objects.find("papers", "a")


def test_an_overwrite_replaces_and_the_old_version_is_no_longer_current(stage: Stage) -> None:
    old, _, first = stage.put("a")
    new, _, second = stage.put("a")
    assert (first.replaced, second.replaced) == (False, True)
    assert stage.catalogue.objects.find("papers", "a").version.id == new
    assert not stage.catalogue.objects.is_current(old)
    assert stage.catalogue.objects.is_current(new)


@pytest.mark.parametrize(
    ("make", "holds"),
    [
        (lambda current: Preconditions(if_match=(current,)), True),
        (lambda current: Preconditions(if_match=("*",)), True),
        (lambda current: Preconditions(if_match=(new_id(),)), False),
        (lambda current: Preconditions(if_none_match=("*",)), False),
        (lambda current: Preconditions(if_none_match=(new_id(),)), True),
        (lambda current: Preconditions(if_unmodified_since=1.0), False),
    ],
)
def test_preconditions_are_judged_inside_the_commit(
    stage: Stage, make: Callable[[str], Preconditions], holds: bool
) -> None:
    current, _, _ = stage.put("a")
    preconditions = make(current)
    if holds:
        assert stage.put("a", preconditions=preconditions)[2].replaced
    else:
        with pytest.raises(PreconditionFailed):
            stage.put("a", preconditions=preconditions)
        assert stage.catalogue.objects.find("papers", "a").version.id == current


def test_if_match_where_there_is_nothing_fails(stage: Stage) -> None:
    with pytest.raises(PreconditionFailed):
        stage.put("a", preconditions=Preconditions(if_match=("*",)))
    with pytest.raises(PreconditionFailed):
        stage.catalogue.objects.delete("papers", "a", Preconditions(if_match=("*",)))


def test_a_commit_under_an_unknown_or_retired_key_is_refused(stage: Stage) -> None:
    stage.catalogue.keks.ensure("kek-2")
    assert stage.catalogue.keks.states() == {"kek-1": "readable", "kek-2": "active"}
    stage.put("a")
    with stage.catalogue.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE keks SET state = 'retired' WHERE id = 'kek-1'")
    with pytest.raises(KeysUnavailable):
        stage.put("b")
    with pytest.raises(NoSuchObject):
        stage.catalogue.objects.find("papers", "b")


def test_a_blob_id_that_was_reclaimed_cannot_be_committed(stage: Stage) -> None:
    blob = stage.new_blob()
    with stage.catalogue.database.engine.begin() as connection:
        connection.exec_driver_sql(f"INSERT INTO blobs (id, tombstone_at) VALUES ('{blob.blob.id}', 1)")
    with pytest.raises(UploadSuperseded):
        stage.catalogue.objects.commit(stage.version("a"), [blob], Preconditions())
    with pytest.raises(NoSuchObject):
        stage.catalogue.objects.find("papers", "a")


def test_a_wanted_copy_on_a_draining_node_is_committed_without_a_node(stage: Stage) -> None:
    stage.catalogue.nodes.set_mode("node2", "draining", None)
    stage.put("a")
    copies = stage.catalogue.objects.find("papers", "a").blobs[0].copies
    assert [copy.node_id for copy in copies] == [stage.nodes[0], None, stage.nodes[2]]
    (waiting,) = stage.catalogue.copies.unassigned()
    assert set(waiting[4]) == {stage.nodes[0], stage.nodes[2]}


# -- uploads of more than one blob


def long_upload(stage: Stage) -> tuple[str, list[NewBlob]]:
    upload = new_id()
    until = stage.catalogue.now() + 3600
    stage.catalogue.objects.begin(upload, stage.bucket.id, "long", 3, until)
    blobs = [stage.new_blob(stage.blob(number), stored=0) for number in range(3)]
    stored: list[tuple[str, str]] = []
    for blob in blobs:
        stage.catalogue.objects.add_blob(upload, blob, stored, until)
        stored = [(blob.blob.id, stage.nodes[0])]
    return upload, blobs


def test_a_long_upload_is_invisible_until_its_commit_and_whole_after_it(stage: Stage) -> None:
    upload, blobs = long_upload(stage)
    with pytest.raises(NoSuchObject):
        stage.catalogue.objects.find("papers", "long")
    assert stage.catalogue.status().copies_missing == 0
    assert not stage.claim([blob.blob.id for blob in blobs])
    last = [(blobs[-1].blob.id, stage.nodes[0])]
    version = stage.version("long", upload, blobs=3, size=15)
    stage.catalogue.objects.commit(version, [], Preconditions(), last, uploading=True)
    found = stage.catalogue.objects.find("papers", "long", blobs=2)
    assert [item.blob.number for item in found.blobs] == [0, 1]
    assert [item.blob.number for item in stage.catalogue.objects.blobs(upload, 2)] == [2]
    assert found.protection.stored == 1
    assert stage.catalogue.status().copies_missing == 6


def test_a_put_that_failed_over_takes_the_place_of_a_missing_copy(stage: Stage) -> None:
    upload = new_id()
    until = stage.catalogue.now() + 3600
    stage.catalogue.objects.begin(upload, stage.bucket.id, "long", 3, until)
    blob = stage.blob()
    wanted = [Placed(stage.nodes[0], CopyState.MISSING), Placed(stage.nodes[1], CopyState.MISSING)]
    stage.catalogue.objects.add_blob(upload, NewBlob(blob, wanted), [], until)
    landed = [(blob.id, stage.nodes[2])]
    stage.catalogue.objects.commit(stage.version("long", upload), [], Preconditions(), landed, uploading=True)
    copies = stage.catalogue.objects.find("papers", "long").blobs[0].copies
    assert [(copy.node_id, copy.state.value) for copy in copies] == [
        (stage.nodes[0], "missing"),
        (stage.nodes[2], "stored"),
    ]


def test_an_expired_upload_loses_against_its_expiry(stage: Stage) -> None:
    upload, blobs = long_upload(stage)
    stage.catalogue.objects.touch(upload, stage.catalogue.now() - 1)
    assert stage.catalogue.objects.expire_uploads() == 1
    assert stage.catalogue.objects.expire_uploads() == 0
    with pytest.raises(UploadSuperseded):
        stage.catalogue.objects.commit(stage.version("long", upload), [], Preconditions(), uploading=True)
    with pytest.raises(UploadSuperseded):
        stage.catalogue.objects.add_blob(upload, stage.new_blob(stage.blob(3)), [], stage.catalogue.now() + 60)
    assert stage.catalogue.objects.doom_copies(0) == 9
    assert len(stage.claim([blob.blob.id for blob in blobs], CopyAction.DELETE)) == 9


def test_abandoning_leaves_a_committed_version_alone(stage: Stage) -> None:
    version_id, _, _ = stage.put("a")
    stage.catalogue.objects.abandon(version_id)
    assert stage.catalogue.objects.is_current(version_id)
    upload, _ = long_upload(stage)
    stage.catalogue.objects.abandon(upload)
    with pytest.raises(UploadSuperseded):
        stage.catalogue.objects.touch(upload, stage.catalogue.now() + 60)


# -- deletes and what follows


def test_a_deleted_object_is_gone_at_once_and_its_copies_follow_after_the_delay(stage: Stage) -> None:
    version_id, blob_id, _ = stage.put("a")
    assert stage.catalogue.objects.delete("papers", "a", Preconditions()) == version_id
    with pytest.raises(NoSuchObject):
        stage.catalogue.objects.delete("papers", "a", Preconditions())
    assert stage.catalogue.objects.doom_copies(3600) == 0
    assert not stage.claim([blob_id], CopyAction.DELETE)
    assert stage.catalogue.objects.blobs(version_id, 0)[0].copies, "a reader may still finish"
    assert stage.catalogue.objects.doom_copies(0) == 3


def test_rows_are_forgotten_only_when_every_node_has_confirmed(stage: Stage) -> None:
    version_id, blob_id, _ = stage.put("a")
    stage.catalogue.objects.delete("papers", "a", Preconditions())
    stage.catalogue.objects.doom_copies(0)
    claims = stage.claim([blob_id], CopyAction.DELETE)
    stage.catalogue.copies.end([_gone(claim) for claim in claims[:2]])
    assert stage.catalogue.objects.forget() == 0
    stage.catalogue.copies.end([_gone(claims[2])])
    assert stage.catalogue.objects.forget() == 1
    assert stage.catalogue.objects.blobs(version_id, 0) == []


def _gone(claim: Claim) -> Outcome:
    return Outcome(claim.copy_id, claim.fence, None)


def test_delete_then_upload_under_the_same_name_keeps_the_new_one(stage: Stage) -> None:
    _, old_blob, _ = stage.put("a")
    stage.catalogue.objects.delete("papers", "a", Preconditions())
    new, new_blob, committed = stage.put("a")
    assert not committed.replaced
    stage.catalogue.objects.doom_copies(0)
    assert len(stage.claim([old_blob, new_blob], CopyAction.DELETE)) == 3
    assert stage.catalogue.objects.find("papers", "a").version.id == new


# -- listing


def test_listing_is_in_byte_order_and_never_interprets_names(stage: Stage) -> None:
    keys = ["a//b", "../x", "x/", "x", "é", "e\u0301", "%2F", "A", "z\U0001f600", "z\ufffd", "_", "*"]
    for key in keys:
        stage.put(key)
    listed = [version.key for version, _ in stage.catalogue.objects.list("papers", "", "", "", 100).objects]
    assert listed == sorted(keys, key=str.encode)


def test_a_prefix_is_taken_literally(stage: Stage) -> None:
    for key in ("a%b", "a_b", "axb", "a\U0010ffff", "b"):
        stage.put(key)
    for prefix, expected in (("a%", ["a%b"]), ("a_", ["a_b"]), ("a\U0010ffff", ["a\U0010ffff"]), ("c", [])):
        listing = stage.catalogue.objects.list("papers", prefix, "", "", 100)
        assert [version.key for version, _ in listing.objects] == expected


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_with_a_delimiter_give_every_object_and_prefix_once(stage: Stage, limit: int) -> None:
    keys = ["a", "b/1", "b/2", "b/c/3", "b0", "c/", "d/x", "e"]
    for key in keys:
        stage.put(key)
    objects: list[str] = []
    prefixes: list[str] = []
    after: str | None = ""
    rounds = 0
    while after is not None:
        listing = stage.catalogue.objects.list("papers", "", "/", after, limit)
        assert len(listing.objects) + len(listing.prefixes) <= limit
        objects += [version.key for version, _ in listing.objects]
        prefixes += listing.prefixes
        after = listing.next
        rounds += 1
        assert rounds < 20
    assert objects == ["a", "b0", "e"]
    assert prefixes == ["b/", "c/", "d/"]


@pytest.mark.parametrize(("folders", "files"), [(12, 20), (0, 30), (5, 1)])
def test_a_listing_by_folder_reads_what_it_shows_and_not_what_lies_in_the_folders(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, folders: int, files: int
) -> None:
    keys = [f"{folder:02}/{file}" for folder in range(folders) for file in range(files)] or [
        f"f{n}" for n in range(files)
    ]
    for key in keys:
        stage.put(key)
    read = 0
    page = lookups._page

    def counted(*arguments: Any) -> Sequence[AnyRow]:
        nonlocal read
        found = page(*arguments)
        read += len(found)
        return found

    monkeypatch.setattr(lookups, "_page", counted)
    listing = stage.catalogue.objects.list("papers", "", "/", "", 1000)
    assert len(listing.prefixes) == folders
    assert len(listing.objects) == (0 if folders else files)
    assert read <= 2 * (len(listing.prefixes) + len(listing.objects)) + 1


def test_listing_shows_how_far_each_object_is(stage: Stage) -> None:
    stage.put("a")
    _, blob_id, _ = stage.put("b")
    stage.replicate(blob_id)
    states = {
        version.key: protection.state.value
        for version, protection in stage.catalogue.objects.list("papers", "", "", "", 10).objects
    }
    assert states == {"a": "replicating", "b": "protected"}


@pytest.mark.parametrize("mode", ["paused", "draining"])
@pytest.mark.parametrize("away", [False, True], ids=["up", "down"])
def test_the_counts_are_those_of_the_copies_whatever_is_asked_of_their_node(
    stage: Stage, mode: str, away: bool
) -> None:
    """A copy on a node that is paused or being emptied is a good one; on one that is down as well it is not."""
    stage.put("whole", stored=3)
    stage.put("behind")
    stage.catalogue.nodes.set_mode("node3", mode, None)
    stage.see(NodeHealth.UP, NodeHealth.UP, NodeHealth.DOWN if away else NodeHealth.UP)
    status = stage.catalogue.status()
    expected = {"protected": 1 - away, "degraded": int(away), "replicating": 1, "unavailable": 0}
    assert {state: status.objects[state] for state in expected} == expected
    assert status.copies_missing == 2
    assert stage.state("whole") == ("degraded" if away else "protected")
    assert stage.state("behind") == "replicating"
