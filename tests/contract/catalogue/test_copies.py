from __future__ import annotations

from collections.abc import Sequence

import pytest

from common.catalogue.copies import Reach
from common.model.copies import CopyState
from common.model.nodes import NodeHealth
from common.model.versions import ObjectState, Preconditions
from common.model.work import CopyAction, Outcome
from tests.contract.catalogue.stage import Stage


def due_rows(
    stage: Stage, node: int, readable: Sequence[str], action: CopyAction = CopyAction.REPLICATE
) -> Sequence[tuple[int, str, int]]:
    """Those on a node, with every node that cannot be read away."""
    reach = Reach(readable, set(stage.nodes) - set(readable))
    rows, after = stage.catalogue.copies.due(action, stage.nodes[node], reach, stage.catalogue.now() - 20)
    assert after is None
    return rows


def due(stage: Stage, node: int, action: CopyAction = CopyAction.REPLICATE) -> list[str]:
    return [blob_id for _, blob_id, _ in due_rows(stage, node, stage.nodes, action)]


def test_missing_copies_are_due_on_their_nodes_until_enqueued(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    assert [due(stage, node) for node in range(3)] == [[], [blob_id], [blob_id]]
    ((copy_id, _, length),) = due_rows(stage, 1, stage.nodes)
    assert length == 93
    stage.catalogue.copies.stamp([copy_id], stage.catalogue.now())
    assert [due(stage, node) for node in range(3)] == [[], [], [blob_id]]


def test_a_missing_copy_without_a_readable_source_is_parked(stage: Stage) -> None:
    stage.put("a")
    assert due_rows(stage, 1, stage.nodes[1:]) == []


def test_copies_nobody_can_be_waited_for_are_due_to_become_dead_letters(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    assert stage.catalogue.copies.suspect(blob_id, stage.nodes[0], "a reader did not find it")
    (claim,) = stage.claim([blob_id], CopyAction.VERIFY)
    stage.catalogue.copies.end([Outcome(claim.copy_id, claim.fence, CopyState.MISSING, error="gone", kind="missing")])
    assert [due(stage, node) for node in range(3)] == [[blob_id]] * 3
    assert due_rows(stage, 0, stage.nodes[:2]) == [], "the copy on the third may be there after all"


def test_rows_are_looked_at_in_pages_whether_they_are_parked_or_not(stage: Stage) -> None:
    for key in "abc":
        stage.put(key)
    _, due_one, _ = stage.put("d", stored=2)
    reach = Reach(stage.nodes[1:], stage.nodes[:1])
    before = stage.catalogue.now() - 20
    pages, after = [], None
    while True:
        rows, after = stage.catalogue.copies.due(CopyAction.REPLICATE, stage.nodes[2], reach, before, after, 3)
        pages.append([blob_id for _, blob_id, _ in rows])
        if after is None:
            break
    assert pages == [[], [due_one]]


def test_one_of_two_workers_gets_the_claim(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    first = stage.claim([blob_id], owner="one")
    assert [claim.node_id for claim in first] == stage.nodes[1:]
    assert [claim.attempts for claim in first] == [1, 1]
    assert stage.claim([blob_id], owner="two") == []


def test_a_claim_is_limited_to_the_nodes_that_take_work(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    claims = stage.catalogue.copies.claim(CopyAction.REPLICATE, [blob_id], [stage.nodes[2]], "w", 60)
    assert [claim.node_id for claim in claims] == [stage.nodes[2]]


def test_an_end_makes_the_object_protected(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    assert stage.state("a") == "replicating"
    stage.replicate(blob_id)
    assert stage.state("a") == "protected"
    assert stage.claim([blob_id]) == []


def test_an_overtaken_worker_writes_nothing(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    old = stage.claim([blob_id], lease=-1)
    (lapsed, _) = stage.catalogue.copies.expire_leases()
    assert lapsed.failures == {"lapsed": 1}
    outcomes = [Outcome(claim.copy_id, claim.fence, CopyState.STORED) for claim in old]
    assert stage.catalogue.copies.end(outcomes).copy_ids == set()
    assert stage.state("a") == "replicating"


def test_a_failure_waits_and_keeps_its_first_and_last_error(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    for message in ("first", "second"):
        (claim, *rest) = stage.claim([blob_id])
        stage.catalogue.copies.end([Outcome(other.copy_id, other.fence, CopyState.STORED) for other in rest])
        failed = Outcome(
            claim.copy_id,
            claim.fence,
            CopyState.MISSING,
            error=message,
            kind="node",
            failures={"node": claim.failures.get("node", 0) + 1},
            next_attempt_at=stage.catalogue.now() - 1,
        )
        stage.catalogue.copies.end([failed])
    (detail,) = [
        detail for detail in stage.catalogue.objects.copies("papers", "a")[1] if detail.state is CopyState.MISSING
    ]
    assert (detail.attempts, detail.last_error) == (2, "second")
    (claim,) = stage.claim([blob_id])
    assert claim.failures == {"node": 2}
    assert claim.first_error == "first"


def test_a_later_attempt_is_not_due_before_its_time(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    later = stage.catalogue.now() + 100
    stage.catalogue.copies.end(
        [
            Outcome(claim.copy_id, claim.fence, CopyState.MISSING, error="x", kind="node", next_attempt_at=later)
            for claim in stage.claim([blob_id])
        ]
    )
    assert stage.claim([blob_id]) == []
    assert due(stage, 1) == []


def test_a_released_row_counts_no_attempt(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    claims = stage.claim([blob_id])
    stage.catalogue.copies.end(
        [Outcome(claim.copy_id, claim.fence, CopyState.MISSING, released=True) for claim in claims]
    )
    assert [claim.attempts for claim in stage.claim([blob_id])] == [1, 1]


def test_a_renewed_lease_does_not_lapse(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    claims = stage.claim([blob_id], lease=-1)
    assert stage.catalogue.copies.renew(claims, "w", 60) == {(claim.copy_id, claim.fence) for claim in claims}
    assert stage.catalogue.copies.expire_leases() == []
    outcomes = [Outcome(claim.copy_id, claim.fence, CopyState.STORED) for claim in claims]
    assert len(stage.catalogue.copies.end(outcomes).copy_ids) == 2, "renewing keeps the fence"


def test_a_lease_is_renewed_for_the_claim_that_holds_it_and_for_no_other(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    first, second = stage.claim([blob_id], lease=-1)
    stage.catalogue.copies.end([Outcome(first.copy_id, first.fence, CopyState.MISSING, released=True)])
    (again,) = [claim for claim in stage.claim([blob_id], lease=-1) if claim.copy_id == first.copy_id]
    assert stage.catalogue.copies.renew([first], "w", 60) == set(), "the same owner's older claim"
    assert stage.catalogue.copies.renew([again], "another", 60) == set()
    assert stage.catalogue.copies.renew([again, first], "w", 60) == {(again.copy_id, again.fence)}
    assert stage.catalogue.copies.renew([], "w", 60) == set()
    assert [lapsed.copy_id for lapsed in stage.catalogue.copies.expire_leases()] == [second.copy_id]


def test_a_node_that_returns_wakes_waiting_rows_and_dead_letters_of_every_target(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    first, second = stage.claim([blob_id])
    far = stage.catalogue.now() + 900
    stage.catalogue.copies.end(
        [
            Outcome(first.copy_id, first.fence, CopyState.MISSING, error="x", kind="node", next_attempt_at=far),
            Outcome(second.copy_id, second.fence, CopyState.MISSING, error="x", kind="node", dead=True),
        ]
    )
    assert stage.catalogue.status().dead_letters == 1
    assert stage.state("a") == "degraded"
    assert stage.claim([blob_id]) == []
    assert stage.catalogue.copies.wake(stage.nodes[0], 0, letters=False) is None
    assert stage.catalogue.status().dead_letters == 1
    assert [claim.copy_id for claim in stage.claim([blob_id])] == [first.copy_id]
    assert stage.catalogue.copies.wake(stage.nodes[0], 0, letters=True) is None
    assert stage.catalogue.status().dead_letters == 0
    assert [claim.copy_id for claim in stage.claim([blob_id])] == [second.copy_id]


def test_a_reader_marks_a_stored_copy_suspect_once(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    assert stage.catalogue.copies.suspect(blob_id, stage.nodes[0], "wrong bytes")
    assert not stage.catalogue.copies.suspect(blob_id, stage.nodes[0], "wrong bytes")
    assert not stage.catalogue.copies.suspect(blob_id, stage.nodes[1], "absent"), "a missing copy is not suspect"
    (claim,) = stage.claim([blob_id], CopyAction.VERIFY)
    stage.catalogue.copies.end([Outcome(claim.copy_id, claim.fence, CopyState.STORED, verified=True)])
    details = stage.catalogue.objects.copies("papers", "a")[1]
    assert [detail.verified_at is not None for detail in details] == [True, False, False]


def test_a_doomed_copy_never_goes_back(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    claims = stage.claim([blob_id])
    stage.catalogue.objects.delete("papers", "a", Preconditions())
    stage.catalogue.objects.doom_copies(0)
    outcomes = [Outcome(claim.copy_id, claim.fence, CopyState.STORED) for claim in claims]
    assert stage.catalogue.copies.end(outcomes).copy_ids == set()
    assert not stage.catalogue.copies.suspect(blob_id, stage.nodes[0], "x")
    assert stage.catalogue.copies.queue_repair(blob_id, stage.nodes) == []


def test_a_doomed_row_with_a_live_lease_is_due_when_that_ends(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    stage.claim([blob_id], lease=60)
    stage.catalogue.objects.delete("papers", "a", Preconditions())
    stage.catalogue.objects.doom_copies(0)
    claimed = stage.claim([blob_id], CopyAction.DELETE)
    assert [claim.node_id for claim in claimed] == stage.nodes[:1]


def test_copies_of_a_replaced_version_are_nobodys_work(stage: Stage) -> None:
    _, old_blob, _ = stage.put("a")
    stage.put("a")
    assert stage.claim([old_blob]) == []
    assert old_blob not in due(stage, 1)


def test_rows_without_a_node_are_assigned_to_one_that_has_none(stage: Stage) -> None:
    stage.catalogue.nodes.set_mode("node3", "draining", None)
    stage.put("a")
    ((copy_id, fence, _, _, taken),) = stage.catalogue.copies.unassigned()
    assert not stage.catalogue.copies.assign(copy_id, fence, taken[0]), "that node has a copy already"
    assert stage.catalogue.copies.assign(copy_id, fence, stage.nodes[2])
    assert not stage.catalogue.copies.assign(copy_id, fence, stage.nodes[2]), "the fence has moved"
    assert len(due(stage, 2)) == 1


def test_a_repair_queues_stored_and_missing_copies(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    assert len(stage.catalogue.copies.queue_repair(blob_id, stage.nodes[:2])) == 2
    assert [claim.node_id for claim in stage.claim([blob_id], CopyAction.VERIFY)] == [stage.nodes[0]]
    assert len(stage.claim([blob_id])) == 2


def test_the_pages_of_a_scope_hold_every_blob_once(stage: Stage) -> None:
    blobs = {key: stage.put(key)[1] for key in ("a", "b/1", "b/2", "c")}
    seen: list[str] = []
    after = None
    while page := stage.catalogue.copies.wanted(stage.bucket.id, "b/", None, after, 1):
        seen += [item.blob.id for _, item in page]
        after = page[-1][0]
    assert seen == [blobs["b/1"], blobs["b/2"]]
    ((_, only),) = stage.catalogue.copies.wanted(stage.bucket.id, "", "c", None, 10)
    assert only.blob.id == blobs["c"]
    assert len(stage.catalogue.copies.wanted(None, "", None, None, 10)) == 4


# -- what is shown, computed in the database and from rows alike


@pytest.mark.parametrize(
    ("stored", "health", "state", "shown"),
    [
        (3, ("up", "up", "up"), "protected", 3),
        (1, ("up", "up", "up"), "replicating", 1),
        (3, ("up", "up", "suspect"), "protected", 3),
        (3, ("up", "up", "down"), "degraded", 3),
        (3, ("up", "up", "foreign"), "degraded", 2),
        (1, ("up", "down", "down"), "replicating", 1),
        (1, ("down", "up", "up"), "unavailable", 1),
        (2, ("down", "up", "up"), "degraded", 2),
        (3, ("down", "down", "down"), "unavailable", 3),
        (3, ("foreign", "foreign", "foreign"), "unavailable", 0),
    ],
)
def test_states_shown_follow_the_copies_and_their_nodes(
    stage: Stage, stored: int, health: tuple[str, ...], state: str, shown: int
) -> None:
    stage.put("a", stored=stored)
    stage.see(*[NodeHealth(one) for one in health])
    found = stage.catalogue.objects.find("papers", "a").protection
    ((_, listed),) = stage.catalogue.objects.list("papers", "", "", "", 10).objects
    counted = stage.catalogue.objects.find("papers", "a", blobs=0).protection
    assert found == listed == counted
    assert (found.state, found.stored) == (ObjectState(state), shown)
    status = stage.catalogue.status()
    assert {name: count for name, count in status.objects.items() if count} == {state: 1}
    assert (status.oldest_unprotected is None) == (state == "protected")


def test_a_recalled_row_is_due_again_at_once(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    for node in (1, 2):
        ((copy_id, _, _),) = due_rows(stage, node, stage.nodes)
        stage.catalogue.copies.stamp([copy_id], stage.catalogue.now())
    stage.catalogue.copies.recall(CopyAction.REPLICATE, [blob_id], [stage.nodes[2]])
    assert [due(stage, node) for node in range(3)] == [[], [], [blob_id]]


def test_wrong_bytes_are_not_due_until_another_copy_can_be_read(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a", stored=3)
    for node in stage.nodes[:2]:
        assert stage.catalogue.copies.suspect(blob_id, node, "a reader saw it wrong")
    claims = stage.claim([blob_id], CopyAction.VERIFY)
    outcomes = [Outcome(claim.copy_id, claim.fence, CopyState.SUSPECT, error="wrong", kind="wrong") for claim in claims]
    assert len(stage.catalogue.copies.end(outcomes).copy_ids) == 2

    def found(*readable: str) -> int:
        return len(due_rows(stage, 0, readable, CopyAction.VERIFY))

    assert found(*stage.nodes[:2]) == 0, "the other one that can be read is wrong as well"
    assert found(*stage.nodes) == 1
