"""Outcomes of work on copies, written together: a transaction for what a few milliseconds bring, not for each copy."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Condition, Thread
from typing import Final

import structlog
from prometheus_client import Histogram

from common.errors import CatalogueUnavailable
from common.model.copies import CopyState
from common.model.work import Outcome, OutcomeEffect

Write = Callable[[Sequence[Outcome]], object]
LOG = structlog.get_logger(__name__)

GATHER_SECONDS: Final = 0.02
PAUSE_SECONDS: Final = 0.5
# Longer than a catalogue is locked or restarted for; after it the leases are over and the sweep decides.
KEEP_SECONDS: Final = 30.0
TELL_SECONDS: Final = 5.0
_PAGE = 500


WHOLE: Final = Histogram(
    "boveda_commit_to_all_copies_seconds",
    "Time from an object's commit to the last of its copies, for objects that were not whole at once",
    buckets=(0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 2, 5, 15, 60, 300, 3600),
)


def observed(end: Callable[[Sequence[Outcome]], OutcomeEffect], made: Callable[[], object]) -> Write:
    """The catalogue's `copies.end`, with what became whole by it counted. `made`, now and then: copies become good."""
    told_at = -TELL_SECONDS

    def write(outcomes: Sequence[Outcome]) -> OutcomeEffect:
        nonlocal told_at
        ended = end(outcomes)
        for age in ended.whole_after:
            WHOLE.observe(age)
        good = any(each.state is CopyState.STORED and each.copy_id in ended.copy_ids for each in outcomes)
        if good and time.monotonic() - told_at >= TELL_SECONDS:
            with suppress(CatalogueUnavailable):  # what was written stays written; the next one tells
                made()
                told_at = time.monotonic()
        return ended

    return write


class OutcomeWriter:
    """Writes each outcome within 20 ms of `add`, sooner when somebody waits in `flush`. Safe across threads."""

    def __init__(self, write: Write, gather: float = GATHER_SECONDS, keep: float = KEEP_SECONDS) -> None:
        """`write`: the catalogue's `copies.end`."""
        self._apply = write
        self._gather = gather
        self._keep = keep
        self._changed = Condition()
        self._waiting: list[tuple[float, Outcome]] = []
        self._added = 0
        self._written = 0
        self._flushing = 0
        self._stopping = False
        self._thread: Thread | None = None

    def start(self) -> None:
        if self._thread is None:
            self._thread = Thread(target=self._run, name="outcomes", daemon=True)
            self._thread.start()

    def stop(self, seconds: float = 5.0) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(seconds)

    def add(self, end: Outcome) -> None:
        with self._changed:
            self._waiting.append((time.monotonic(), end))
            self._added += 1
            self._changed.notify_all()

    def flush(self) -> None:
        """Return when everything added before is written (or given up, see KEEP_SECONDS)."""
        with self._changed:
            upto = self._added
            self._flushing += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._written >= upto or self._stopping, self._keep + 5)
            self._flushing -= 1

    # -- the thread

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping)
                if not self._waiting:
                    return
                if not self._flushing:
                    self._changed.wait_for(lambda: self._flushing or self._stopping, self._gather)
                page = self._waiting[:_PAGE]
            if self._write([end for _, end in page]) or time.monotonic() - page[-1][0] > self._keep or self._stopping:
                self._done(len(page))
            else:
                time.sleep(PAUSE_SECONDS)

    def _write(self, outcomes: list[Outcome]) -> bool:
        try:
            self._apply(outcomes)
        except CatalogueUnavailable as error:
            LOG.warning("ends_not_written", detail=error.detail, count=len(outcomes))
            return False
        except Exception:  # the edge of a thread that has to live as long as the process
            LOG.exception("ends_unexpected", count=len(outcomes))
        return True

    def _done(self, count: int) -> None:
        with self._changed:
            del self._waiting[:count]
            self._written += count
            self._changed.notify_all()
