"""Counts that are cheap are always fresh; dear ones are kept for as long as watching would else be a load."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from api.status.status_cache import SHOWN_SECONDS, StatusCache
from common.catalogue.status import StatusCounts
from common.errors import CatalogueUnavailable
from tests.support.waiting import wait_until


class Counting:
    """A catalogue whose count takes so many seconds of a clock set by hand. `made`: counts of objects, shown as
    `dead_letters`; `asked`: also those without them, shown as missing copies."""

    def __init__(self, takes: float) -> None:
        self.takes = takes
        self.time = 100.0
        self.made = self.asked = 0
        self.entered, self.go = threading.Event(), threading.Event()
        self.go.set()
        self.fails = False

    def __call__(self, kept: StatusCounts | None) -> StatusCounts:
        self.asked += 1
        if kept is not None:
            return self._counts(kept.dead_letters)
        self.entered.set()
        assert self.go.wait(5)
        if self.fails:
            raise CatalogueUnavailable("away")
        self.time += self.takes
        self.made += 1
        return self._counts(self.made)

    def _counts(self, made: int) -> StatusCounts:
        return StatusCounts({}, self.asked, 0, 0, None, made, None, 0, self.time)

    def stand(self) -> None:
        """From now on a count of objects does not end before `go`."""
        self.entered.clear()
        self.go.clear()


@pytest.fixture
def counting() -> Iterator[Counting]:
    counting = Counting(1.0)
    yield counting
    counting.go.set()


@pytest.mark.parametrize(
    ("takes", "after", "fresh"),
    [
        pytest.param(0.1, 0.0, True, id="cheap"),
        pytest.param(0.3, 1.4, False, id="dear"),
        pytest.param(0.3, 1.6, True, id="dear, after five times as long"),
        pytest.param(20.0, 99.0, False, id="very dear"),
        pytest.param(20.0, 101.0, True, id="very dear, after five times as long"),
    ],
)
def test_a_count_is_kept_for_five_times_what_it_took_if_it_was_dear(takes: float, after: float, fresh: bool) -> None:
    counting = Counting(takes)
    counts = StatusCache(counting, lambda: counting.time, patience=5)
    assert counts.now().dead_letters == 1
    counting.time += after
    later = counts.now()
    assert later.dead_letters == (2 if fresh else 1)
    assert later.copies_missing == 2, "what is cheap is never kept"


def test_who_asks_while_it_is_counted_waits_for_that_count(counting: Counting) -> None:
    counting.stand()
    counts = StatusCache(counting, lambda: counting.time, patience=0.01)
    found: list[StatusCounts] = []
    threads = [threading.Thread(target=lambda: found.append(counts.now())) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert counting.entered.wait(5)
    counting.go.set()
    for thread in threads:
        thread.join(5)
    assert ([one.dead_letters for one in found], counting.made) == ([1] * 4, 1)


def test_nobody_waits_long_for_a_count_that_there_is_an_older_one_of(counting: Counting) -> None:
    counting.takes = 0.1
    counts = StatusCache(counting, lambda: counting.time, patience=0.01)
    assert counts.now().dead_letters == 1
    counting.stand()
    assert [counts.now().dead_letters for _ in range(3)] == [1, 1, 1]
    assert counting.made == 1
    counting.go.set()
    wait_until(lambda: counts.now().dead_letters > 1)


def test_counts_from_long_ago_are_not_shown(counting: Counting) -> None:
    counts = StatusCache(counting, lambda: counting.time, patience=0.01)
    counts.now()
    counting.time += SHOWN_SECONDS + 1
    counting.stand()
    threading.Timer(0.1, counting.go.set).start()
    assert counts.now().dead_letters == 2


def test_a_count_that_fails_is_told_and_tried_again(counting: Counting) -> None:
    counts = StatusCache(counting, lambda: counting.time)
    counting.fails = True
    for _ in range(2):
        with pytest.raises(CatalogueUnavailable):
            counts.now()
    counting.fails = False
    assert counts.now().dead_letters == 1


def test_where_no_thread_can_be_started_the_next_one_who_asks_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting(takes=0.0)
    counts = StatusCache(counting, lambda: counting.time)

    def none_left(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none_left)
        with pytest.raises(RuntimeError):
            counts.now()
    assert counts.now().dead_letters == 1
