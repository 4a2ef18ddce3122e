from __future__ import annotations

import pytest

from workers.audit import pace

MIB = 1024 * 1024
TIB = MIB * MIB
DAY = 86400.0
PERIOD = 30 * DAY


@pytest.mark.parametrize(
    ("total", "read", "elapsed", "expected"),
    [
        (0, 0, 0.0, 1.0 * MIB),  # an empty node
        (100 * MIB, 0, 0.0, 1.0 * MIB),  # a small one: never slower than the floor
        (100 * MIB, 100 * MIB, 200.0, 1.0 * MIB),  # all of it was read
        (TIB, 0, 0.0, 1.0 * MIB),  # half as much would do
        (10 * TIB, 0, 0.0, 10 * TIB / PERIOD),
        (10 * TIB, 5 * TIB, 15 * DAY, 10 * TIB / PERIOD),  # on time
        (10 * TIB, 8 * TIB, 15 * DAY, 10 * TIB / PERIOD),  # early: no slower for that
        (10 * TIB, 5 * TIB, 20 * DAY, 5 * TIB / (10 * DAY)),  # late: faster
        (10 * TIB, 0, 29 * DAY, 40 * TIB / PERIOD),  # very late: four times as fast, no more
        (10 * TIB, 9 * TIB, 31 * DAY, 40 * TIB / PERIOD),  # overdue
    ],
)
def test_the_rate_ends_a_pass_within_its_period(total: int, read: int, elapsed: float, expected: float) -> None:
    assert pace.rate(total, read, PERIOD, elapsed) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("credit", "rate", "seconds", "expected"),
    [
        (0.0, 1.0 * MIB, 10.0, 10.0 * MIB),
        (-8.0 * MIB, 1.0 * MIB, 10.0, 2.0 * MIB),  # the last blob overdrew it
        (-8.0 * MIB, 1.0 * MIB, 5.0, -3.0 * MIB),
        (0.0, 1.0 * MIB, 3600.0, 60.0 * MIB),  # a worker that was away for an hour does not make up for it at once
        (5.0 * MIB, 1.0 * MIB, -3.0, 5.0 * MIB),  # a clock that was set back
    ],
)
def test_what_may_be_read_accrues_with_time(credit: float, rate: float, seconds: float, expected: float) -> None:
    assert pace.accrued(credit, rate, seconds) == expected


@pytest.mark.parametrize(
    ("rate", "period", "expected"),
    [(1.0 * MIB, PERIOD, 8.0), (4.0 * MIB, PERIOD, 2.0), (100.0 * MIB, PERIOD, 1.0), (1.0 * MIB, 72.0, 0.1)],
)
def test_runs_follow_each_other_about_as_fast_as_blobs(rate: float, period: float, expected: float) -> None:
    assert pace.pause(rate, period) == pytest.approx(expected)


def test_a_small_store_is_read_once_an_hour_not_round_and_round() -> None:
    assert pace.next_pass(1000.0, PERIOD) == 1000.0 + 3600.0
    assert pace.next_pass(1000.0, 720.0) == 1001.0
