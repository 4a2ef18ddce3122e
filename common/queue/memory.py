"""A queue that keeps its messages in the process: for tests of everything that publishes or consumes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from threading import Lock

from common.errors import QueueUnavailable
from common.queue.base import BATCH_IDS, QUEUE_OF, JobQueue, Queue, TaskName


class MemoryQueue(JobQueue):
    """First in, first out by queue. `down` makes it behave as a queue whose Redis is dead."""

    def __init__(self) -> None:
        self.down = False
        self._lock = Lock()
        self._waiting: dict[Queue, deque[tuple[TaskName, tuple[str, ...]]]] = {queue: deque() for queue in Queue}

    def publish(self, task: TaskName, ids: Sequence[str]) -> None:
        if len(ids) > BATCH_IDS:
            raise ValueError(f"a message carries up to {BATCH_IDS} ids")
        self._check()
        with self._lock:
            self._waiting[QUEUE_OF[task]].append((task, tuple(ids)))

    def depths(self) -> dict[str, int]:
        self._check()
        with self._lock:
            return {queue.value: len(waiting) for queue, waiting in self._waiting.items()}

    def take(self, queue: Queue) -> tuple[TaskName, tuple[str, ...]] | None:
        """The oldest message of a queue, or None: what a worker would have been given."""
        with self._lock:
            return self._waiting[queue].popleft() if self._waiting[queue] else None

    def _check(self) -> None:
        if self.down:
            raise QueueUnavailable("the queue cannot be reached")
