"""One node as this process sees it: its store, the guard around it, and what probes and traffic said.

A probe, every two seconds on a thread of the node's own (a hung node delays no other):

1. read the identity blob within a second; a node whose row is `new` and that has none is given its own;
2. tell the verdict: right, wrong or failed;
3. where this process holds the health lease and the node is right: write the next epoch when that is due, and try a
   small put once a minute (`retry_writes`) while the node takes no writes.

What has to go into the node's row is left in fields for `common.nodes.watched_nodes`, which alone knows the catalogue.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from common.blobstore.base import BlobStore, Deadline
from common.blobstore.guarded import GuardedStore, as_node_error
from common.errors import BlobMissing, BlobStoreError, BlobTooLong, BucketMissing, NodeBusy, NodeError, NodeReadOnly
from common.model.names import IDENTITY_NAME
from common.model.nodes import Node, NodeHealth
from common.nodes.health import DOWN_AFTER, IDENTITY_MAX, Identity, Verdict

PROBE_SECONDS = 1.0
INLINE_SECONDS = 0.5
FRESH_FOR = 5.0
RETRY_WRITES = 60.0
TRIAL_NAME = "boveda/writable"
TRIAL = bytes(64 * 1024)
NOBODY = Identity("", "", "", 0)


def lately(interval: float) -> float:
    """Seconds within which a node that is there shows itself: those of as many probes as bring a node down."""
    return DOWN_AFTER * (interval + PROBE_SECONDS)


class Watch:
    """`row` is the catalogue's latest; `seen_epoch` what the right identity said; `full` and `writes_again` what was
    learned about writing and is not in the row yet. `raise_to` is set by the holder of the lease.
    """

    def __init__(
        self,
        row: Node,
        cluster: tuple[str, str],
        store: BlobStore,
        changed: Callable[[], None],
        together: Callable[[], bool] = lambda: False,
        retry_writes: float = RETRY_WRITES,
    ) -> None:
        self.row = row
        self.cluster = cluster
        self.store = store
        self.verdict = Verdict(NodeHealth.FOREIGN if row.identity == "foreign" else row.health)
        self.guarded = GuardedStore(store, row.spec.name, self.gate, self._evidence)
        self.probed = threading.Event()
        self.last_seen = row.last_seen
        self.last_error = row.last_error
        self.seen_epoch: int | None = None
        self.full = False
        self.writes_again = False
        self.may_initialise = False
        self.raise_to: int | None = None
        self.try_writes = False
        self.stop = threading.Event()
        self._changed = changed
        self._together = together
        self._retry_writes = retry_writes
        self._checked_at = -math.inf
        self._right_at = time.monotonic()
        self._refused_at = -math.inf
        self._tried_at = -math.inf
        self._lock = threading.Lock()
        self._inline = threading.Lock()

    # -- what others see

    def node(self) -> Node:
        """The row with this process's own verdict."""
        health = self.verdict.health
        if self.row.identity == "foreign":
            health = NodeHealth.FOREIGN
        elif self.row.identity != "known" and health is not NodeHealth.FOREIGN:
            health = NodeHealth.DOWN  # takes no part before it has its identity
        return replace(
            self.row,
            health=health,
            writable=self.row.writable and not self.full,
            last_seen=self.last_seen,
            last_error=self.last_error,
        )

    def answers(self, within: float) -> bool:
        """Whether it showed its identity in the last so many seconds."""
        return time.monotonic() - self._checked_at <= within

    def unseen(self, within: float) -> float | None:
        """0 if it `answers`, else for how long it did not; None while this process does not know that yet."""
        if self.answers(within):
            return 0.0
        silent = time.monotonic() - self._right_at
        return silent if silent > within else None

    def gate(self) -> None:
        """NodeBusy unless the node may be used now: known, not down, its identity seen within 5 s or right now."""
        if self.row.identity != "known":
            raise NodeBusy(f"node {self.row.spec.name} is not identified")
        if self.verdict.health in (NodeHealth.DOWN, NodeHealth.FOREIGN):
            raise NodeBusy(f"node {self.row.spec.name} is {self.verdict.health.value}")
        if time.monotonic() - self._checked_at > FRESH_FOR:
            self._check_inline()

    def authenticated(self) -> None:
        """Bytes read from the node were authenticated."""
        if self.verdict.health is NodeHealth.SUSPECT:
            self._tell(lambda: self.verdict.traffic_right(time.monotonic()))

    def reads_others(self) -> bool:
        """Look at the identity now. If it is right the node works, whatever it failed at before."""
        started = time.monotonic()
        try:
            if self._look(Deadline(PROBE_SECONDS), False) is not None:
                return False
        except BlobStoreError:
            return False
        self._right(started)
        self._tell(lambda: self.verdict.probe_right(started))
        self.guarded.breaker.succeeded()
        return True

    def writes_others(self) -> bool:
        """Put and delete a name that no blob has."""
        try:
            self.store.put(TRIAL_NAME, b"", Deadline(PROBE_SECONDS))
            self.store.delete(TRIAL_NAME, Deadline(PROBE_SECONDS))
        except BlobStoreError:
            return False
        return True

    def vouched(self) -> bool:
        """The shared verdict is better than ours: look now. True if the node showed its identity within 0.5 s."""
        if self.row.identity != "known" or self.verdict.health is not NodeHealth.DOWN:
            return False
        try:
            self._check_inline()
        except NodeBusy:
            return False
        self._tell(self.verdict.vouched)
        return True

    def news(self) -> bool:
        """Whether something waits to be written into the row."""
        return self.full or self.writes_again or (self.row.identity == "new" and self.seen_epoch is not None)

    def update(self, row: Node, cluster: tuple[str, str]) -> None:
        """A newer row; one that was foreign and is known again was accepted."""
        if self.row.identity == "foreign" and row.identity == "known":
            self._tell(self.verdict.accepted)
        self.row, self.cluster = row, cluster

    # -- probes

    def probe(self) -> None:
        """One probe, told to the verdict."""
        started = time.monotonic()
        try:
            objection = self._look(Deadline(PROBE_SECONDS), self.may_initialise)
        except BlobStoreError as error:
            self.last_error = error.detail
            self._tell(lambda: self._fell(started))
        else:
            if objection is None:
                self._right(started)
                self._tell(lambda: self.verdict.probe_right(started))
                self._chores()
            else:
                self.last_error = objection
                self._checked_at = -math.inf  # what was right a moment ago is not any more: no blob goes there on trust
                self._tell(self.verdict.probe_wrong)
        self.probed.set()

    def _fell(self, started: float) -> None:
        now = time.monotonic()
        self.verdict.probe_failed(started, now)
        if not self._together():
            self.verdict.fall(now)

    def _right(self, started: float) -> None:
        self._checked_at = self._right_at = started
        self.last_seen, self.last_error = time.time(), None

    def _check_inline(self) -> None:
        """The probes are late (a busy process): look before use. Whoever waited takes the result of who looked."""
        asked = time.monotonic()
        with self._inline:
            if self._checked_at > asked - FRESH_FOR:
                return
            if self._refused_at < asked - INLINE_SECONDS:
                started = time.monotonic()
                try:
                    if self._look(Deadline(INLINE_SECONDS), False) is None:
                        self._right(started)
                        return
                except BlobStoreError as error:
                    if isinstance(error, NodeError):
                        self._evidence(error)
                self._refused_at = time.monotonic()
        raise NodeBusy(f"node {self.row.spec.name} did not show its identity in time")

    def _look(self, deadline: Deadline, initialise: bool) -> str | None:
        """What speaks against the node's identity, None if it is right. BlobStoreError, whatever goes wrong."""
        row, cluster = self.row, self.cluster
        with as_node_error(row.spec.name):
            seen = read_identity(self.store, deadline)
            if seen is None and initialise and row.identity == "new":
                seen = write_identity(self.store, cluster, row.id, max(1, row.epoch), deadline, create=True)
        objection = Identity(cluster[0], row.id, cluster[1], row.epoch).objection(seen)
        if seen is not None and objection is None:
            self.seen_epoch = seen.epoch
        return objection

    def _chores(self) -> None:
        """Writes of the lease's holder to a node that has just shown the right identity."""
        try:
            with as_node_error(self.row.spec.name):
                self._write_epoch()
                self._try_writing()
        except BlobStoreError as error:
            self.last_error = error.detail

    def _write_epoch(self) -> None:
        if self.raise_to is not None:
            epoch, self.raise_to = self.raise_to, None
            if epoch > (self.seen_epoch or 0):  # else another holder of the lease was quicker
                write_identity(self.store, self.cluster, self.row.id, epoch, Deadline(PROBE_SECONDS))
                self.seen_epoch = epoch

    def _try_writing(self) -> None:
        if self.try_writes and time.monotonic() - self._tried_at > self._retry_writes:
            self._tried_at = time.monotonic()
            self.store.put(TRIAL_NAME, TRIAL, Deadline(PROBE_SECONDS))
            self.writes_again = True
            self._changed()

    # -- evidence

    def _evidence(self, error: NodeError) -> None:
        """From traffic: a node that takes no writes is not a failing one."""
        if isinstance(error, NodeReadOnly):
            self.full = True
            self._tried_at = time.monotonic()
            self._changed()
        elif not isinstance(error, NodeBusy):
            self.last_error = error.detail
            self._tell(lambda: self.verdict.traffic_failed(time.monotonic()))

    def _tell(self, what: Callable[[], None]) -> None:
        with self._lock:
            before = self.verdict.health
            what()
            changed = self.verdict.health is not before
        if changed:
            self._changed()


def read_identity(store: BlobStore, deadline: Deadline) -> Identity | None:
    """The node's identity; None where there is none. Something that is not one reads as nobody's."""
    try:
        return Identity.decode(store.read(IDENTITY_NAME, deadline, IDENTITY_MAX)) or NOBODY
    except BlobTooLong:
        return NOBODY
    except (BlobMissing, BucketMissing):
        return None


def write_identity(
    store: BlobStore, cluster: tuple[str, str], node_id: str, epoch: int, deadline: Deadline, create: bool = False
) -> Identity:
    """Write a node's identity; `create`: in a bucket that may not be there yet."""
    identity = Identity(cluster[0], node_id, cluster[1], epoch)
    if create:
        store.create(deadline)
    store.put(IDENTITY_NAME, identity.encode(), deadline)
    return identity
