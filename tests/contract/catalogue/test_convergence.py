"""When versions became whole, and what a node that came back is still owed."""

from __future__ import annotations

import pytest

from common.catalogue.sql.engine.tables import copies, versions
from common.model.copies import CopyState
from common.model.versions import Blob, Preconditions
from common.model.work import CopyAction, Outcome, OutcomeEffect
from tests.contract.catalogue.stage import Stage, node_spec


def stored(stage: Stage, blob_id: str, *nodes: int, action: CopyAction = CopyAction.REPLICATE) -> OutcomeEffect:
    """End the due rows of a blob on the nodes of these places as stored."""
    owner = [stage.nodes[place] for place in nodes]
    claims = stage.catalogue.copies.claim(action, [blob_id], owner, "w", 60)
    assert len(claims) == len(nodes)
    return stage.catalogue.copies.end([Outcome(claim.copy_id, claim.fence, CopyState.STORED) for claim in claims])


def committed_before(stage: Stage, version_id: str, seconds: float) -> None:
    at = stage.catalogue.now() - seconds
    stage.catalogue.database.write(
        lambda connection: connection.execute(
            versions.update().where(versions.c.id == version_id).values(created_at=at)
        )
    )


def put_wide(stage: Stage, blobs: int) -> list[Blob]:
    new = [stage.new_blob(stage.blob(number)) for number in range(blobs)]
    stage.catalogue.objects.commit(stage.version("wide", blobs=blobs, size=5 * blobs), new, Preconditions())
    return [one.blob for one in new]


def test_the_end_that_makes_a_version_whole_says_how_old_it_is(stage: Stage) -> None:
    version_id, blob_id, _ = stage.put("a")
    committed_before(stage, version_id, 100)
    assert stored(stage, blob_id, 1).whole_after == ()
    (age,) = stored(stage, blob_id, 2).whole_after
    assert 100 <= age < 130


def test_both_last_copies_in_one_transaction_are_one_version(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    assert len(stored(stage, blob_id, 1, 2).whole_after) == 1


@pytest.mark.parametrize("last", [0, 1, 2])
def test_a_version_is_whole_with_the_last_of_its_blobs_whichever_that_is(stage: Stage, last: int) -> None:
    blobs = put_wide(stage, 3)
    others = [blob for blob in blobs if blob.number != last]
    assert [stored(stage, blob.id, 1, 2).whole_after for blob in others] == [(), ()]
    assert len(stored(stage, blobs[last].id, 1, 2).whole_after) == 1


def test_a_copy_that_is_made_again_makes_nothing_whole_a_second_time(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    stored(stage, blob_id, 1, 2)
    assert stage.catalogue.copies.suspect(blob_id, stage.nodes[1], "a reader saw it wrong")
    ended = stored(stage, blob_id, 1, action=CopyAction.VERIFY)
    assert (len(ended.copy_ids), ended.whole_after) == (1, ())


def test_a_copy_that_moved_makes_nothing_whole(stage: Stage) -> None:
    """A blob with more rows than wanted was whole before: one of them takes another's place."""
    _, blob_id, _ = stage.put("a", stored=3)
    stage.catalogue.nodes.register([node_spec(4)])
    (fourth,) = {node.id for node in stage.catalogue.nodes.all()} - set(stage.nodes)
    stage.catalogue.database.write(
        lambda connection: connection.execute(
            copies.insert().values(blob_id=blob_id, node_id=fourth, state="missing", next_attempt_at=0.0)
        )
    )
    stage.nodes.append(fourth)
    assert stored(stage, blob_id, 3).whole_after == ()


def test_an_end_that_comes_too_late_makes_nothing_whole(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a", stored=2)
    (claim,) = stage.claim([blob_id], lease=-1)
    stage.catalogue.copies.expire_leases()
    assert stage.catalogue.copies.end([Outcome(claim.copy_id, claim.fence, CopyState.STORED)]) == OutcomeEffect(
        frozenset(), ()
    )


def test_a_replaced_version_does_not_become_whole(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a", stored=2)
    (claim,) = stage.claim([blob_id])
    stage.put("a")
    assert stage.catalogue.copies.end([Outcome(claim.copy_id, claim.fence, CopyState.STORED)]).whole_after == ()


def test_a_node_is_owed_what_it_misses_of_the_rows_up_to_then(stage: Stage) -> None:
    copies_of, node = stage.catalogue.copies, stage.nodes[1]
    assert (copies_of.newest(), copies_of.owed(node, 10**9)) == (0, False)
    _, blob_id, _ = stage.put("a")
    then = copies_of.newest()
    assert copies_of.owed(node, then)
    stage.put("later")
    assert copies_of.newest() > then
    stored(stage, blob_id, 1)
    assert not copies_of.owed(node, then)
    assert copies_of.owed(node, copies_of.newest())
    copies_of.suspect(blob_id, node, "wrong")
    assert copies_of.owed(node, then)


def test_neither_the_dead_nor_what_was_replaced_is_owed(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a", stored=2)
    (claim,) = stage.claim([blob_id])
    dead = Outcome(claim.copy_id, claim.fence, CopyState.MISSING, error="x", kind="node", dead=True)
    stage.catalogue.copies.end([dead])
    assert not stage.catalogue.copies.owed(stage.nodes[2], stage.catalogue.copies.newest())
    stage.put("b", stored=2)
    stage.put("b", stored=3)
    assert not stage.catalogue.copies.owed(stage.nodes[2], stage.catalogue.copies.newest())
