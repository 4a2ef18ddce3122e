"""The guard around a node's store: gate, breaker, metrics, evidence; the same Protocol.

1. the gate: NodeBusy unless the node may be used now (known identity seen lately, not down);
2. the breaker: NodeBusy for a second after three NodeErrors in a row, then one call tries;
3. the call, timed; a read counts as in flight until its answer is closed; how long its first byte took is remembered
   (`first_bytes`);
4. what the adapter raises that is no error of ours is told as a NodeError (`as_node_error`);
5. evidence: a NodeError is told to `on_error`. A success is none here: a node that answers is not yet one that has the
   right bytes, so whoever authenticated them says so (`common.nodes.watched_nodes.WatchedNodes.authenticated`). A call
   that its caller cut is none either, and leaves the breaker as it was.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import TypeVar

import structlog
from prometheus_client import Counter, Histogram

from common.blobstore.base import BlobInfo, BlobReader, BlobStore, Bytes, Deadline, Page
from common.blobstore.firstbytes import FirstBytes
from common.errors import BlobStoreError, BovedaError, CallCut, NodeBusy, NodeError, NodeReadOnly

LOG = structlog.get_logger(__name__)
CALLS = Histogram(
    "boveda_node_call_seconds",
    "Time of calls to a node; of a streamed read until its answer begins",
    ("node", "operation"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
ERRORS = Counter("boveda_node_errors", "Calls to a node that failed, by kind of error", ("node", "kind"))

OPENS_AFTER = 3
OPEN_SECONDS = 1.0

T = TypeVar("T")


@contextmanager
def as_node_error(node: str) -> Iterator[None]:
    """The edge of one node: what goes wrong unforeseen in a call to it is its failure, so that others are asked.

    No adapter should let it come to that, so it is logged with its trace.
    """
    try:
        yield
    except BovedaError:
        raise
    except Exception as error:
        LOG.exception("node_call_unexpected", node=node)
        raise NodeError(f"its answer could not be dealt with ({type(error).__name__})") from error


class Breaker:
    """Opens after a few errors in a row; after a second lets one call through, whose outcome decides."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._errors = 0
        self._until = 0.0

    @property
    def is_open(self) -> bool:
        return self._until > self._clock()

    def enter(self) -> None:
        """NodeBusy while open. The call that is let through keeps the others out until it ends."""
        if not self._until:
            return
        now = self._clock()
        if now < self._until:
            raise NodeBusy("the node failed a moment ago and is given a rest")
        self._until = now + OPEN_SECONDS

    def succeeded(self) -> None:
        self._errors = 0
        self._until = 0.0

    def failed(self) -> None:
        self._errors += 1
        if self._errors >= OPENS_AFTER:
            self._until = self._clock() + OPEN_SECONDS


def _open() -> None:
    """The gate of a store that may always be used."""


def _ignore(_error: NodeError) -> None:
    """Evidence that nobody asks for."""


class GuardedStore:
    """BlobStore around another one. `in_flight` counts the calls and open answers of this process."""

    def __init__(
        self,
        store: BlobStore,
        node: str,
        gate: Callable[[], None] = _open,
        on_error: Callable[[NodeError], None] = _ignore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._node = node
        self._gate = gate
        self._on_error = on_error
        self.breaker = Breaker(clock)
        self.first_bytes = FirstBytes()
        self.in_flight = 0
        self._lock = threading.Lock()
        names = ("put", "get", "read", "stat", "delete", "delete_many", "list", "clock", "create")
        self._seconds = {name: CALLS.labels(node, name) for name in names}

    def put(self, name: str, data: Bytes, deadline: Deadline) -> None:
        self._call("put", deadline, lambda: self._store.put(name, data, deadline))

    def get(
        self, name: str, deadline: Deadline, offset: int = 0, length: int | None = None
    ) -> AbstractContextManager[BlobReader]:
        return _GuardedAnswer(self, self._store.get(name, deadline, offset, length), deadline)

    def read(self, name: str, deadline: Deadline, limit: int) -> bytes:
        started = time.monotonic()
        data = self._call("read", deadline, lambda: self._store.read(name, deadline, limit))
        self._began(deadline, started)
        return data

    def stat(self, name: str, deadline: Deadline) -> BlobInfo:
        return self._call("stat", deadline, lambda: self._store.stat(name, deadline))

    def delete(self, name: str, deadline: Deadline) -> None:
        self._call("delete", deadline, lambda: self._store.delete(name, deadline))

    def delete_many(self, names: Sequence[str], deadline: Deadline) -> Mapping[str, str]:
        return self._call("delete_many", deadline, lambda: self._store.delete_many(names, deadline))

    def list(self, prefix: str, deadline: Deadline, after: str = "", limit: int = 1000) -> Page:
        return self._call("list", deadline, lambda: self._store.list(prefix, deadline, after, limit))

    def clock(self, deadline: Deadline) -> float:
        return self._call("clock", deadline, lambda: self._store.clock(deadline))

    def create(self, deadline: Deadline) -> None:
        self._call("create", deadline, lambda: self._store.create(deadline))

    def close(self) -> None:
        self._store.close()

    def _call(self, operation: str, deadline: Deadline, call: Callable[[], T]) -> T:
        self._enter(deadline)
        started = time.perf_counter()
        try:
            with as_node_error(self._node):
                result = call()
        except BlobStoreError as error:
            self._failed(error)
            raise
        finally:
            self._leave()
            self._seconds[operation].observe(time.perf_counter() - started)
        self.breaker.succeeded()
        return result

    def _began(self, deadline: Deadline, started: float) -> None:
        if deadline.began_at is not None:
            self.first_bytes.add(deadline.began_at - started)

    def _enter(self, deadline: Deadline) -> None:
        """A deadline that is over before the call is no evidence about the node."""
        deadline.remaining()
        self._gate()
        self.breaker.enter()
        with self._lock:
            self.in_flight += 1

    def _leave(self) -> None:
        with self._lock:
            self.in_flight -= 1

    def _failed(self, error: BlobStoreError) -> None:
        """A node that answers, whatever it answers, is not one to be given a rest."""
        if isinstance(error, CallCut):
            return
        ERRORS.labels(self._node, type(error).__name__).inc()
        if not isinstance(error, NodeError) or isinstance(error, NodeReadOnly):
            self.breaker.succeeded()
        else:
            self.breaker.failed()
        if isinstance(error, NodeError):
            self._on_error(error)


class _GuardedAnswer:
    """An answer under guard: what fails while it is opened or read is the node's, what its user raises is not."""

    def __init__(self, guard: GuardedStore, answer: AbstractContextManager[BlobReader], deadline: Deadline) -> None:
        self._guard = guard
        self._answer = answer
        self._deadline = deadline
        self._reader: BlobReader
        self.size = 0

    def __enter__(self) -> _GuardedAnswer:
        guard = self._guard
        guard._enter(self._deadline)
        started = time.monotonic()
        try:
            with as_node_error(guard._node):
                self._reader = self._answer.__enter__()
        except BaseException as error:
            guard._leave()
            if isinstance(error, BlobStoreError):
                guard._failed(error)
            raise
        finally:
            guard._seconds["get"].observe(time.monotonic() - started)
        guard.breaker.succeeded()
        guard._began(self._deadline, started)
        self.size = self._reader.size
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._guard._leave()
        self._answer.__exit__(kind, error, trace)

    def readinto(self, buffer: memoryview) -> None:
        try:
            with as_node_error(self._guard._node):
                self._reader.readinto(buffer)
        except BlobStoreError as error:
            self._guard._failed(error)
            raise

    def chunks(self, size: int) -> Iterator[bytes]:
        try:
            with as_node_error(self._guard._node):
                yield from self._reader.chunks(size)
        except BlobStoreError as error:
            self._guard._failed(error)
            raise
