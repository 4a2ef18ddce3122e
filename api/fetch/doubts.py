"""Blobs at which a node failed: rot on its disk, or a node in trouble. A worker looks which.

The request has its bytes from another copy and does not wait. SeaweedFS tries for 13 seconds before it says that a
chunk is rotten, so a blob whose first copy is late again and again is doubted as well.

A node in trouble fails at many blobs at once, so what is handed on is bounded: each blob four times a minute, and only
so many in a second. What is passed over is found by the next reader, or by the scrub.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Final, TypeVar

from common.queue.base import Enqueuer, TaskName

T = TypeVar("T")

AGAIN_SECONDS: Final = 15.0
IN_A_SECOND: Final = 10
REMEMBERED: Final = 1000
LATE_TIMES: Final = 3


class Doubts:
    """One per process, safe across threads."""

    def __init__(self, enqueuer: Enqueuer, clock: Callable[[], float] = time.monotonic) -> None:
        self._enqueuer = enqueuer
        self._clock = clock
        self._lock = Lock()
        self._handed_on: OrderedDict[str, float] = OrderedDict()
        self._late: OrderedDict[str, int] = OrderedDict()

    def raise_on(self, blob_id: str) -> None:
        """Have the blob's stored copies looked at, unless that was asked for a moment ago. Never waits or raises."""
        now = self._clock()
        with self._lock:
            last = self._handed_on.get(blob_id)
            if last is not None and now - last < AGAIN_SECONDS:
                return
            lately = sum(1 for at in list(self._handed_on.values())[-IN_A_SECOND:] if now - at < 1.0)
            if lately >= IN_A_SECOND:
                return
            _remember(self._handed_on, blob_id, now)
            self._late.pop(blob_id, None)
        self._enqueuer.enqueue(TaskName.DOUBT, [blob_id])

    def late(self, blob_id: str) -> None:
        """A copy of it did not begin in time. At the third time it is doubted."""
        with self._lock:
            times = self._late.get(blob_id, 0) + 1
            _remember(self._late, blob_id, times)
        if times >= LATE_TIMES:
            self.raise_on(blob_id)


def _remember(memory: OrderedDict[str, T], blob_id: str, value: T) -> None:
    memory[blob_id] = value
    memory.move_to_end(blob_id)
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)
