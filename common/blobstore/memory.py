"""A node in memory, for tests, with faults that can be switched on and off at any time."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from common.blobstore.base import BlobInfo, Bytes, Deadline, Page, check_length
from common.errors import BlobMissing, BucketMissing, NodeError, NodeReadOnly, NodeRefused


@dataclass
class Faults:
    """What is wrong with the node; nothing at first. Each may be set by a test at any time.

    down: every call raises NodeError. hung: every call waits for its deadline, then raises NodeTimeout. slow: seconds
    every call takes. full: writes raise NodeReadOnly. refuses: every call raises NodeRefused. flip: bytes at these
    offsets of a blob are read wrong. cut: an answer ends (NodeError) after so many bytes. failing: every call is
    answered with a failure. rotten: so is a read of these names, after `trying` seconds, until they are written anew.
    locked: so is every call for these names.
    before: called with (operation, name) before each call; may raise, block or change the node.
    """

    down: bool = False
    hung: bool = False
    slow: float = 0.0
    full: bool = False
    refuses: bool = False
    flip: frozenset[int] = frozenset()
    cut: int | None = None
    failing: bool = False
    trying: float = 0.0
    rotten: set[str] = field(default_factory=set)
    locked: set[str] = field(default_factory=set)
    before: Callable[[str, str], None] | None = None


class MemoryStore:
    """A BlobStore of a dict. `blobs` may be looked at and changed directly; `calls` counts what was asked."""

    def __init__(self, *, created: bool = True) -> None:
        self.blobs: dict[str, tuple[bytes, float]] = {}
        self.faults = Faults()
        self.calls: list[tuple[str, str]] = []
        self.created = created
        self._lock = threading.Lock()

    def wipe(self) -> None:
        """Blobs and bucket gone, as after a change of disk."""
        with self._lock:
            self.blobs.clear()
            self.created = False

    def put(self, name: str, data: Bytes, deadline: Deadline) -> None:
        self._enter("put", name, deadline)
        self._writable()
        with self._lock:
            self.blobs[name] = (bytes(data), time.time())
        self.faults.rotten.discard(name)

    @contextmanager
    def get(self, name: str, deadline: Deadline, offset: int = 0, length: int | None = None) -> Iterator[MemoryReader]:
        self._enter("get", name, deadline)
        data = self._bytes(name)
        if (offset or length is not None) and offset >= len(data):
            raise BlobMissing("the blob ends before the range asked for")
        end = len(data) if length is None else offset + length
        yield MemoryReader(data[offset:end], self.faults.cut, deadline)

    def read(self, name: str, deadline: Deadline, limit: int) -> bytes:
        with self.get(name, deadline) as reader:
            check_length(reader.size, limit)
            buffer = bytearray(reader.size)
            reader.readinto(memoryview(buffer))
            return bytes(buffer)

    def stat(self, name: str, deadline: Deadline) -> BlobInfo:
        self._enter("stat", name, deadline)
        with self._lock:
            if name not in self.blobs:
                raise BlobMissing("the node has no such blob")
            data, modified = self.blobs[name]
        return BlobInfo(name, len(data), modified)

    def delete(self, name: str, deadline: Deadline) -> None:
        self._enter("delete", name, deadline)
        with self._lock:
            self.blobs.pop(name, None)

    def delete_many(self, names: Sequence[str], deadline: Deadline) -> Mapping[str, str]:
        self._enter("delete_many", "", deadline)
        with self._lock:
            for name in set(names) - self.faults.locked:
                self.blobs.pop(name, None)
        return {name: "InternalError" for name in names if name in self.faults.locked}

    def list(self, prefix: str, deadline: Deadline, after: str = "", limit: int = 1000) -> Page:
        self._enter("list", prefix, deadline)
        with self._lock:
            there = self.blobs.keys() - self.faults.locked
            names = sorted(name for name in there if name.startswith(prefix) and name > after)
            blobs = [BlobInfo(name, len(self.blobs[name][0]), self.blobs[name][1]) for name in names[:limit]]
        return Page(blobs, blobs[-1].name if len(names) > limit else None)

    def clock(self, deadline: Deadline) -> float:
        self._enter("clock", "", deadline)
        return float(int(time.time()))

    def create(self, deadline: Deadline) -> None:
        self._enter("create", "", deadline, bucket=False)
        self.created = True

    def close(self) -> None:
        pass

    def _bytes(self, name: str) -> bytes:
        with self._lock:
            if name not in self.blobs:
                raise BlobMissing("the node has no such blob")
            data = self.blobs[name][0]
        if not self.faults.flip:
            return data
        return bytes(byte ^ 1 if index in self.faults.flip else byte for index, byte in enumerate(data))

    def _writable(self) -> None:
        if self.faults.full:
            raise NodeReadOnly("the node is full")

    def _enter(self, operation: str, name: str, deadline: Deadline, bucket: bool = True) -> None:
        faults = self.faults
        self.calls.append((operation, name))
        if faults.before is not None:
            faults.before(operation, name)
        if faults.down:
            raise NodeError("the node is down")
        rotten = operation == "get" and name in faults.rotten
        end = math.inf if faults.hung else time.monotonic() + (faults.trying if rotten else faults.slow)
        while (wait := deadline.patience(operation == "put")) and (left := end - time.monotonic()) > 0:
            time.sleep(min(wait, left))
        deadline.begun()
        if faults.failing or name in faults.locked or rotten:
            raise NodeError("the node answered 500 InternalError", answered=True)
        if faults.refuses:
            raise NodeRefused("the node refuses")
        if bucket and not self.created:
            raise BucketMissing("the node has no such bucket")


class MemoryReader:
    """An open answer of a MemoryStore."""

    def __init__(self, data: bytes, cut: int | None, deadline: Deadline) -> None:
        self.size = len(data)
        self._data = data if cut is None else data[:cut]
        self._at = 0
        self._deadline = deadline

    def readinto(self, buffer: memoryview) -> None:
        self._deadline.remaining()
        piece = self._data[self._at : self._at + len(buffer)]
        if len(piece) < len(buffer):
            raise NodeError("the answer ended too early", answered=True)
        buffer[:] = piece
        self._at += len(piece)

    def chunks(self, size: int) -> Iterator[bytes]:
        while self._at < self.size:
            chunk = bytearray(min(size, self.size - self._at))
            self.readinto(memoryview(chunk))
            yield bytes(chunk)
