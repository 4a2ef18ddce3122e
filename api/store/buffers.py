"""Buffers for sealed blobs: as many as there are request threads, so that slow nodes cannot eat memory.

Every upload gets one, waiting if it must; a second one, for sealing ahead while the first is put, only if one is free
at once and nobody waits. A body that fits into one chunk takes a buffer of its own size outside the pool.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType

from common.errors import Unavailable

WAIT_SECONDS = 10.0


class Buffer:
    """Memory for one sealed blob. Give it back with `release` (again is harmless) or by leaving the `with`."""

    __slots__ = ("_pool", "view")

    def __init__(self, memory: bytearray, pool: BufferPool | None = None) -> None:
        self.view = memoryview(memory)
        self._pool = pool

    def release(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.take_back(self.view)

    def __enter__(self) -> Buffer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class BufferPool:
    """`count` buffers of `size` bytes, made when first needed and kept."""

    def __init__(self, count: int, size: int) -> None:
        self.size = size
        self._free = count
        self._idle: list[bytearray] = []
        self._waiting = 0
        self._changed = threading.Condition()

    @property
    def free(self) -> int:
        return self._free

    def take(self, seconds: float = WAIT_SECONDS) -> Buffer:
        """The next free buffer. Unavailable if there is none for so long."""
        end = time.monotonic() + seconds
        with self._changed:
            self._waiting += 1
            try:
                while not self._free:
                    left = end - time.monotonic()
                    if left <= 0:
                        raise Unavailable("too many large uploads at once")
                    self._changed.wait(left)
                return self._hand_out()
            finally:
                self._waiting -= 1

    def try_take(self) -> Buffer | None:
        """A buffer if one is free now and no upload waits for its first."""
        with self._changed:
            return self._hand_out() if self._free and not self._waiting else None

    def take_back(self, view: memoryview) -> None:
        with self._changed:
            memory = view.obj
            assert isinstance(memory, bytearray)
            self._idle.append(memory)
            self._free += 1
            self._changed.notify()

    def _hand_out(self) -> Buffer:
        self._free -= 1
        return Buffer(self._idle.pop() if self._idle else bytearray(self.size), self)
