"""Which blobs are concerned by a move, and changes that are made only on what they were decided on."""

from __future__ import annotations

import pytest

from common.catalogue.copies import Reach
from common.model.copies import CopyState, Placed
from common.model.names import new_id
from common.model.nodes import NodeHealth, NodeMode
from common.model.relocation import BlobCopies, Relocation
from common.model.versions import Preconditions
from common.model.work import CopyAction, Outcome
from tests.contract.catalogue.race import race
from tests.contract.catalogue.stage import Stage, node_spec

MISSING, STORED, DOOMED = CopyState.MISSING, CopyState.STORED, CopyState.DOOMED


@pytest.fixture
def fourth(stage: Stage) -> str:
    """A node that has no copy of anything yet."""
    stage.catalogue.nodes.register([node_spec(4)])
    (node,) = [node.id for node in stage.catalogue.nodes.all() if node.spec.name == "node4"]
    return node


def look(stage: Stage, blob_id: str) -> BlobCopies:
    (copies,) = stage.catalogue.relocations.of([blob_id])
    return copies


def states(stage: Stage, blob_id: str) -> dict[str | None, CopyState]:
    return {row.node_id: row.state for row in look(stage, blob_id).rows}


def apply(stage: Stage, move: Relocation) -> bool:
    return move.copies.blob.id in stage.catalogue.relocations.apply([move])


def retire(stage: Stage, number: int) -> str:
    return stage.catalogue.nodes.set_mode(f"node{number}", NodeMode.RETIRED.value, None).id


def all_on(stage: Stage, node_id: str, limit: int = 500) -> list[str]:
    found: list[str] = []
    after: int | None = 0
    while after is not None:
        page, after = stage.catalogue.relocations.examine(node_id, after, limit)
        found += [copies.blob.id for copies in page]
    return found


# -- looking


def test_of_a_full_node_only_the_blobs_it_lacks_are_seen(stage: Stage) -> None:
    blob_ids = [stage.put(f"key{number}", stored=1 + number % 2)[1] for number in range(5)]
    page, after = stage.catalogue.relocations.examine(stage.nodes[1], 0, 2, missing=True)
    assert [copies.blob.id for copies in page] == [blob_ids[0], blob_ids[2]]
    page, after = stage.catalogue.relocations.examine(stage.nodes[1], after or 0, 2, missing=True)
    assert ([copies.blob.id for copies in page], after) == ([blob_ids[4]], None)


def test_a_nodes_blobs_are_seen_page_by_page_with_the_rows_on_all_nodes(stage: Stage, fourth: str) -> None:
    blob_ids = [stage.put(f"key{number}", stored=3)[1] for number in range(5)]
    assert sorted(all_on(stage, stage.nodes[0], limit=2)) == sorted(blob_ids)
    assert all_on(stage, fourth) == []
    page, _ = stage.catalogue.relocations.examine(stage.nodes[1], 0)
    assert {len(copies.rows) for copies in page} == {3}
    assert {copies.wanted for copies in page} == {3}
    assert {row.state for copies in page for row in copies.rows} == {STORED}


def test_blobs_of_replaced_and_deleted_versions_are_not_seen_and_do_not_end_the_pages(stage: Stage) -> None:
    old = [stage.put("a", stored=3)[1] for _ in range(3)]
    gone = stage.put("b", stored=3)[1]
    stage.catalogue.objects.delete("papers", "b", Preconditions())
    last = stage.put("c", stored=3)[1]
    assert all_on(stage, stage.nodes[2], limit=1) == [old[-1], last]
    assert stage.catalogue.relocations.of([*old[:-1], gone]) == []


def test_blobs_with_doomed_rows_on_the_node_only_wait_for_nothing_there(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a", stored=3)
    copies = look(stage, blob_id)
    assert apply(stage, Relocation(copies, doom=[copies.rows[0].id]))
    assert all_on(stage, copies.rows[0].node_id or "") == []
    assert all_on(stage, copies.rows[1].node_id or "") == [blob_id]


def test_only_blobs_with_more_or_fewer_rows_than_wanted_are_uneven(stage: Stage, fourth: str) -> None:
    blob_ids = [stage.put(f"key{number}", stored=3)[1] for number in range(6)]
    more, fewer = look(stage, blob_ids[1]), look(stage, blob_ids[4])
    stage.catalogue.relocations.apply([Relocation(more, add=[fourth]), Relocation(fewer, doom=[fewer.rows[2].id])])
    found: list[str] = []
    after: str | None = ""
    pages = 0
    while after is not None:
        page, after = stage.catalogue.relocations.uneven(after, limit=2)
        found += [copies.blob.id for copies in page]
        pages += 1
    assert sorted(found) == sorted([blob_ids[1], blob_ids[4]])
    assert pages == 4


def test_rows_without_a_node_are_paged_through_by_id(stage: Stage) -> None:
    for number in range(3):
        blob = stage.new_blob()
        wanted = [*blob.copies[:2], Placed(None, MISSING)]
        new = type(blob)(blob.blob, wanted)
        stage.catalogue.objects.commit(stage.version(f"key{number}"), [new], Preconditions())
    first = stage.catalogue.copies.unassigned(0, 2)
    second = stage.catalogue.copies.unassigned(first[-1][0], 2)
    assert (len(first), len(second)) == (2, 1)
    assert stage.catalogue.copies.unassigned(second[-1][0], 2) == []


# -- changing


def test_a_move_adds_dooms_and_deletes_rows_at_once(stage: Stage, fourth: str) -> None:
    _, blob_id, _ = stage.put("a", stored=3)
    before = look(stage, blob_id)
    one, two, three = before.rows
    assert apply(stage, Relocation(before, add=[fourth, None], doom=[one.id], delete=[two.id]))
    after = {row.node_id: row for row in look(stage, blob_id).rows}
    assert {node: row.state for node, row in after.items()} == {
        one.node_id: DOOMED,
        three.node_id: STORED,
        fourth: MISSING,
        None: MISSING,
    }
    assert after[one.node_id].fence == one.fence + 1
    assert [claim.node_id for claim in stage.claim([blob_id], CopyAction.DELETE)] == [one.node_id], "it is due"
    due, _ = stage.catalogue.copies.due(CopyAction.REPLICATE, fourth, Reach(stage.nodes, ()), stage.catalogue.now())
    assert [row[1] for row in due] == [blob_id]


def test_a_move_decided_on_rows_that_changed_is_left_out_and_the_others_are_made(stage: Stage, fourth: str) -> None:
    (_, changed, _), (_, same, _) = stage.put("a", stored=1), stage.put("b", stored=1)
    moves = [Relocation(copies, add=[fourth]) for copies in stage.catalogue.relocations.of([changed, same])]
    stage.replicate(changed)
    assert stage.catalogue.relocations.apply(moves) == {same}
    assert fourth not in states(stage, changed)


def test_a_move_decided_without_a_row_that_came_since_is_left_out(stage: Stage, fourth: str) -> None:
    _, blob_id, _ = stage.put("a", stored=3)
    seen = look(stage, blob_id)
    assert apply(stage, Relocation(seen, add=[fourth]))
    assert not apply(stage, Relocation(seen, doom=[seen.rows[0].id]))
    assert states(stage, blob_id) == dict.fromkeys(stage.nodes, STORED) | {fourth: MISSING}


def test_copies_of_a_version_that_was_replaced_are_not_moved(stage: Stage, fourth: str) -> None:
    _, blob_id, _ = stage.put("a", stored=3)
    seen = look(stage, blob_id)
    stage.put("a")
    assert not apply(stage, Relocation(seen, add=[fourth]))


@pytest.mark.parametrize("mode", [NodeMode.DRAINING, NodeMode.PAUSED, NodeMode.RETIRED])
def test_no_row_is_added_on_a_node_that_is_not_active_any_more(stage: Stage, fourth: str, mode: NodeMode) -> None:
    _, blob_id, _ = stage.put("a", stored=3)
    stage.catalogue.nodes.set_mode("node4", mode.value, None)
    assert not apply(stage, Relocation(look(stage, blob_id), add=[fourth]))


def test_no_move_at_all_is_no_transaction(stage: Stage) -> None:
    assert stage.catalogue.relocations.apply([]) == set()
    stage.catalogue.relocations.verified([], 1.0)


def test_an_end_of_work_on_a_row_that_was_doomed_meanwhile_changes_nothing(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a", stored=1)
    claim = stage.claim([blob_id])[0]
    assert apply(stage, Relocation(look(stage, blob_id), doom=[claim.copy_id]))
    assert stage.catalogue.copies.end([Outcome(claim.copy_id, claim.fence, STORED)]).copy_ids == set()
    assert states(stage, blob_id)[claim.node_id] is DOOMED
    assert stage.claim([blob_id], CopyAction.DELETE) == [], "the worker may be putting it: its lease is waited for"


def test_what_was_read_whole_is_written_to_rows_that_did_not_change(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a", stored=3)
    one, two, three = look(stage, blob_id).rows
    stage.catalogue.copies.suspect(blob_id, two.node_id or "", "absent")
    stage.catalogue.relocations.verified([(one.id, one.fence), (two.id, two.fence), (three.id, three.fence + 1)], 77.0)
    after = {row.id: (row.verified_at, row.fence) for row in look(stage, blob_id).rows}
    assert after == {one.id: (77.0, one.fence), two.id: (None, two.fence + 1), three.id: (None, three.fence)}


# -- nodes that go


def test_doomed_rows_are_cleared_from_a_retired_node_only(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a", stored=3)
    stage.put("a", stored=3)
    assert stage.catalogue.objects.doom_copies(0) == 3
    assert stage.catalogue.relocations.clear(stage.nodes[0]) == 0
    node = retire(stage, 1)
    assert stage.catalogue.relocations.clear(node) == 1
    assert stage.catalogue.relocations.clear(node) == 0
    assert len(all_on(stage, node)) == 1, "the current version's row stays"
    left = stage.claim([blob_id], CopyAction.DELETE)
    assert {claim.node_id for claim in left} == set(stage.nodes[1:])


def test_a_node_goes_when_it_is_retired_and_no_row_is_left_on_it(stage: Stage, fourth: str) -> None:
    _, blob_id, _ = stage.put("a", stored=3)
    assert apply(stage, Relocation(look(stage, blob_id), add=[fourth]))
    node = retire(stage, 4)
    assert not stage.catalogue.relocations.remove(node)
    copies = look(stage, blob_id)
    assert apply(stage, Relocation(copies, delete=[row.id for row in copies.rows if row.node_id == node]))
    assert not stage.catalogue.relocations.remove(stage.nodes[0]), "it is active"
    assert stage.catalogue.relocations.remove(node)
    assert [row.id for row in stage.catalogue.nodes.all()] == stage.nodes
    assert not stage.catalogue.relocations.remove(node), "there is nothing left to remove"


# -- what is shown meanwhile


def test_an_object_stays_protected_while_a_further_copy_is_being_made(stage: Stage, fourth: str) -> None:
    _, blob_id, _ = stage.put("a", stored=3)
    stage.catalogue.nodes.set_mode("node1", NodeMode.DRAINING.value, None)
    assert apply(stage, Relocation(look(stage, blob_id), add=[fourth]))
    assert stage.state("a") == "protected"
    found = stage.catalogue.objects.find("papers", "a").protection
    assert (found.stored, found.wanted) == (3, 3)
    assert stage.catalogue.status().objects["protected"] == 1


def test_more_copies_than_wanted_show_as_wanted(stage: Stage, fourth: str) -> None:
    _, blob_id, _ = stage.put("a", stored=3)
    assert apply(stage, Relocation(look(stage, blob_id), add=[fourth]))
    claims = stage.catalogue.copies.claim(CopyAction.REPLICATE, [blob_id], [fourth], "w", 60)
    stage.catalogue.copies.end([Outcome(claim.copy_id, claim.fence, STORED) for claim in claims])
    assert stage.catalogue.objects.find("papers", "a").protection.stored == 3
    (listed,) = stage.catalogue.objects.list("papers", "", "", "", 10).objects
    assert (listed[1].stored, listed[1].state.value) == (3, "protected")
    stage.see(NodeHealth.DOWN, NodeHealth.UP, NodeHealth.UP)
    stage.catalogue.nodes.write_health({fourth: (NodeHealth.UP, 1.0, None)}, "test")
    assert stage.state("a") == "protected", "three others are up"
    assert stage.catalogue.status().objects == {"replicating": 0, "protected": 1, "degraded": 0, "unavailable": 0}


def test_a_further_copy_that_is_missing_protects_nothing(stage: Stage, fourth: str) -> None:
    _, blob_id, _ = stage.put("a", stored=3)
    assert apply(stage, Relocation(look(stage, blob_id), add=[fourth]))
    stage.see(NodeHealth.DOWN, NodeHealth.UP, NodeHealth.UP)
    found = stage.catalogue.objects.find("papers", "a").protection
    assert (found.stored, found.live, found.state.value) == (3, 2, "degraded")
    assert stage.catalogue.status().objects["degraded"] == 1


def test_an_object_whose_lost_copy_nobody_can_take_is_not_shown_as_protected(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a", stored=3)
    copies = look(stage, blob_id)
    retire(stage, 3)
    (lost,) = [row.id for row in copies.rows if row.node_id == stage.nodes[2]]
    assert apply(stage, Relocation(copies, add=[None], delete=[lost]))
    assert stage.state("a") != "protected"
    assert stage.catalogue.status().objects["protected"] == 0


# -- pairs that meet


def test_of_two_moves_of_one_blob_decided_on_the_same_rows_one_is_made(stage: Stage, fourth: str) -> None:
    _, blob_id, _ = stage.put("a", stored=3)
    seen = look(stage, blob_id)
    there = lambda: apply(stage, Relocation(seen, add=[fourth]))  # noqa: E731
    back = lambda: apply(stage, Relocation(seen, doom=[seen.rows[0].id]))  # noqa: E731
    one, two, waited = race(stage.catalogue, there, back, pause_before="INSERT INTO copies")
    assert (one.error, two.error) == (None, None)
    assert (one.value, two.value, waited) == (True, False, True)
    assert states(stage, blob_id) == dict.fromkeys(stage.nodes, STORED) | {fourth: MISSING}


def test_a_move_against_a_delete_never_leaves_a_row_that_outlives_its_object(stage: Stage, fourth: str) -> None:
    _, blob_id, _ = stage.put("a", stored=3)
    seen = look(stage, blob_id)
    delete = lambda: stage.catalogue.objects.delete("papers", "a", Preconditions())  # noqa: E731
    moved, deleted, _ = race(
        stage.catalogue, lambda: apply(stage, Relocation(seen, add=[fourth])), delete, pause_before="INSERT INTO copies"
    )
    assert (moved.error, deleted.error, moved.value) == (None, None, True)
    assert stage.catalogue.objects.doom_copies(0) == 4, "the new row is doomed with the others"
    _, blob_id, _ = stage.put("a", stored=3)
    seen = look(stage, blob_id)
    deleted, moved, _ = race(
        stage.catalogue, delete, lambda: apply(stage, Relocation(seen, add=[fourth])), pause_before="UPDATE versions"
    )
    assert (moved.error, deleted.error) == (None, None)
    assert stage.catalogue.objects.doom_copies(0) == (4 if moved.value else 3)
    assert stage.catalogue.relocations.of([blob_id]) == []


def test_a_move_against_a_claim_on_one_of_its_rows_is_made_by_one_of_them(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a", stored=1)
    seen = look(stage, blob_id)
    missing = next(row for row in seen.rows if row.state is MISSING)
    claim, moved, _ = race(
        stage.catalogue,
        lambda: stage.claim([blob_id]),
        lambda: apply(stage, Relocation(seen, doom=[missing.id])),
        pause_before="UPDATE copies",
    )
    assert (claim.error, moved.error, moved.value) == (None, None, False)
    assert states(stage, blob_id)[missing.node_id] is MISSING


def test_a_node_is_not_removed_under_a_commit_that_stores_there(stage: Stage, fourth: str) -> None:
    stage.nodes = [fourth, *stage.nodes[:2]]
    put, removed, _ = race(
        stage.catalogue,
        lambda: stage.put("a", stored=1),
        lambda: (retire(stage, 4), stage.catalogue.relocations.remove(fourth))[1],
        pause_before="INSERT INTO copies",
    )
    assert (put.error, removed.error) == (None, None)
    assert removed.value is False
    assert fourth in states(stage, put.value[1])


def test_a_blob_whose_version_has_no_row_of_it_is_not_found(stage: Stage) -> None:
    assert stage.catalogue.relocations.of([new_id()]) == []
    assert stage.catalogue.relocations.of([]) == []


def test_nothing_is_given_up_once_a_node_whose_copy_was_to_stay_is_given_up_itself(stage: Stage) -> None:
    """Giving up a node changes no copy row, so fences alone would let the last good copy go."""
    _, blob_id, _ = stage.put("a", stored=2)
    copies = look(stage, blob_id)
    (doomed,) = [row.id for row in copies.rows if row.node_id == stage.nodes[0]]
    modes = dict.fromkeys(stage.nodes, NodeMode.ACTIVE)
    retire(stage, 2)
    assert not apply(stage, Relocation(copies, doom=[doomed], modes=modes))
    assert not apply(stage, Relocation(copies, delete=[doomed], modes=modes))
    assert states(stage, blob_id)[stage.nodes[0]] is STORED
    modes[stage.nodes[1]] = NodeMode.RETIRED
    assert apply(stage, Relocation(copies, doom=[doomed], modes=modes))
