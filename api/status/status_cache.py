"""The store's counts, made once for all who ask at the same time; nobody waits long for them.

With a node down every object that has a copy on it is looked at to know how many are in which state: seconds, in a
large store. Watching must be no load of its own, so these counts are as old as KEPT times what they took. Then they are
made anew, on a thread; who asks meanwhile waits for PATIENCE seconds and gets the ones before, which say when that was.
What is cheap at any size (missing copies, dead letters, jobs) is always of now.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Final

from common.catalogue.status import StatusCounts

DEAR_SECONDS: Final = 0.2
KEPT: Final = 5
PATIENCE: Final = 2.0
SHOWN_SECONDS: Final = 600.0  # older ones tell nobody anything: who asks first after a long time waits


class StatusCache:
    """Safe across threads; `count` is the catalogue's `status`."""

    def __init__(
        self,
        count: Callable[[StatusCounts | None], StatusCounts],
        clock: Callable[[], float] = time.monotonic,
        patience: float = PATIENCE,
    ) -> None:
        self._count = count
        self._clock = clock
        self._patience = patience
        self._lock = threading.Lock()
        self._last: StatusCounts | None = None
        self._made = self._fresh_until = float("-inf")
        self._running: Future[StatusCounts] | None = None

    def now(self) -> StatusCounts:
        """CatalogueUnavailable."""
        with self._lock:
            now, last = self._clock(), self._last
            fresh = now < self._fresh_until
            if now - self._made > SHOWN_SECONDS:
                last = None
            running = None if fresh else self._recount()
        if running is None:
            return self._count(last)
        try:
            return running.result(None if last is None else self._patience)
        except NotYet:
            return self._count(last)

    def _recount(self) -> Future[StatusCounts]:
        if self._running is None:
            running: Future[StatusCounts] = Future()
            threading.Thread(target=self._run, args=(running,), name="counts", daemon=True).start()
            self._running = running  # once there is a thread that will end it
        return self._running

    def _run(self, running: Future[StatusCounts]) -> None:
        started = self._clock()
        try:
            counts = self._count(None)
        except Exception as error:  # noqa: BLE001 - it is for those who wait
            with self._lock:
                self._running = None
            running.set_exception(error)
            return
        with self._lock:
            took = self._clock() - started
            self._last, self._made, self._running = counts, self._clock(), None
            self._fresh_until = self._made + (KEPT * took if took >= DEAR_SECONDS else 0)
        running.set_result(counts)
