"""Copy rows whose attempts are exhausted: listed, tried again, acknowledged."""

from __future__ import annotations

import pytest

from common.errors import NoSuchDeadLetter
from common.model.copies import CopyState
from common.model.versions import Preconditions
from common.model.work import CopyAction, DeadLetter, Outcome
from tests.contract.catalogue.race import race
from tests.contract.catalogue.stage import Stage


def die(stage: Stage, key: str, errors: tuple[str, ...] = ("node gone",)) -> tuple[str, list[int]]:
    """An object whose two missing copies are dead: its blob, and the letters' ids."""
    _, blob_id, _ = stage.put(key)
    for number, error in enumerate(errors, 1):
        claims = stage.claim([blob_id])
        dead = number == len(errors)
        outcomes = [
            Outcome(
                claim.copy_id,
                claim.fence,
                CopyState.MISSING,
                error=error,
                kind="node",
                failures={"node": 12},
                dead=dead,
            )
            for claim in claims
        ]
        assert len(stage.catalogue.copies.end(outcomes).copy_ids) == 2
    return blob_id, [claim.copy_id for claim in claims]


def letters(stage: Stage) -> list[DeadLetter]:
    return list(stage.catalogue.dead_letters.page(None))


def fences(stage: Stage) -> dict[int, int]:
    with stage.catalogue.database.reading.connect() as connection:
        return dict(connection.exec_driver_sql("SELECT id, fence FROM copies").all())


def test_a_dead_letter_says_what_where_since_when_and_why(stage: Stage) -> None:
    before = stage.catalogue.now()
    blob_id, ids = die(stage, "a", ("refused", "timed out"))
    (letter, other) = letters(stage)
    assert [letter.copy_id, other.copy_id] == ids
    assert (letter.bucket, letter.key, letter.blob_number, letter.blob_id) == ("papers", "a", 0, blob_id)
    assert (letter.node, other.node) == ("node2", "node3")
    assert (letter.state, letter.attempts) == (CopyState.MISSING, 2)
    assert before <= letter.dead_at <= stage.catalogue.now()
    assert letter.first is not None
    assert letter.last is not None
    assert (letter.first.error, letter.first.kind, letter.last.error) == ("refused", "node", "timed out")
    assert letter.first.at <= letter.last.at


def test_pages_of_dead_letters_hold_each_once_oldest_first(stage: Stage) -> None:
    wanted = [copy_id for key in "abc" for copy_id in die(stage, key)[1]]
    found: list[int] = []
    after = None
    while page := stage.catalogue.dead_letters.page(after, 2):
        assert len(page) <= 2
        found += [letter.copy_id for letter in page]
        after = page[-1].dead_at, page[-1].copy_id
    assert found == wanted


def test_a_letter_that_is_tried_again_is_due_at_once_with_a_clean_count(stage: Stage) -> None:
    blob_id, (first, second) = die(stage, "a")
    before = fences(stage)
    assert stage.catalogue.dead_letters.retry(first) == (CopyAction.REPLICATE, blob_id)
    after = fences(stage)
    assert (after[first], after[second]) == (before[first] + 1, before[second])
    assert [letter.copy_id for letter in letters(stage)] == [second]
    assert stage.catalogue.status().dead_letters == 1
    (claim,) = stage.claim([blob_id])
    assert (claim.copy_id, claim.failures) == (first, {})


def test_a_letter_of_a_deleted_object_is_a_delete(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    stage.catalogue.objects.delete("papers", "a", Preconditions())
    stage.catalogue.buckets.delete("papers")
    stage.catalogue.objects.doom_copies(0)
    (claim, *_) = stage.claim([blob_id], CopyAction.DELETE)
    stage.catalogue.copies.end(
        [Outcome(claim.copy_id, claim.fence, CopyState.DOOMED, error="denied", kind="refused", dead=True)]
    )
    (letter,) = letters(stage)
    assert (letter.state, letter.bucket, letter.key) == (CopyState.DOOMED, None, "a")
    assert stage.catalogue.dead_letters.retry(letter.copy_id) == (CopyAction.DELETE, blob_id)


def test_all_are_tried_again_in_pages_but_not_those_that_die_later(stage: Stage) -> None:
    for key in "abc":
        die(stage, key)
    until = stage.catalogue.now()
    later, _ = die(stage, "later")
    sizes = []
    while (page := stage.catalogue.dead_letters.retry_all(until, 4)) is not None:
        sizes.append(len(page))
    assert sizes == [4, 2]
    assert {letter.blob_id for letter in letters(stage)} == {later}


def test_an_acknowledged_letter_is_off_the_list_and_the_count_and_its_copy_stays_wanted(stage: Stage) -> None:
    blob_id, (first, second) = die(stage, "a")
    stage.catalogue.dead_letters.acknowledge(first)
    assert [letter.copy_id for letter in letters(stage)] == [second]
    assert stage.catalogue.status().dead_letters == 1
    assert stage.state("a") == "degraded"
    assert stage.catalogue.dead_letters.retry_all(stage.catalogue.now()) == [(CopyAction.REPLICATE, blob_id)]
    stage.catalogue.copies.wake(stage.nodes[0], 0, letters=True)
    assert {claim.copy_id for claim in stage.claim([blob_id])} == {first, second}


@pytest.mark.parametrize("revive", ["repair", "return", "retry"])
def test_an_acknowledged_letter_that_dies_again_is_back_on_the_list(stage: Stage, revive: str) -> None:
    blob_id, ids = die(stage, "a")
    for copy_id in ids:
        stage.catalogue.dead_letters.acknowledge(copy_id)
    if revive == "repair":
        stage.catalogue.copies.queue_repair(blob_id, stage.nodes)
    elif revive == "return":
        stage.catalogue.copies.wake(stage.nodes[0], 0, letters=True)
    else:
        for copy_id in ids:
            stage.catalogue.dead_letters.retry(copy_id)
    outcomes = [
        Outcome(claim.copy_id, claim.fence, CopyState.MISSING, error="x", kind="node", dead=True)
        for claim in stage.claim([blob_id])
    ]
    assert len(stage.catalogue.copies.end(outcomes).copy_ids) == 2
    assert [letter.copy_id for letter in letters(stage)] == ids


def test_what_is_no_dead_letter_is_not_found(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    (claim, _) = stage.claim([blob_id])
    before = fences(stage)
    for copy_id in (claim.copy_id, 10**17):
        with pytest.raises(NoSuchDeadLetter):
            stage.catalogue.dead_letters.retry(copy_id)
        with pytest.raises(NoSuchDeadLetter):
            stage.catalogue.dead_letters.acknowledge(copy_id)
    assert fences(stage) == before
    _, (dead, _) = die(stage, "b")
    stage.catalogue.dead_letters.acknowledge(dead)
    with pytest.raises(NoSuchDeadLetter):
        stage.catalogue.dead_letters.acknowledge(dead)


def test_of_two_that_try_a_letter_again_one_does(stage: Stage) -> None:
    _, (letter, _) = die(stage, "a")
    before = fences(stage)[letter]
    retry = lambda: stage.catalogue.dead_letters.retry(letter)  # noqa: E731
    one, two, _ = race(stage.catalogue, retry, retry, pause_before="UPDATE copies")
    assert one.error is None
    assert isinstance(two.error, NoSuchDeadLetter)
    assert fences(stage)[letter] == before + 1


def test_a_letter_whose_version_is_doomed_meanwhile_goes_with_it(stage: Stage) -> None:
    blob_id, (letter, _) = die(stage, "a")
    stage.catalogue.objects.delete("papers", "a", Preconditions())
    retried, doomed, _ = race(
        stage.catalogue,
        lambda: stage.catalogue.dead_letters.retry(letter),
        lambda: stage.catalogue.objects.doom_copies(0),
        pause_before="UPDATE copies",
    )
    assert (retried.error, doomed.error) == (None, None)
    assert stage.claim([blob_id]) == []
    assert {claim.state for claim in stage.claim([blob_id], CopyAction.DELETE)} == {CopyState.DOOMED}
    assert letters(stage) == []
