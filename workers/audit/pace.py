"""How fast a node is scrubbed, and when its next run is due. Pure.

A pass over a node is to end within the target period. What may be read accrues with time, and a run reads what has
accrued: a node that is scrubbed for a second now and then is read at the same rate as by a thread that sleeps.
"""

from __future__ import annotations

from typing import Final

from common.model.sizes import MIB

FLOOR: Final = float(MIB)  # bytes a second: a small store is read more often than it has to be
CATCH_UP: Final = 4.0  # times the even rate, at most, for a pass that is late (its node was away)
BURST_SECONDS: Final = 60.0  # what did not accrue into a run within this is forgone
RUN_SECONDS: Final = 10.0  # between two runs, at most
PASSES: Final = 720  # a period has at most so many passes: one an hour in thirty days


def rate(total: int, read: int, period: float, elapsed: float) -> float:
    """Bytes a second, for a pass that began `elapsed` seconds ago and has read so many bytes of `total`."""
    even = max(FLOOR, total / period)
    left, time_left = total - read, period - elapsed
    if left <= 0:
        return even
    if time_left <= 0:
        return CATCH_UP * even
    return min(CATCH_UP * even, max(even, left / time_left))


def accrued(credit: float, bytes_a_second: float, seconds: float) -> float:
    """The bytes that may be read now; a run stops when it has used them up, so the last blob may overdraw them."""
    return min(credit + bytes_a_second * max(0.0, seconds), bytes_a_second * BURST_SECONDS)


def pause(bytes_a_second: float, period: float) -> float:
    """Seconds between two runs: about as long as a blob takes at this rate."""
    return min(RUN_SECONDS, period / PASSES, max(1.0, 8 * MIB / bytes_a_second))


def next_pass(started_at: float, period: float) -> float:
    """When the pass after one that began then may begin: a small store is not read round and round."""
    return started_at + period / PASSES
