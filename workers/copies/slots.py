"""No node may hold more than its share of a worker: the others' copies must go on while one is slow."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition
from typing import Final

from common.errors import NodeBusy

# A node that is well gives a slot back within milliseconds, even when all threads want one.
PATIENCE_SECONDS: Final = 1.0
BUSY_SECONDS: Final = 2.0
EVERY_NODE: Final = "every node"


class NodeSlots:
    """Slots for calls in flight, `limit` for each node. Who finds none waits for one, but not for long; when that was
    in vain, nobody else waits for this node during the next two seconds."""

    def __init__(self, limit: int, patience: float = PATIENCE_SECONDS, busy: float = BUSY_SECONDS) -> None:
        self.limit = max(1, limit)
        self._patience = patience
        self._busy = busy
        self._free = Condition()
        self._used: Counter[str] = Counter()
        self._busy_until: dict[str, float] = {}

    def take(self, node_id: str) -> None:
        """NodeBusy if no slot came free."""
        with self._free:
            if self._used[node_id] >= self.limit:
                self._wait(node_id)
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

    def _wait(self, node_id: str) -> None:
        until = time.monotonic() + self._patience
        if self._busy_until.get(node_id, 0.0) < time.monotonic():
            while (left := until - time.monotonic()) > 0:
                self._free.wait(left)
                if self._used[node_id] < self.limit:
                    return
            self._busy_until[node_id] = time.monotonic() + self._busy
        raise NodeBusy("the node already holds its share of this worker")


@dataclass(frozen=True, slots=True)
class WorkerSlots:
    """`threads`: calls that a task waits for, a third of the worker's threads for each node. `puts`: calls that run on
    by themselves. `room`: blobs in memory for them, of all nodes together (EVERY_NODE): as many as three take."""

    threads: NodeSlots
    puts: NodeSlots
    room: NodeSlots

    @classmethod
    def of(cls, threads: int) -> WorkerSlots:
        return cls(NodeSlots(threads // 3), NodeSlots(threads // 2), NodeSlots(threads // 2 * 3))
