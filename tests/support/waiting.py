"""The one way in which tests wait: they look again and again, and fail when it takes too long."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 30.0
FIRST_PAUSE, LONGEST_PAUSE = 0.005, 0.05


def wait_until(condition: Callable[[], object], seconds: float = SECONDS, what: str = "") -> float:
    """Look until the condition holds; the seconds it took. An AssertionError that says `what` when they are over."""
    began, pause = time.monotonic(), FIRST_PAUSE
    while not condition():
        assert time.monotonic() - began < seconds, f"not within {seconds:.0f} s: {what or condition}"
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
    return time.monotonic() - began
