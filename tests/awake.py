"""A clock that stands still while the machine does: a pause of all of it says nothing about what is tested."""

from __future__ import annotations

import threading
import time
from types import TracebackType

_STEP = 0.05
_MOST = 0.25  # what a step may take on a busy machine; what is longer was a pause


class Awake:
    """`with Awake() as clock:` and `clock.seconds` are those since then, without pauses."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Awake:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _tick(self) -> None:
        last = time.monotonic()
        while not self._over.wait(_STEP):
            now = time.monotonic()
            self.seconds += min(now - last, _MOST)
            last = now
