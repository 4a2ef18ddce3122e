from __future__ import annotations

import pytest

from workers.copies.retry import after_failure, after_lapse, delay


@pytest.mark.parametrize(
    ("failed", "base", "chance", "seconds"),
    [
        (0, 1, 1, 0),
        (1, 1, 1, 1),
        (2, 1, 1, 2),
        (5, 1, 1, 16),
        (10, 1, 1, 512),
        (11, 1, 1, 900),
        (12, 1, 1, 900),
        (10_000, 1, 1, 900),
        (4, 1, 0.5, 4),
        (4, 1, 0, 0),
        (3, 0.1, 1, 0.4),
        (50, 0, 1, 0),
    ],
)
def test_delay_is_drawn_below_a_bound_that_doubles_to_fifteen_minutes(
    failed: int, base: float, chance: float, seconds: float
) -> None:
    assert delay(failed, base, chance) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("kind", "before", "dead"),
    [
        ("node", 0, False),
        ("node", 10, False),
        ("node", 11, True),
        ("node", 40, True),
        ("refused", 3, False),
        ("refused", 4, True),
        ("wrong", 3, False),
        ("wrong", 4, True),
        ("no-good-copy", 0, True),
        ("missing", 10, False),
        ("missing", 11, True),
        ("never heard of", 10, False),
        ("never heard of", 11, True),
    ],
)
def test_each_kind_of_error_has_its_own_limit(kind: str, before: int, dead: bool) -> None:
    assert after_failure({kind: before}, kind, 1, 0.5).dead is dead


def test_kinds_are_counted_apart_and_the_delay_grows_with_all() -> None:
    decision = after_failure({"node": 11, "refused": 3}, "wrong", 1, 1)
    assert decision.failures == {"node": 11, "refused": 3, "wrong": 1}
    assert decision.dead is False
    assert decision.delay == 900


@pytest.mark.parametrize(("lapsed", "dead"), [(1, False), (9, False), (10, True)])
def test_a_lapsed_lease_is_counted_by_the_catalogue_already(lapsed: int, dead: bool) -> None:
    decision = after_lapse({"lapsed": lapsed}, 1, 1)
    assert decision.dead is dead
    assert decision.failures == {"lapsed": lapsed}
