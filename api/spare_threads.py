"""A few threads for work beside a request's own. What finds none free is done without: nothing ever queues."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class SpareThreads:
    """`count` threads, begun when first needed."""

    def __init__(self, count: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._free = threading.Semaphore(count)

    def run(self, work: Callable[[], T]) -> Future[T] | None:
        """The running work, or None if no thread is free now."""
        if not self._free.acquire(blocking=False):
            return None
        future = self._threads.submit(work)
        future.add_done_callback(lambda _: self._free.release())
        return future

    def close(self) -> None:
        self._threads.shutdown()
