"""Queue and keys as this process finds them: whether they can be used, and since when not.

A thread looks every two seconds, so that `since` is true whether anybody asks or not, and whoever asks for the store's
state does not wait for a queue that hangs. Without the thread, and before its first look, each question is a look.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from common.crypto.keyring import KeyProvider
from common.errors import QueueUnavailable, Unavailable
from common.queue.base import JobQueue

EVERY_SECONDS: Final = 2.0
STOP_SECONDS: Final = 3.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DependencyState:
    """`depths`: messages waiting by queue, None while it does not answer. `keys_away`: why data cannot be opened, None
    while they can. The times are since when (seconds since the epoch), None while all is well.
    """

    depths: Mapping[str, int] | None
    queue_away_since: float | None
    keys_away: str | None
    keys_away_since: float | None


class Dependencies:
    """Safe across threads. `start` after the fork."""

    def __init__(self, queue: JobQueue, keys: KeyProvider, clock: Callable[[], float] = time.time) -> None:
        self._queue = queue
        self._keys = keys
        self._clock = clock
        self._began = time.monotonic()
        self._last: DependencyState | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="dependencies", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def watched(self) -> float:
        """For how many seconds this process has been looking on."""
        return time.monotonic() - self._began

    def now(self) -> DependencyState:
        """What the thread saw last; without it, a look."""
        last = self._last
        return last if last is not None and self._thread is not None else self.look()

    def look(self) -> DependencyState:
        try:
            depths: Mapping[str, int] | None = self._queue.depths()
        except QueueUnavailable:
            depths = None
        try:
            self._keys.active()
            keys_away = None
        except Unavailable as error:
            keys_away = error.detail
        at = self._clock()
        with self._lock:
            before = self._last or DependencyState({}, None, None, None)
            self._last = DependencyState(
                depths,
                None if depths is not None else before.queue_away_since or at,
                keys_away,
                None if keys_away is None else before.keys_away_since or at,
            )
            return self._last

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.look()
            except Exception:  # the edge of a thread that must not end
                log.exception("standing_unexpected")
            self._stopping.wait(EVERY_SECONDS)
