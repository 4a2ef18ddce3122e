"""What a node can do, as a contract. Adapters (`s3_store`, `memory`) and the wrapper (`guarded`) pass one suite.

Every call takes a `Deadline` that bounds the call as a whole, trickling answers included, and raises:
`NodeTimeout` when it passes; `NodeError` on refused, reset, cut connections and 5xx; `NodeReadOnly` when the node is
full or refuses writes; `NodeRefused` on a 4xx other than 404; `BucketMissing`, a kind of it, where the bucket is not
there; `BlobMissing` where a blob is asked for that the node does not have; `CallCut` when the caller ended the call.
A node is not believed: memory is taken for as many bytes as the caller allows, not for as many as an answer announces.
No adapter retries or logs: the caller decides.
All methods are safe across threads, not across forks; nothing connects before the first call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from common.errors import BlobTooLong, CallCut, NodeTimeout

Bytes = bytes | bytearray | memoryview


class Deadline:
    """A point on the monotonic clock by which a call must have ended.

    `first_byte` bounds the wait for the answer to begin, counted from the start of the call; not of a put, whose answer
    begins only when all of it is stored. `began_at`: when the answer did begin, None before.

    A call may be one of several that race for the same bytes: `when_late` has another one begun when its first byte is
    late, `cut` ends it from another thread.
    """

    __slots__ = ("_cut", "_late", "_late_at", "_watched", "at", "began_at", "first_byte_at")

    def __init__(self, seconds: float, first_byte: float | None = None) -> None:
        now = time.monotonic()
        self.at = now + seconds
        self.first_byte_at = self.at if first_byte is None else min(self.at, now + first_byte)
        self.began_at: float | None = None
        self._late: Callable[[], None] | None = None
        self._late_at = 0.0
        self._watched = False
        self._cut = False

    def remaining(self) -> float:
        """Seconds left, always positive. Raises NodeTimeout when there are none."""
        return self._left(self.at)

    def patience(self, began: bool) -> float:
        """Seconds for which more of an answer (or its beginning) may be waited for before asking here again.

        For adapters. NodeTimeout when the time is over, CallCut after `cut`; calls what `when_late` was given.
        """
        if self._cut:
            raise CallCut("the bytes came from another copy")
        left = self._left(self.at if began else self.first_byte_at)
        if self._late is not None and not began:
            early = self._late_at - time.monotonic()
            if early > 0:
                left = min(left, early)
            else:
                late, self._late, self._watched = self._late, None, True
                late()
        return min(left, LOOK_SECONDS) if self._watched else left

    def begun(self) -> None:
        """For adapters: the first byte of the answer is there."""
        self.began_at = time.monotonic()

    def when_late(self, seconds: float, call: Callable[[], None]) -> None:
        """Have whoever waits for the first byte make this call, once, when it has not come within so many seconds."""
        self._late, self._late_at = call, time.monotonic() + seconds

    def watch(self) -> None:
        """Look for `cut` from the start on."""
        self._watched = True

    def cut(self) -> None:
        """End the call, from another thread: within LOOK_SECONDS where it is watched or late."""
        self._cut = True

    def won(self) -> None:
        """The race is over for this call: from here on it is like any other."""
        self._late, self._watched = None, False

    def first_byte_within(self, seconds: float) -> None:
        """Wait no longer than that, from now on, for the answer to begin."""
        self.first_byte_at = min(self.first_byte_at, time.monotonic() + seconds)

    def extend(self, seconds: float) -> None:
        """Give back time in which the node was not waited for (a client that reads slowly)."""
        self.at += seconds

    @staticmethod
    def _left(at: float) -> float:
        left = at - time.monotonic()
        if left <= 0:
            raise NodeTimeout("the node did not answer in time")
        return left


LOOK_SECONDS = 0.01
CONNECT_SECONDS = 0.5
FIRST_BYTE_SECONDS = 1.0


def foreground(size: int) -> Deadline:
    """Limit of a call a client waits for: 1 s and 1 s per 8 MiB, the first byte within 1 s."""
    return Deadline(1 + size / (8 << 20), FIRST_BYTE_SECONDS)


def background(size: int) -> Deadline:
    """Limit of a worker's call: 10 s and 1 s per MiB."""
    return Deadline(10 + size / (1 << 20))


def check_length(size: int, limit: int) -> None:
    """For adapters, before a whole blob is read: BlobTooLong."""
    if size > limit:
        raise BlobTooLong(f"the copy has {size} bytes, and may have {limit}")


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """`size` in bytes; `modified` by the node's own clock, seconds since the epoch."""

    name: str
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing in byte order of names. `next` is the `after` of the next page, None at the end."""

    blobs: Sequence[BlobInfo]
    next: str | None


class BlobReader(Protocol):
    """An open answer. `size` is the number of bytes this answer has in all, as the node says."""

    size: int

    def readinto(self, buffer: memoryview) -> None:
        """Fill the buffer entirely. NodeError if the answer ends before it is full, NodeTimeout at the deadline."""

    def chunks(self, size: int) -> Iterator[bytes]:
        """What is left, in pieces of `size` bytes, the last one shorter. Errors as `readinto`."""


class BlobStore(Protocol):
    """One node's bucket. Names are opaque; writing a name replaces what was there, atomically and durably."""

    def put(self, name: str, data: Bytes, deadline: Deadline) -> None:
        """Store the bytes; on return they are durable. After an error they may be there or not, never in part.

        Idempotent: putting the same bytes again changes nothing.
        """

    def get(
        self, name: str, deadline: Deadline, offset: int = 0, length: int | None = None
    ) -> AbstractContextManager[BlobReader]:
        """Open a blob, or at most `length` bytes of it from `offset`; the connection is given back or closed on exit.

        A range that starts inside the blob and ends behind it is cut at its end; one that starts behind it raises
        BlobMissing (the copy is too short, so that part of it is missing). `length` is at least 1.
        """

    def read(self, name: str, deadline: Deadline, limit: int) -> bytes:
        """The whole blob in memory. BlobTooLong, before any of it is read, if it has more than `limit` bytes."""

    def stat(self, name: str, deadline: Deadline) -> BlobInfo:
        """Size and time of a blob without its bytes."""

    def delete(self, name: str, deadline: Deadline) -> None:
        """Remove the name. Idempotent: a name that is not there is success."""

    def delete_many(self, names: Sequence[str], deadline: Deadline) -> Mapping[str, str]:
        """Remove up to 1,000 names in one call; the ones that failed with the node's words. Idempotent."""

    def list(self, prefix: str, deadline: Deadline, after: str = "", limit: int = 1000) -> Page:
        """Up to `limit` (1–1,000) names that start with `prefix` and come behind `after`."""

    def clock(self, deadline: Deadline) -> float:
        """The node's own time, to one second (the Date header of an answer)."""

    def create(self, deadline: Deadline) -> None:
        """Make the bucket if it is not there. Used when a node is set up, never in traffic."""

    def close(self) -> None:
        """Close idle connections."""
