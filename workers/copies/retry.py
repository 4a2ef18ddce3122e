"""When failed work on a copy is tried again, and when it becomes a dead letter. Pure.

Full jitter: the delay is drawn evenly between nothing and a bound that doubles with every failure, up to a quarter of
an hour ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

LONGEST_SECONDS: Final = 900.0

NODE: Final = "node"
MISSING: Final = "missing"
REFUSED: Final = "refused"
WRONG: Final = "wrong"
LAPSED: Final = "lapsed"
NO_GOOD_COPY: Final = "no-good-copy"
LOCKED: Final = "locked"

# A blob without a good copy is reported at once: trying again reads the same wrong bytes. A name that its node cannot
# delete, while it deletes others, is given up: that ends the row.
LIMITS: Final[Mapping[str, int]] = {
    NODE: 12,
    MISSING: 12,
    REFUSED: 5,
    WRONG: 5,
    LAPSED: 10,
    NO_GOOD_COPY: 1,
    LOCKED: 3,
}


@dataclass(frozen=True, slots=True)
class Decision:
    """`failures`: the new counts by kind. `delay`: seconds until the next attempt. `dead`: attempts are exhausted."""

    failures: Mapping[str, int]
    delay: float
    dead: bool


def after_failure(failures: Mapping[str, int], kind: str, base: float, chance: float) -> Decision:
    """What follows one more failure of `kind`; `chance` is a random number in [0, 1)."""
    counts = {**failures, kind: failures.get(kind, 0) + 1}
    return Decision(counts, delay(sum(counts.values()), base, chance), exhausted(counts, kind))


def after_lapse(failures: Mapping[str, int], base: float, chance: float) -> Decision:
    """The same for a lease that ended without an end, which the catalogue has counted already."""
    return Decision(dict(failures), delay(sum(failures.values()), base, chance), exhausted(failures, LAPSED))


def delay(failed: int, base: float, chance: float) -> float:
    # The exponent is bounded before it is used: a row may have failed for years.
    return chance * min(LONGEST_SECONDS, base * 2 ** min(failed - 1, 32)) if failed > 0 else 0.0


def exhausted(failures: Mapping[str, int], kind: str) -> bool:
    return failures.get(kind, 0) >= LIMITS.get(kind, LIMITS[NODE])
