from __future__ import annotations

import pytest

from common.errors import Conflict, NoSuchBucket, NotAllowed, UploadSuperseded
from common.model.names import new_id
from common.model.versions import Preconditions
from tests.contract.catalogue.stage import Stage


def test_a_bucket_is_created_once_and_then_changed(stage: Stage) -> None:
    first, created = stage.catalogue.buckets.put("letters", None, None)
    again, created_again = stage.catalogue.buckets.put("letters", 2, 2)
    assert (created, first.copies, first.write_copies) == (True, 3, 1)
    assert (created_again, again.id, again.copies, again.write_copies) == (False, first.id, 2, 2)


def test_fewer_copies_than_write_copies_are_refused_and_change_nothing(stage: Stage) -> None:
    with pytest.raises(NotAllowed, match="write_copies"):
        stage.catalogue.buckets.put("papers", 2, 3)
    assert stage.catalogue.buckets.get("papers").copies == 3


def test_buckets_are_listed_in_byte_order(stage: Stage) -> None:
    for name in ("zebra", "a-b", "a.b"):
        stage.catalogue.buckets.put(name, None, None)
    assert [bucket.name for bucket in stage.catalogue.buckets.all()] == ["a-b", "a.b", "papers", "zebra"]


def test_totals_count_current_objects_only(stage: Stage) -> None:
    stage.put("a")
    stage.put("a")
    stage.put("b")
    totals = stage.catalogue.buckets.totals(stage.bucket.id)
    assert (totals.objects, totals.bytes) == (2, 10)


def test_a_bucket_with_an_object_is_not_deleted(stage: Stage) -> None:
    stage.put("a")
    with pytest.raises(Conflict):
        stage.catalogue.buckets.delete("papers")
    stage.catalogue.objects.delete("papers", "a", Preconditions())
    stage.catalogue.buckets.delete("papers")
    with pytest.raises(NoSuchBucket):
        stage.catalogue.buckets.get("papers")


def test_a_deleted_buckets_name_is_free_and_its_uploads_cannot_be_committed(stage: Stage) -> None:
    upload = new_id()
    stage.catalogue.objects.begin(upload, stage.bucket.id, "k", 3, stage.catalogue.now() + 60)
    stage.catalogue.buckets.delete("papers")
    new, created = stage.catalogue.buckets.put("papers", None, None)
    assert created
    assert new.id != stage.bucket.id
    with pytest.raises(NoSuchBucket):
        stage.catalogue.objects.commit(stage.version("k", upload), [], Preconditions(), uploading=True)
    with pytest.raises(NoSuchBucket):
        stage.put("k")
    with pytest.raises(UploadSuperseded):
        stage.catalogue.objects.touch(upload, stage.catalogue.now() + 60)
