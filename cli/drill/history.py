"""What clients asked for and were told, and what may be there after it. Pure, but for the lock around a list.

An operation takes effect at one moment between its beginning and its end. So an object may now have the content of any
operation that did not end before some acknowledged one began; all others were surely replaced. One whose outcome is
not known may have taken effect until `ended`, or not at all; one that was refused never.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

SETTLES_SECONDS: Final = 30.0
"""How long after a broken connection a request may still take effect: above every deadline of the API."""


class Told(Enum):
    """What the client was told of an operation."""

    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Operation:
    """`digest`: of the content it stores, None for a delete. Times are of one monotonic clock, in seconds."""

    key: str
    digest: str | None
    began: float
    ended: float
    told: Told


def possible(operations: Sequence[Operation]) -> Collection[str | None]:
    """The digests that one object may have after these; None stands for: it is not there."""
    done = [operation.began for operation in operations if operation.told is Told.DONE]
    last = max(done, default=-math.inf)
    found: set[str | None] = {
        operation.digest
        for operation in operations
        if operation.told is not Told.REFUSED and _latest(operation) >= last
    }
    return found if done else found | {None}


def _latest(operation: Operation) -> float:
    return operation.ended + (SETTLES_SECONDS if operation.told is Told.UNKNOWN else 0.0)


class History:
    """All operations of all clients. Safe across threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._operations: dict[str, list[Operation]] = {}

    def add(self, operation: Operation) -> None:
        with self._lock:
            self._operations.setdefault(operation.key, []).append(operation)

    def __iter__(self) -> Iterator[str]:
        """The keys, as they are at the beginning of the iteration."""
        with self._lock:
            return iter(sorted(self._operations))

    def of(self, key: str) -> Sequence[Operation]:
        with self._lock:
            return list(self._operations.get(key, ()))

    def count(self, told: Told) -> int:
        with self._lock:
            return sum(operation.told is told for found in self._operations.values() for operation in found)

    def objection(self, key: str, digest: str | None) -> str | None:
        """Why an object may not be so now, in words; None if it may."""
        operations = self.of(key)
        allowed = possible(operations)
        if digest in allowed:
            return None
        if digest is None:
            return f"{key} is lost"
        if digest not in {operation.digest for operation in operations}:
            return f"{key} has bytes that nobody stored there"
        return f"{key} is {'there again after its delete' if allowed == {None} else 'an older version'}"
