from __future__ import annotations

import pytest

from common.errors import UploadSuperseded
from common.model.copies import CopyState as State
from common.model.copies import Placed
from common.model.names import BlobName, new_id
from common.model.nodes import NodeHealth
from common.model.scrubbing import NameStanding
from common.model.versions import NewBlob, Preconditions
from common.model.work import CopyAction, Outcome
from tests.contract.catalogue.race import race
from tests.contract.catalogue.stage import Stage


def put_on_two(stage: Stage, key: str = "a", second: State = State.STORED) -> str:
    """A blob wanted on the first two nodes."""
    blob = stage.blob()
    copies = [Placed(stage.nodes[0], State.STORED), Placed(stage.nodes[1], second)]
    version = stage.version(key)
    version = type(version)(
        version.id, version.bucket, key, 5, 1, 2, version.headers, version.kek_id, b"wrapped", b"sha"
    )
    stage.catalogue.objects.commit(version, [NewBlob(blob, copies)], Preconditions())
    return blob.id


def standing(stage: Stage, blob_id: str, node: int = 2) -> NameStanding:
    name = BlobName(blob_id)
    return stage.catalogue.orphans.sort(stage.nodes[node], [name])[name]


def commit(stage: Stage, blob_id: str) -> None:
    new = stage.new_blob()
    blob = type(new.blob)(blob_id, 0, 0, 5, 93, b"d" * 32, b"s" * 24)
    stage.catalogue.objects.commit(stage.version("late"), [NewBlob(blob, new.copies)], Preconditions())


def test_a_name_is_known_where_a_row_wants_it_and_an_orphan_where_there_is_none(stage: Stage) -> None:
    blob_id = put_on_two(stage)
    assert [standing(stage, blob_id, node) for node in range(3)] == [
        NameStanding.KNOWN,
        NameStanding.KNOWN,
        NameStanding.STRAY,
    ]
    assert standing(stage, new_id()) is NameStanding.ORPHAN
    stage.catalogue.objects.delete("papers", "a", Preconditions())
    assert standing(stage, blob_id) is NameStanding.STRAY


def test_a_copy_too_many_is_kept_until_all_the_wanted_ones_are_there(stage: Stage) -> None:
    blob_id = put_on_two(stage, second=State.MISSING)
    assert standing(stage, blob_id) is NameStanding.KEPT
    assert stage.catalogue.orphans.doom(stage.nodes[2], [BlobName(blob_id)]) == 0
    stage.replicate(blob_id)
    stage.see(NodeHealth.DOWN, NodeHealth.UP, NodeHealth.UP)
    assert standing(stage, blob_id) is NameStanding.KEPT
    stage.see(*[NodeHealth.UP] * 3)
    assert standing(stage, blob_id) is NameStanding.STRAY


def test_a_stray_gets_one_doomed_row_however_often_it_is_asked_for(stage: Stage) -> None:
    blob_id = put_on_two(stage)
    assert [
        stage.catalogue.orphans.doom(stage.nodes[2], [BlobName(blob_id), BlobName(new_id())]) for _ in range(2)
    ] == [1, 0]
    assert standing(stage, blob_id) is NameStanding.KNOWN
    assert stage.state("a") == "protected"


def test_an_upload_in_progress_keeps_its_blobs(stage: Stage) -> None:
    upload = new_id()
    stage.catalogue.objects.begin(upload, stage.bucket.id, "long", 1, stage.catalogue.now() + 60)
    blob = stage.blob()
    new = NewBlob(blob, [Placed(stage.nodes[0], State.MISSING)])
    stage.catalogue.objects.add_blob(upload, new, (), stage.catalogue.now() + 60)
    assert [standing(stage, blob.id, node) for node in range(2)] == [NameStanding.KNOWN, NameStanding.KEPT]
    assert stage.catalogue.orphans.bury([blob.id]) == set()


def test_a_buried_blob_is_an_orphan_still_and_its_commit_is_refused(stage: Stage) -> None:
    blob_id = new_id()
    assert [stage.catalogue.orphans.bury([blob_id]) for _ in range(2)] == [{blob_id}] * 2
    assert standing(stage, blob_id) is NameStanding.ORPHAN
    with pytest.raises(UploadSuperseded):
        commit(stage, blob_id)
    assert stage.catalogue.buckets.totals(stage.bucket.id).objects == 0


def test_a_committed_blob_is_not_buried(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    other = new_id()
    assert stage.catalogue.orphans.bury([blob_id, other]) == {other}


@pytest.mark.parametrize("reclaim_first", [True, False])
def test_of_a_reclaim_and_a_commit_of_one_blob_the_first_wins(stage: Stage, reclaim_first: bool) -> None:
    blob_id = new_id()
    racers = [lambda: stage.catalogue.orphans.bury([blob_id]), lambda: commit(stage, blob_id)]
    # Both are stopped when the blob's row is inserted, and not committed yet.
    stopped_before = "SELECT blobs.id" if reclaim_first else "INSERT INTO copies"
    first, second = racers if reclaim_first else reversed(racers)
    one, two, waited = race(stage.catalogue, first, second, pause_before=stopped_before)
    assert waited
    buried, committed = (one, two) if reclaim_first else (two, one)
    assert buried.error is None
    if reclaim_first:
        assert buried.value == {blob_id}
        assert isinstance(committed.error, UploadSuperseded)
    else:
        assert buried.value == set()
        assert committed.error is None
        assert standing(stage, blob_id, 0) is NameStanding.KNOWN


def test_old_tombstones_are_dropped_in_pages(stage: Stage) -> None:
    stage.put("a")
    stage.catalogue.orphans.bury([new_id() for _ in range(5)])
    assert stage.catalogue.orphans.unbury(3600) == 0
    assert [stage.catalogue.orphans.unbury(-1, 3) for _ in range(3)] == [3, 2, 0]
    assert stage.state("a") == "replicating"


@pytest.mark.parametrize("forget_first", [True, False])
def test_a_stray_of_a_blob_that_is_being_forgotten_gets_a_row_or_none(stage: Stage, forget_first: bool) -> None:
    _, blob_id, _ = stage.put("a")
    stage.catalogue.objects.delete("papers", "a", Preconditions())
    stage.catalogue.objects.doom_copies(0)
    claims = stage.claim([blob_id], CopyAction.DELETE)
    stage.catalogue.copies.end([Outcome(claim.copy_id, claim.fence, None) for claim in claims])
    doom = lambda: stage.catalogue.orphans.doom(stage.nodes[2], [BlobName(blob_id)])  # noqa: E731
    forget = stage.catalogue.objects.forget
    if forget_first:
        forgotten, doomed, _ = race(stage.catalogue, forget, doom, pause_before="DELETE FROM blobs")
    else:
        doomed, forgotten, _ = race(stage.catalogue, doom, forget, pause_before="INSERT INTO copies")
    assert (doomed.error, forgotten.error) == (None, None)
    assert (doomed.value, forgotten.value) == ((0, 1) if forget_first else (1, 0))
    assert len(stage.claim([blob_id], CopyAction.DELETE)) == doomed.value
