"""A clock that stands still while the machine does, for limits on what something may take.

A machine that others share stops at times, and with it every process, this one too. Such a pause shows as a sleep that
ends late; slowness of the product alone does not.
"""

from __future__ import annotations

import threading
import time
from functools import cache

TICK = 0.02
MOST = 0.1  # a tick counts as so much at most; what is over was a pause


class RunningTime:
    """Seconds, less the pauses. Never backwards."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted = 0.0
        self._until = time.monotonic()
        threading.Thread(target=self._tick, daemon=True).start()

    def now(self) -> float:
        with self._lock:
            return self._counted + self._since()

    def _tick(self) -> None:
        while True:
            time.sleep(TICK)
            with self._lock:
                self._counted += self._since()
                self._until = time.monotonic()

    def _since(self) -> float:
        return min(time.monotonic() - self._until, MOST)


@cache
def running_time() -> RunningTime:
    """The one of all tests."""
    return RunningTime()
