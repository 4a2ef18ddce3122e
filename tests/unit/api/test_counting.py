"""Counts that are cheap are always fresh; dear ones are kept for as long as watching would else be a load."""

from __future__ import annotations

import threading

import pytest

from api.counting import Counts
from common.catalogue.base import StatusCounts


class Counting:
    """A catalogue whose count takes so many seconds of a clock set by hand."""

    def __init__(self, takes: float) -> None:
        self.takes = takes
        self.time = 100.0
        self.made = 0

    def __call__(self) -> StatusCounts:
        self.time += self.takes
        self.made += 1
        return StatusCounts({}, self.made, 0, 0, None, 0, None, 0)


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
    counts = Counts(counting, lambda: counting.time)
    assert counts.now().copies_missing == 1
    counting.time += after
    assert counts.now().copies_missing == (2 if fresh else 1)


def test_who_asks_while_it_is_counted_waits_for_that_count() -> None:
    entered, go = threading.Event(), threading.Event()
    counting = Counting(1.0)

    def slow() -> StatusCounts:
        entered.set()
        assert go.wait(5)
        return counting()

    counts = Counts(slow, lambda: counting.time)
    found: list[StatusCounts] = []
    threads = [threading.Thread(target=lambda: found.append(counts.now())) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert entered.wait(5)
    go.set()
    for thread in threads:
        thread.join(5)
    assert ([one.copies_missing for one in found], counting.made) == ([1] * 4, 1)
