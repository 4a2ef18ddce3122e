"""No node may hold more than a third of a worker's threads: the others' copies must go on while one is slow."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition
from typing import Final

from common.errors import NodeBusy

# A node that is well gives a slot back within milliseconds.
PATIENCE_SECONDS: Final = 0.25


class NodeShare:
    """Slots for calls in flight, a third of the process's threads for each node (at least one)."""

    def __init__(self, threads: int, patience: float = PATIENCE_SECONDS) -> None:
        self.limit = max(1, threads // 3)
        self._patience = patience
        self._free = Condition()
        self._used: Counter[str] = Counter()

    def take(self, node_id: str) -> None:
        """Wait shortly for a slot; NodeBusy if none came free."""
        until = time.monotonic() + self._patience
        with self._free:
            while self._used[node_id] >= self.limit:
                left = until - time.monotonic()
                if left <= 0:
                    raise NodeBusy("the node already holds its share of this worker")
                self._free.wait(left)
            self._used[node_id] += 1

    def give(self, node_id: str) -> None:
        with self._free:
            self._used[node_id] -= 1
            self._free.notify_all()

    @contextmanager
    def slot(self, node_id: str) -> Iterator[None]:
        self.take(node_id)
        try:
            yield
        finally:
            self.give(node_id)
