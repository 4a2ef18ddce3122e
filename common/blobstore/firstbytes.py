"""How long one node takes to begin an answer: what a reader may expect before it asks another node as well."""

from __future__ import annotations

from common.blobstore.base import FIRST_BYTE_SECONDS

KEPT = 128
EVERY = 32
LEAST_SECONDS = 0.05  # below it, what looks late is a busy machine
UNKNOWN_SECONDS = FIRST_BYTE_SECONDS / 2


def patience(p99: float | None) -> float:
    """Seconds after which a first byte is late, from the 99th percentile of earlier ones (None: too few). Pure."""
    return UNKNOWN_SECONDS if p99 is None else min(FIRST_BYTE_SECONDS, max(LEAST_SECONDS, p99))


class FirstBytes:
    """The last KEPT waits, and their 99th percentile as of the last EVERY of them. Safe across threads.

    A call that was cut short is not among them: how long it would have taken nobody knows.
    """

    def __init__(self) -> None:
        self._ring: list[float] = []
        self._count = 0
        self.p99: float | None = None

    def add(self, seconds: float) -> None:
        if len(self._ring) < KEPT:
            self._ring.append(seconds)
        else:
            self._ring[self._count % KEPT] = seconds
        self._count += 1
        if self._count % EVERY == 0:
            ordered = sorted(self._ring)
            self.p99 = ordered[int(0.99 * len(ordered))]

    @property
    def patience(self) -> float:
        return patience(self.p99)
