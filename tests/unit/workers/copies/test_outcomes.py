from __future__ import annotations

import threading
from collections.abc import Collection, Sequence

import pytest
from prometheus_client import REGISTRY

from common.errors import CatalogueUnavailable
from common.model.copies import CopyState
from common.model.work import Outcome, OutcomeEffect
from tests.support.waiting import wait_until
from workers.copies.outcomes import OutcomeWriter, observed


class Written:
    """Notes each transaction; the first `failing` ones fail."""

    def __init__(self, failing: int = 0) -> None:
        self.pages: list[list[int]] = []
        self.failing = failing

    def __call__(self, outcomes: Sequence[Outcome]) -> Collection[int]:
        if self.failing:
            self.failing -= 1
            raise CatalogueUnavailable("locked")
        self.pages.append([end.copy_id for end in outcomes])
        return self.pages[-1]


def end(copy_id: int) -> Outcome:
    return Outcome(copy_id, 1, CopyState.STORED)


def test_ends_that_come_together_are_one_transaction() -> None:
    written = Written()
    outcomes = OutcomeWriter(written, gather=5)
    outcomes.start()
    for number in range(100):
        outcomes.add(end(number))
    outcomes.flush()
    assert written.pages == [list(range(100))]
    outcomes.stop()


def test_an_end_nobody_waits_for_is_written_soon() -> None:
    written = Written()
    outcomes = OutcomeWriter(written, gather=0.02)
    outcomes.start()
    outcomes.add(end(1))
    wait_until(lambda: written.pages == [[1]])
    outcomes.stop()


def test_settle_returns_at_once_when_all_is_written() -> None:
    outcomes = OutcomeWriter(Written())
    outcomes.start()
    outcomes.flush()
    outcomes.stop()


@pytest.mark.parametrize("failing", [1, 2])
def test_ends_survive_a_catalogue_that_is_away_for_a_moment(failing: int) -> None:
    written = Written(failing)
    outcomes = OutcomeWriter(written)
    outcomes.start()
    outcomes.add(end(1))
    outcomes.flush()
    assert written.pages == [[1]]
    outcomes.stop()


def test_a_catalogue_away_for_long_blocks_nobody_for_ever() -> None:
    outcomes = OutcomeWriter(Written(10_000), keep=0.1)
    outcomes.start()
    outcomes.add(end(1))
    outcomes.flush()
    outcomes.stop()


def test_stop_writes_what_waits() -> None:
    written = Written()
    outcomes = OutcomeWriter(written, gather=60)
    outcomes.start()
    outcomes.add(end(1))
    outcomes.stop()
    assert written.pages == [[1]]


def test_ends_of_many_threads_are_all_written_once() -> None:
    written = Written()
    outcomes = OutcomeWriter(written)
    outcomes.start()

    def add(first: int) -> None:
        for number in range(first, first + 200):
            outcomes.add(end(number))
        outcomes.flush()

    threads = [threading.Thread(target=add, args=(first,)) for first in range(0, 1000, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(number for page in written.pages for number in page) == list(range(1000))
    outcomes.stop()


def test_what_became_whole_is_counted_by_its_age() -> None:
    def count() -> float:
        return REGISTRY.get_sample_value("boveda_commit_to_all_copies_seconds_bucket", {"le": "0.2"}) or 0.0

    before = count()
    write = observed(
        lambda outcomes: OutcomeEffect(frozenset(end.copy_id for end in outcomes), (0.15, 7.0)), lambda: None
    )
    write([end(1)])
    assert count() == before + 1


def test_that_copies_become_good_is_told_now_and_then_and_only_then() -> None:
    told: list[str] = []
    held = {1, 2}
    write = observed(
        lambda outcomes: OutcomeEffect(frozenset(end.copy_id for end in outcomes) & held, ()),
        lambda: told.append("made"),
    )
    write([Outcome(1, 1, CopyState.MISSING, error="it refuses", kind="refused")])
    write([end(3)])
    assert told == [], "no copy, and one that another worker has had since"
    write([end(1)])
    write([end(2)])
    assert told == ["made"]


def test_an_end_that_is_written_stays_so_when_it_cannot_be_told_and_the_next_one_tells() -> None:
    outcomes = iter([CatalogueUnavailable("locked"), None])
    told: list[int] = []

    def made() -> None:
        told.append(1)
        if (error := next(outcomes)) is not None:
            raise error

    write = observed(lambda outcomes: OutcomeEffect(frozenset(end.copy_id for end in outcomes), ()), made)
    write([end(1)])
    write([end(2)])
    assert len(told) == 2
