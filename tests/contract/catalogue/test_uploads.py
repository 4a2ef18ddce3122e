"""Uploads over several requests: who holds one, where it stands, and the pairs of requests that meet."""

from __future__ import annotations

from dataclasses import replace

import pytest

from common.catalogue.uploads import Holder, Resumable
from common.errors import (
    CatalogueUnavailable,
    Conflict,
    KeysUnavailable,
    NoSuchBucket,
    NoSuchObject,
    NoSuchUpload,
    UploadGone,
    UploadSuperseded,
)
from common.model.copies import CopyState, Placed
from common.model.names import new_id
from common.model.nodes import NodeHealth
from common.model.versions import Blob, NewBlob, Preconditions
from tests.contract.catalogue.race import race
from tests.contract.catalogue.stage import KEK, Stage

DAY = 86400.0


def holder(lease: float = 60, active: float = DAY) -> Holder:
    return Holder(new_id(), lease, active)


def create(stage: Stage, length: int = 10, active: float = DAY, kek: str = KEK) -> Resumable:
    terms = {"given": "key YQ==", "preconditions": None}
    new = Resumable(new_id(), new_id(), stage.bucket, "a", length, 0, 0, kek, b"wrapped", terms, None, finished=False)
    return replace(new, expires_at=stage.catalogue.uploads.create(new, active))


def add(stage: Stage, upload: Resumable, who: Holder, number: int, length: int = 5, land: bool = True) -> Blob:
    blob = replace(stage.blob(number), offset=number * 5, length=length)
    copies = [Placed(node, CopyState.MISSING) for node in stage.nodes]
    stage.catalogue.uploads.add_blob(upload, who, NewBlob(blob, copies))
    if land:
        stage.catalogue.uploads.landed(upload, who, [(blob.id, stage.nodes[0])], blob.offset + length)
    return blob


def commit(stage: Stage, upload: Resumable, blobs: int = 2) -> object:
    version = replace(stage.version("a", upload.version_id, blobs, upload.length), sha256=None)
    return stage.catalogue.objects.commit(version, [], Preconditions(), uploading=True)


@pytest.mark.parametrize("gone", ["given up", "foreign"])
def test_an_upload_with_fewer_holders_than_were_asked_for_is_refused_at_its_end(stage: Stage, gone: str) -> None:
    upload, who = create(stage), holder()
    claimed = stage.catalogue.uploads.claim(upload.id, 0, who)
    for number in range(2):
        blob = add(stage, claimed, who, number, land=False)
        on_two = [(blob.id, node) for node in stage.nodes[:2]]
        stage.catalogue.uploads.landed(claimed, who, on_two, blob.offset + 5)
    if gone == "given up":
        stage.catalogue.topology.retire("node2")
    else:
        stage.see(NodeHealth.UP, NodeHealth.FOREIGN, NodeHealth.UP)
    version = replace(stage.version("a", upload.version_id, 2, upload.length), sha256=None)
    with pytest.raises(CatalogueUnavailable, match="send it again"):
        stage.catalogue.objects.commit(version, [], Preconditions(), uploading=True, need=2)
    with pytest.raises(NoSuchObject):
        stage.catalogue.objects.find("papers", "a")
    assert stage.catalogue.objects.commit(version, [], Preconditions(), uploading=True, need=1)


def test_a_request_is_not_acknowledged_with_fewer_holders_than_were_asked_for(stage: Stage) -> None:
    terms = {"given": "key YQ==", "preconditions": None, "write_copies": 2}
    new = Resumable(new_id(), new_id(), stage.bucket, "a", 10, 0, 0, KEK, b"wrapped", terms, None, finished=False)
    stage.catalogue.uploads.create(new, DAY)
    who = holder()
    claimed = stage.catalogue.uploads.claim(new.id, 0, who)
    blob = add(stage, claimed, who, 0, land=False)
    stage.catalogue.topology.retire("node2")
    with pytest.raises(CatalogueUnavailable, match="send it again"):
        stage.catalogue.uploads.landed(claimed, who, [(blob.id, node) for node in stage.nodes[:2]], 5)
    stage.catalogue.uploads.landed(claimed, who, [(blob.id, stage.nodes[0]), (blob.id, stage.nodes[2])], 5)


def count(stage: Stage, statement: str) -> int:
    with stage.catalogue.database.reading.connect() as connection:
        return int(connection.exec_driver_sql(f"SELECT count(*) FROM {statement}").scalar_one())


def test_an_upload_is_found_as_it_was_created_and_as_it_stands(stage: Stage) -> None:
    created = create(stage)
    assert stage.catalogue.uploads.find(created.id) == created
    who = holder()
    claimed = stage.catalogue.uploads.claim(created.id, 0, who)
    add(stage, claimed, who, 0)
    found = stage.catalogue.uploads.find(created.id)
    assert (found.offset, found.blobs, found.finished) == (5, 1, False)
    with pytest.raises(NoSuchUpload):
        stage.catalogue.uploads.find(new_id())


def test_an_upload_begins_only_in_a_bucket_and_under_a_key_that_are_there(stage: Stage) -> None:
    with pytest.raises(KeysUnavailable):
        create(stage, kek="unknown")
    stage.catalogue.buckets.delete("papers")
    with pytest.raises(NoSuchBucket):
        create(stage)
    assert count(stage, "uploads") == count(stage, "versions") == 0


def test_only_the_holder_changes_it_until_its_lease_is_over(stage: Stage) -> None:
    upload, first, second = create(stage), holder(), holder()
    uploads = stage.catalogue.uploads
    uploads.claim(upload.id, 0, first)
    with pytest.raises(Conflict):
        uploads.claim(upload.id, 0, second)
    for change in (
        lambda: uploads.keep(upload, second),
        lambda: add(stage, upload, second, 0),
        lambda: uploads.landed(upload, second, [], 5),
    ):
        with pytest.raises(Conflict):
            change()
    uploads.release(upload, second)
    add(stage, upload, first, 0)
    uploads.keep(upload, replace(first, lease=-1))
    with pytest.raises(Conflict):
        uploads.claim(upload.id, 0, second)
    assert uploads.claim(upload.id, 5, second).blobs == 1
    with pytest.raises(Conflict):
        add(stage, upload, first, 1)
    uploads.release(upload, second)
    uploads.claim(upload.id, 5, first)


def test_what_lies_behind_the_offset_becomes_a_doomed_versions(stage: Stage) -> None:
    upload, who = create(stage), holder()
    uploads = stage.catalogue.uploads
    uploads.claim(upload.id, 0, who)
    kept = add(stage, upload, who, 0)
    left = [add(stage, upload, who, 1, land=False)]
    claimed = uploads.find(upload.id)
    assert uploads.discard(claimed, who) == 1
    assert uploads.discard(claimed, who) == 0
    add(stage, claimed, who, 1)
    commit(stage, claimed)
    assert stage.catalogue.objects.blobs(upload.version_id, 0)[0].blob.id == kept.id
    assert stage.catalogue.objects.doom_copies(0) == 3
    doomed = count(stage, f"copies WHERE state = 'doomed' AND blob_id = '{left[0].id}'")
    assert doomed == 3
    assert count(stage, "versions WHERE state = 'doomed'") == 1


def test_a_commit_finishes_it_and_forgets_the_key(stage: Stage) -> None:
    upload, who = create(stage), holder()
    claimed = stage.catalogue.uploads.claim(upload.id, 0, who)
    add(stage, claimed, who, 0)
    add(stage, claimed, who, 1)
    commit(stage, claimed)
    found = stage.catalogue.uploads.find(upload.id)
    assert (found.finished, found.offset, found.wrapped_dek, found.kek_id) == (True, 10, b"", "")
    assert stage.catalogue.objects.find("papers", "a").version.size == 10
    with pytest.raises(Conflict):
        stage.catalogue.uploads.claim(upload.id, 10, holder())
    with pytest.raises(UploadGone):
        stage.catalogue.uploads.keep(claimed, who)
    stage.catalogue.uploads.end(upload.id)
    with pytest.raises(NoSuchUpload):
        stage.catalogue.uploads.find(upload.id)
    assert stage.catalogue.objects.find("papers", "a").version.id == upload.version_id, "the object stays"


def test_an_expired_or_ended_upload_is_gone_to_everybody(stage: Stage) -> None:
    uploads = stage.catalogue.uploads
    expired, ended, who = create(stage, active=-1), create(stage), holder()
    uploads.claim(ended.id, 0, who)
    uploads.end(ended.id)
    assert stage.catalogue.objects.expire_uploads() == 1
    for upload in (expired, ended):
        for use in (
            lambda upload=upload: uploads.find(upload.id),
            lambda upload=upload: uploads.claim(upload.id, 0, who),
            lambda upload=upload: uploads.keep(upload, who),
            lambda upload=upload: add(stage, upload, who, 0),
            lambda upload=upload: uploads.end(upload.id),
        ):
            with pytest.raises(UploadGone):
                use()
        with pytest.raises(UploadSuperseded):
            commit(stage, upload)
    assert (stage.catalogue.objects.forget(), uploads.forget(60)) == (0, 0), (
        "whoever still sends is told that it is gone"
    )
    for upload in (expired, ended):
        with pytest.raises(UploadGone):
            uploads.find(upload.id)
    assert (uploads.forget(-60), stage.catalogue.objects.forget()) == (2, 2)
    with pytest.raises(NoSuchUpload):
        uploads.find(expired.id)


def test_an_expired_upload_is_gone_before_the_sweep_comes(stage: Stage) -> None:
    upload = create(stage, active=-1)
    with pytest.raises(UploadGone):
        stage.catalogue.uploads.find(upload.id)
    with pytest.raises(UploadGone):
        stage.catalogue.uploads.claim(upload.id, 0, holder())


def test_what_landed_on_a_disk_that_is_another_one_now_does_not_count(stage: Stage) -> None:
    upload, who = create(stage), holder()
    stage.catalogue.uploads.claim(upload.id, 0, who)
    blob = add(stage, upload, who, 0, land=False)
    stage.see(NodeHealth.FOREIGN, NodeHealth.UP, NodeHealth.UP)
    with pytest.raises(CatalogueUnavailable):
        stage.catalogue.uploads.landed(upload, who, [(blob.id, stage.nodes[0])], 5)
    assert stage.catalogue.uploads.find(upload.id).offset == 0
    stage.catalogue.uploads.landed(upload, who, [(blob.id, stage.nodes[1])], 5)


def test_old_finished_ones_are_forgotten_and_nothing_else(stage: Stage) -> None:
    with_object, open_one = create(stage, length=0), create(stage)
    who = holder()
    claimed = stage.catalogue.uploads.claim(with_object.id, 0, who)
    add(stage, claimed, who, 0, length=0)
    commit(stage, claimed, blobs=1)
    assert stage.catalogue.uploads.forget(60) == 0
    assert stage.catalogue.uploads.forget(-60) == 1
    assert stage.catalogue.uploads.find(open_one.id).offset == 0
    with pytest.raises(NoSuchUpload):
        stage.catalogue.uploads.find(with_object.id)


# -- pairs that meet


def test_of_two_requests_that_claim_at_once_one_gets_it(stage: Stage) -> None:
    upload = create(stage)
    for pause in ("UPDATE versions", "UPDATE uploads"):
        one, two, waited = race(
            stage.catalogue,
            lambda: stage.catalogue.uploads.claim(upload.id, 0, holder(lease=60)),
            lambda: stage.catalogue.uploads.claim(upload.id, 0, holder(lease=60)),
            pause_before=pause,
        )
        errors = [error for error in (one.error, two.error) if error is not None]
        assert len(errors) == 1
        assert isinstance(errors[0], Conflict)
        assert waited or pause == "UPDATE versions"
        with stage.catalogue.database.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE uploads SET lease_until = 0")


def test_a_claim_against_the_end_of_a_blob_of_a_lapsed_lease_leaves_one_of_them(stage: Stage) -> None:
    upload, lapsed, fresh = create(stage), holder(lease=-1), holder()
    stage.catalogue.uploads.claim(upload.id, 0, lapsed)
    blob = add(stage, upload, lapsed, 0, land=False)
    land = lambda: stage.catalogue.uploads.landed(upload, lapsed, [(blob.id, stage.nodes[0])], 5)  # noqa: E731
    claim = lambda: stage.catalogue.uploads.claim(upload.id, 0, fresh)  # noqa: E731
    landed, claimed, _ = race(stage.catalogue, land, claim, pause_before="UPDATE uploads")
    assert landed.error is None
    assert isinstance(claimed.error, Conflict), "the upload stands behind that blob now"
    other, lapsed_again = create(stage), holder(lease=-1)
    stage.catalogue.uploads.claim(other.id, 0, lapsed_again)
    late = add(stage, other, lapsed_again, 0, land=False)
    claimed, landed, _ = race(
        stage.catalogue,
        lambda: stage.catalogue.uploads.claim(other.id, 0, fresh),
        lambda: stage.catalogue.uploads.landed(other, lapsed_again, [(late.id, stage.nodes[0])], 5),
        pause_before="UPDATE uploads",
    )
    assert claimed.error is None
    assert isinstance(landed.error, Conflict)
    assert stage.catalogue.uploads.find(other.id).offset == 0


def test_expiry_against_a_claim_has_one_winner(stage: Stage) -> None:
    upload, who = create(stage, active=0.5), holder()
    claimed, expired, _ = race(
        stage.catalogue,
        lambda: stage.catalogue.uploads.claim(upload.id, 0, who),
        lambda: stage.catalogue.objects.expire_uploads(),
        pause_before="UPDATE uploads",
    )
    assert claimed.error is None
    assert expired.value == 0, "its expiry was moved"
    assert stage.catalogue.uploads.find(upload.id).offset == 0


def test_of_two_commits_of_one_upload_one_makes_the_object(stage: Stage) -> None:
    upload, who = create(stage), holder()
    claimed = stage.catalogue.uploads.claim(upload.id, 0, who)
    add(stage, claimed, who, 0)
    add(stage, claimed, who, 1)
    one, two, waited = race(
        stage.catalogue,
        lambda: commit(stage, claimed),
        lambda: commit(stage, claimed),
        pause_before="INSERT INTO objects",
    )
    assert waited
    assert one.error is None
    assert isinstance(two.error, UploadSuperseded)
    assert stage.catalogue.uploads.find(upload.id).finished


def test_an_end_against_a_commit_leaves_the_object_or_nothing(stage: Stage) -> None:
    for committed_first in (True, False):
        upload, who = create(stage), holder()
        claimed = stage.catalogue.uploads.claim(upload.id, 0, who)
        add(stage, claimed, who, 0)
        add(stage, claimed, who, 1)
        acts = [
            lambda claimed=claimed: commit(stage, claimed),
            lambda upload=upload: stage.catalogue.uploads.end(upload.id),
        ]
        first, second = acts if committed_first else reversed(acts)
        pause = "INSERT INTO objects" if committed_first else "UPDATE versions"
        one, two, _ = race(stage.catalogue, first, second, pause_before=pause)
        outcomes = [one, two] if committed_first else [two, one]
        there = count(stage, f"objects WHERE version_id = '{upload.version_id}'")
        if outcomes[0].error is None:
            assert there == 1
            assert outcomes[1].error is None
        else:
            assert isinstance(outcomes[0].error, UploadSuperseded)
            assert there == 0
        stage.catalogue.objects.delete("papers", "a", Preconditions()) if there else None
