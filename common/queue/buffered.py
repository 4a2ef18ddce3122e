"""Publishing off the request: `enqueue` puts ids into a bounded buffer, a thread of its own publishes them.

The first id after a quiet moment goes at once; while ids keep coming, they gather for `interval` seconds, and three
times as long while many come, because a message costs a worker more than an id does; they go in messages of up to
BATCH_IDS. After a failed publish the thread pauses, longer each time, and what it could not hand
over stays in the buffer; a full buffer drops what comes (the sweep finds it in the catalogue). So a Redis that is dead
or hangs costs a request one lock.

What is for a queue in which many messages wait already is dropped too: nobody reads them, and a Redis whose memory is
full ends the very workers that would.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from threading import Condition, Thread
from typing import Final

import structlog
from prometheus_client import Counter

from common.errors import QueueUnavailable
from common.queue.base import BATCH_IDS, QUEUE_OF, Enqueuer, JobQueue, TaskName

LOG = structlog.get_logger(__name__)

INTERVAL_SECONDS: Final = 0.05
MANY_IDS: Final = 4
MANY_INTERVALS: Final = 3
CAPACITY: Final = 10_000
FULL: Final = 2_000  # messages in a queue, of up to some 4 KiB each
LOOK_SECONDS: Final = 1.0
PAUSE_SECONDS: Final = (0.5, 1.0, 2.0, 4.0)
STOP_SECONDS: Final = 3.0

PUBLISHED = Counter("boveda_ids_published_total", "Ids handed to the queue", ["task"])
DROPPED = Counter(
    "boveda_ids_dropped_total", "Ids dropped because the buffer or the queue was full; the sweep finds them", ["task"]
)
FAILED = Counter("boveda_publish_failures_total", "Messages the queue did not take", ["task"])


class BufferedEnqueuer(Enqueuer):
    """An Enqueuer over a JobQueue. Start it after the fork; `stop` hands over what it can within a few seconds."""

    def __init__(
        self,
        queue: JobQueue,
        *,
        interval: float = INTERVAL_SECONDS,
        capacity: int = CAPACITY,
        pauses: Sequence[float] = PAUSE_SECONDS,
    ) -> None:
        self._queue = queue
        self._interval = interval
        self._capacity = capacity
        self._pauses = pauses
        self._changed = Condition()
        # Ids are keys: one that waits already is not queued twice, and order of arrival is kept.
        self._waiting: dict[TaskName, dict[str, None]] = {}
        self._count = 0
        self._last_round = 0
        self._looked_at = -LOOK_SECONDS
        self._full: frozenset[str] = frozenset()
        self._stop_at: float | None = None
        self._thread: Thread | None = None

    def start(self) -> None:
        if self._thread is None:
            self._stop_at = None
            self._thread = Thread(target=self._run, name="enqueuer", daemon=True)
            self._thread.start()

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Publish what waits, but not for longer than `seconds`; what is left is the sweep's."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        with self._changed:
            self._stop_at = time.monotonic() + seconds
            self._changed.notify()
        thread.join(seconds)

    def enqueue(self, task: TaskName, ids: Sequence[str]) -> None:
        dropped = 0
        with self._changed:
            was_empty = self._count == 0
            waiting = self._waiting.setdefault(task, {})
            for blob_id in ids:
                if blob_id in waiting:
                    continue
                if self._count >= self._capacity:
                    dropped += 1
                    continue
                waiting[blob_id] = None
                self._count += 1
            if was_empty:  # otherwise the thread knows the moment of the next round already
                self._changed.notify()
        if dropped:
            DROPPED.labels(task.value).inc(dropped)

    # -- the thread

    def _run(self) -> None:
        failures, last = 0, -self._interval
        while self._wait(last, failures):
            failures = 0 if self._publish_round() else failures + 1
            last = time.monotonic()

    def _wait(self, last: float, failures: int) -> bool:
        """Until there is something to publish and the moment for it has come; False: end."""
        pause = self._pauses[min(failures, len(self._pauses)) - 1] if failures else self._gathering()
        with self._changed:
            while True:
                now = time.monotonic()
                if self._stop_at is not None and (failures or not self._count or now >= self._stop_at):
                    return False
                left = last + pause - now
                if self._count and (left <= 0 or self._stop_at is not None):
                    return True
                self._changed.wait(left if self._count else None)

    def _gathering(self) -> float:
        return self._interval * (MANY_INTERVALS if self._last_round >= MANY_IDS else 1)

    def _publish_round(self) -> bool:
        """Publish what waits now; what the queue did not take waits on."""
        if not self._look():
            return False
        with self._changed:
            waiting, self._waiting = self._waiting, {}
            for task in [task for task in waiting if QUEUE_OF[task].value in self._full]:
                dropped = len(waiting.pop(task))
                self._count -= dropped
                DROPPED.labels(task.value).inc(dropped)
        self._last_round = sum(len(ids) for ids in waiting.values())
        batches = [(task, batch) for task, ids in waiting.items() for batch in _batches(list(ids))]
        for number, (task, ids) in enumerate(batches):
            if not self._publish(task, ids):
                self._put_back(batches[number:])
                return False
            with self._changed:
                self._count -= len(ids)
        return True

    def _look(self) -> bool:
        """Now and then: which queues are full. False if Redis cannot be asked."""
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return True
        try:
            depths = self._queue.depths()
        except QueueUnavailable:
            return False
        except Exception:  # the edge of a thread that has to live as long as the process
            LOG.exception("depths_unexpected")
            return False
        self._looked_at = time.monotonic()
        full = frozenset(queue for queue, depth in depths.items() if depth >= FULL)
        if full != self._full:
            LOG.warning("queues_full", queues=sorted(full))
            self._full = full
        return True

    def _publish(self, task: TaskName, ids: list[str]) -> bool:
        try:
            self._queue.publish(task, ids)
        except QueueUnavailable:
            FAILED.labels(task.value).inc()
            return False
        except Exception:  # the edge of a thread that has to live as long as the process
            FAILED.labels(task.value).inc()
            LOG.exception("publish_unexpected", task=task.value)
            return False
        PUBLISHED.labels(task.value).inc(len(ids))
        return True

    def _put_back(self, batches: Sequence[tuple[TaskName, list[str]]]) -> None:
        """In front of what came meanwhile: the oldest has waited longest."""
        with self._changed:
            newer, self._waiting = self._waiting, {}
            for task, ids in batches:
                self._waiting.setdefault(task, {}).update(dict.fromkeys(ids))
            for task, waiting in newer.items():
                self._waiting.setdefault(task, {}).update(waiting)
            self._count = sum(len(ids) for ids in self._waiting.values())


def _batches(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), BATCH_IDS):
        yield ids[start : start + BATCH_IDS]
