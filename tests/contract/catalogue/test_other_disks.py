"""Another disk stood behind a node's name: which of the rows there are believed no more, and since when it is away."""

from __future__ import annotations

import pytest

from common.errors import CatalogueUnavailable
from common.model.copies import CopyState, Placed
from common.model.names import new_id
from common.model.nodes import NodeHealth
from common.model.versions import NewBlob, Preconditions
from common.model.work import CopyAction, Outcome
from tests.contract.catalogue.stage import Stage

UP, DOWN, FOREIGN = NodeHealth.UP, NodeHealth.DOWN, NodeHealth.FOREIGN


def doubt(stage: Stage, number: int = 0, since: float | None = None) -> int:
    """All pages."""
    total = 0
    while page := stage.catalogue.nodes.doubt(stage.nodes[number], since, 1):
        total += page
    return total


def states(stage: Stage, key: str) -> list[str]:
    rows = {row.node_id: row.state.value for row in stage.catalogue.objects.copies("papers", key)[1]}
    return [rows[node_id] for node_id in stage.nodes]


def test_only_what_was_stored_or_verified_since_is_doubted(stage: Stage) -> None:
    for key in ("old", "verified"):
        stage.put(key)
    since = stage.catalogue.now()
    stage.put("new")
    read = [(row.copy_id, 0) for row in stage.catalogue.objects.copies("papers", "verified")[1] if row.stored_at]
    assert stage.catalogue.scrubs.verified(read, stage.catalogue.now()) == 1
    assert doubt(stage, since=since) == 2
    assert [states(stage, key)[0] for key in ("old", "verified", "new")] == ["stored", "suspect", "suspect"]
    assert doubt(stage) == 1
    assert states(stage, "old") == ["suspect", "missing", "missing"]


@pytest.mark.parametrize("since", [None, 0.0])
def test_what_a_worker_has_put_there_is_not_believed_afterwards(stage: Stage, since: float | None) -> None:
    _, blob_id, _ = stage.put("a")
    claims = stage.claim([blob_id])
    assert doubt(stage, 1, since) == 1
    ended = stage.catalogue.copies.end([Outcome(claim.copy_id, claim.fence, CopyState.STORED) for claim in claims])
    assert len(ended.copy_ids) == 1
    assert states(stage, "a") == ["stored", "missing", "stored"]
    assert [claim.node_id for claim in stage.claim([blob_id])] == [stage.nodes[1]], "due at once"


def test_what_a_worker_has_read_there_is_not_believed_afterwards(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    assert stage.catalogue.copies.suspect(blob_id, stage.nodes[0], "wrong bytes")
    (claim,) = stage.claim([blob_id], CopyAction.VERIFY)
    assert doubt(stage) == 1
    end = Outcome(claim.copy_id, claim.fence, CopyState.STORED, verified=True)
    assert stage.catalogue.copies.end([end]).copy_ids == set()
    assert states(stage, "a") == ["suspect", "missing", "missing"]


@pytest.mark.parametrize("elsewhere", [True, False])
def test_what_an_upload_in_progress_has_put_there_is_not_believed_afterwards(stage: Stage, elsewhere: bool) -> None:
    upload, until = new_id(), stage.catalogue.now() + 60
    stage.catalogue.objects.begin(upload, stage.bucket.id, "long", 3, until)
    blob = stage.blob()
    wanted = NewBlob(blob, [Placed(node_id, CopyState.MISSING) for node_id in stage.nodes])
    stage.catalogue.objects.add_blob(upload, wanted, [], until)
    assert doubt(stage) == 1
    put = [(blob.id, stage.nodes[number]) for number in ((0, 1) if elsewhere else (0,))]
    version = stage.version("long", upload)
    if not elsewhere:
        with pytest.raises(CatalogueUnavailable, match="send it again"):
            stage.catalogue.objects.commit(version, [], Preconditions(), put, uploading=True)
        return
    stage.catalogue.objects.commit(version, [], Preconditions(), put, uploading=True)
    assert states(stage, "long") == ["suspect", "stored", "missing"]
    assert [claim.node_id for claim in stage.claim([blob.id], CopyAction.VERIFY)] == [stage.nodes[0]]


def test_a_node_that_was_down_and_is_foreign_is_away_since_it_went_down(stage: Stage) -> None:
    def since() -> float:
        return next(row.since for row in stage.catalogue.nodes.all() if row.id == stage.nodes[2])

    times = [since()]
    for health in (DOWN, FOREIGN, DOWN, UP):
        stage.see(UP, UP, health)
        times.append(since())
    assert times[0] < times[1] == times[2] == times[3] < times[4]
