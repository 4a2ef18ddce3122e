"""The store's counts, made once for all who ask at the same time, and kept for a while where they are dear.

With a node down every object that has a copy on it is looked at: seconds, in a large store. Watching must not be a load
of its own, so such counts are as old as KEPT times what they took.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from common.catalogue.base import StatusCounts

DEAR_SECONDS: Final = 0.2
KEPT: Final = 5


class Counts:
    """Safe across threads; `count` is the catalogue's `status`."""

    def __init__(self, count: Callable[[], StatusCounts], clock: Callable[[], float] = time.monotonic) -> None:
        self._count = count
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: tuple[StatusCounts, float] | None = None

    def now(self) -> StatusCounts:
        """CatalogueUnavailable."""
        with self._lock:
            started = self._clock()
            if self._kept is not None and started < self._kept[1]:
                return self._kept[0]
            counts = self._count()
            ended = self._clock()
            took = ended - started
            self._kept = (counts, ended + KEPT * took) if took >= DEAR_SECONDS else None
            return counts
