"""The nodes as one process sees them: rows of the catalogue, a guarded store each, and its own verdicts.

Threads: one per node probes it (`common.nodes.watch`); one more, every two seconds:

1. write to the rows what the probes learned (identity of a new node, full or writable again);
2. read the rows again; nodes added, changed or removed appear or go; without the catalogue the last rows stay;
3. take or renew the lease `health`; its holder writes the shared verdicts, remembers foreign nodes, raises epochs.

What requests ask for (`candidates`, `readable`, `read_order`) is a view that is built when something changed.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

import structlog
from prometheus_client import Gauge

from common.blobstore.base import FIRST_BYTE_SECONDS, BlobStore
from common.blobstore.guarded import as_node_error
from common.blobstore.s3_store import open_store
from common.catalogue.access import Leases
from common.catalogue.nodes import Nodes
from common.errors import (
    BovedaError,
    CatalogueUnavailable,
    ConfigurationError,
    Conflict,
    NodeBusy,
    NodeError,
    NoSuchNode,
    OutcomeUnknown,
)
from common.model.nodes import Node, NodeHealth, NodeMode
from common.nodes.acceptance import accept
from common.nodes.health import WRONG_AFTER, all_fail_together, next_epoch
from common.nodes.watch import FRESH_FOR, PROBE_SECONDS, Watch, lately
from common.placement import Candidate
from common.settings import Settings

REFRESH_SECONDS = 2.0
LEASE = "health"
LEASE_SECONDS = 6.0
EPOCH_SECONDS = 600.0
DOUBT_SECONDS = 1.0  # of each refresh, for one node
START_SECONDS = 2.0
LOOK_AGAIN_SECONDS = 1.0
SHOW_EVERY = 3  # refreshes between two writings of verdicts that did not change

log = structlog.get_logger(__name__)

# The holder of the lease shows the shared verdict; that every process comes to it by itself shows here.
SEEN = Gauge(
    "boveda_node_seen",
    "A process's own verdict of a node: 2 up, 1 suspect, 0 down or foreign",
    ["node"],
    multiprocess_mode="liveall",
)
SEEN_AS = {NodeHealth.UP: 2, NodeHealth.SUSPECT: 1}

OpenStore = Callable[[Node], BlobStore]
Shown = tuple[NodeHealth, float | None, str | None]


@dataclass(frozen=True, slots=True)
class _View:
    nodes: Mapping[str, Node]
    candidates: Sequence[Candidate]
    readable: frozenset[str]


class WatchedNodes:
    """See the module. Safe across threads, not across forks: `start` it in the process that uses it."""

    def __init__(
        self,
        rows: Nodes,
        leases: Leases,
        settings: Settings,
        owner: str,
        open_node: OpenStore | None = None,
    ) -> None:
        self._rows = rows
        self._leases = leases
        self._owner = owner
        self._interval = settings.probe_interval
        self._retry_writes = settings.write_trial_interval
        self._open = open_node or (
            lambda node: open_store(node.spec, settings.credentials / f"{node.spec.credentials}.json")
        )
        self._watches: dict[str, Watch] = {}
        self._unusable: dict[str, Node] = {}
        self._view = _View(MappingProxyType({}), (), frozenset())
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._threads: list[threading.Thread] = []
        self._refreshed_at = -REFRESH_SECONDS
        self._keeper = _Keeper(rows, leases, owner, settings.probe_interval)

    def start(self) -> None:
        """A first look at rows and nodes, within about two seconds, then the threads go on by themselves."""
        until = time.monotonic() + START_SECONDS
        self._refresh()
        for watch in list(self._watches.values()):
            watch.probed.wait(max(0.0, until - time.monotonic()))
        self._refresh()
        self._spawn("nodes-refresh", self._refresh_forever)

    def stop(self) -> None:
        """End the threads, give the lease back, close the stores. What hangs on a node ends by its deadline."""
        self._stopping.set()
        self._wake.set()
        for watch in self._watches.values():
            watch.stop.set()
        for thread in self._threads:
            thread.join(1.5)
        self._keeper.release()
        for watch in self._watches.values():
            watch.store.close()

    # -- what requests and tasks ask

    def all(self) -> Mapping[str, Node]:
        """id → row with this process's own verdict."""
        return self._view.nodes

    def store(self, node_id: str) -> BlobStore:
        """The guarded store of a node. NodeBusy if it may not be used now."""
        watch = self._watches.get(node_id)
        if watch is None:
            raise NodeBusy("the node is not known to this process, or has no credentials here")
        watch.gate()
        return watch.guarded

    def candidates(self) -> Sequence[Candidate]:
        """Nodes that take new copies now."""
        return self._view.candidates

    def answering(self) -> Collection[str]:
        """Ids of those among the candidates that showed themselves to this process lately. Nodes that fail together
        stay candidates: that they may all be well is a reason to move nothing, and none to promise anything."""
        within, watches = lately(self._interval), self._watches
        ids = [candidate.id for candidate in self.candidates()]
        return {node_id for node_id in ids if node_id in watches and watches[node_id].answers(within)}

    def readable(self) -> Collection[str]:
        """Ids of nodes that can be read now."""
        return self._view.readable

    def read_order(self, node_ids: Iterable[str]) -> Sequence[str]:
        """The readable ones of these, best first: not paused, up, breaker closed, fewest in flight."""
        view = self._view
        ids = [node_id for node_id in node_ids if node_id in view.readable]
        return sorted(ids, key=lambda node_id: self._rank(view.nodes[node_id])) if len(ids) > 1 else ids

    def authenticated(self, node_id: str) -> None:
        """Bytes read from the node proved right: the only success of traffic that counts for its health."""
        watch = self._watches.get(node_id)
        if watch is not None:
            watch.authenticated()

    def reads_others(self, node_id: str) -> bool:
        """A node failed at one name: whether it reads another one well, here and now (its identity, a probe's look)."""
        watch = self._watches.get(node_id)
        return watch is not None and watch.reads_others()

    def writes_others(self, node_id: str) -> bool:
        """The same of writing and deleting: a name of its own is put and deleted."""
        watch = self._watches.get(node_id)
        return watch is not None and watch.writes_others()

    def late_after(self, node_id: str) -> float:
        """Seconds after which a first byte of this node is late."""
        watch = self._watches.get(node_id)
        return FIRST_BYTE_SECONDS if watch is None else watch.guarded.first_bytes.patience

    def look_again(self, node_ids: Collection[str]) -> bool:
        """Before a read is given up: those of these nodes that only this process believes down show themselves now.

        True if one came back. CatalogueUnavailable: what the others believe is not known.
        """
        until = time.monotonic() + LOOK_AGAIN_SECONDS
        back = [
            self._watches[row.id].vouched()
            for row in self._rows.all()
            if row.id in node_ids and row.readable and row.id in self._watches and time.monotonic() < until
        ]
        return any(back)

    def accept(self, node_id: str) -> int:
        """Take in a foreign node (see `common.nodes.acceptance`); how many copy rows became suspect.

        NoSuchNode, Conflict, Unavailable (go on by calling it again).
        """
        watch = self._watches.get(node_id)
        row = next((row for row in self._rows.all() if row.id == node_id), None)
        if watch is None or row is None:
            raise NoSuchNode("there is no such node, or it has no credentials here")
        # Whoever asks goes by the shared verdict; this process may come to it only at its next refresh or probe.
        if NodeHealth.FOREIGN not in (watch.node().health, row.health) and row.identity != "foreign":
            raise Conflict(f"node {row.spec.name} is not foreign; there is nothing to accept")
        changed = accept(row, watch.store, self._rows)
        self._wake.set()
        return changed

    def _rank(self, node: Node) -> tuple[bool, bool, bool, int]:
        watch = self._watches.get(node.id)
        if watch is None:
            return True, True, True, 0
        guard = watch.guarded
        paused, shaky = node.mode is NodeMode.PAUSED, node.health is not NodeHealth.UP
        return paused, shaky, guard.breaker.is_open, guard.in_flight

    # -- threads

    def _spawn(self, name: str, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        self._threads = [old for old in self._threads if old.is_alive()] + [thread]
        thread.start()

    def _refresh_forever(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(REFRESH_SECONDS)
            self._wake.clear()
            if self._stopping.is_set():
                return
            try:
                self._refresh()
            except Exception:  # the edge of a thread that must not end
                log.exception("nodes_refresh_failed")
            self._stopping.wait(0.05)

    def _probe_forever(self, watch: Watch) -> None:
        """At equal steps of the clock, the same for all nodes: whether they fail together shows only so."""
        phase = zlib.crc32(self._owner.encode()) % 1000 / 1000 * self._interval
        while not watch.stop.is_set():
            try:
                watch.may_initialise = time.monotonic() - self._refreshed_at < 3 * REFRESH_SECONDS
                watch.probe()
            except Exception:  # the edge of a thread that must not end
                log.exception("node_probe_failed", node=watch.row.id)
            if watch.news():
                self._wake.set()
            watch.stop.wait(self._interval - (time.monotonic() - phase) % self._interval)

    # -- the refresh

    def _refresh(self) -> None:
        try:
            self._keeper.flush(self._watches.values())
            rows, cluster = self._rows.all(), self._rows.cluster()
        except BovedaError as error:
            log.warning("nodes_rows_unread", error=error.detail)
            return
        self._refreshed_at = time.monotonic()
        self._follow(rows, cluster)
        self._rebuild()
        try:
            self._keeper.keep(self._watches.values(), self._unusable.values())
        except BovedaError as error:
            log.warning("nodes_health_unwritten", error=error.detail)

    def _follow(self, rows: Sequence[Node], cluster: tuple[str, str]) -> None:
        """Watches for the rows as they are now."""
        unusable: dict[str, Node] = {}
        watches: dict[str, Watch] = {}
        for row in rows:
            watch = self._watches.get(row.id)
            if watch is not None and watch.row.spec == row.spec:
                watch.update(row, cluster)
                watches[row.id] = watch
                continue
            try:
                with as_node_error(row.spec.name):
                    watches[row.id] = Watch(
                        row, cluster, self._open(row), self._changed, self._together, self._retry_writes
                    )
            except (ConfigurationError, NodeError) as error:
                unusable[row.id] = replace(row, health=NodeHealth.DOWN, last_error=error.detail)
        gone = [watch for node_id, watch in self._watches.items() if watches.get(node_id) is not watch]
        fresh = [watch for node_id, watch in watches.items() if self._watches.get(node_id) is not watch]
        self._watches, self._unusable = watches, unusable
        for watch in gone:
            watch.stop.set()
            watch.store.close()
        for watch in fresh:
            self._spawn(f"probe-{watch.row.spec.name}", partial(self._probe_forever, watch))

    def _changed(self) -> None:
        """A verdict changed: requests see it at once, the rows as soon as the refresh comes to it."""
        self._rebuild()
        self._wake.set()

    def _together(self) -> bool:
        return all_fail_together(watch.verdict for watch in self._watches.values())

    def _rebuild(self) -> None:
        with self._lock:
            nodes = {node_id: watch.node() for node_id, watch in self._watches.items()} | self._unusable
            for node in nodes.values():
                SEEN.labels(node.spec.name).set(SEEN_AS.get(node.health, 0))
            taking = [node for node in nodes.values() if node.takes_new_copies]
            self._view = _View(
                MappingProxyType(nodes),
                tuple(Candidate(node.id, node.spec.zone, node.spec.weight) for node in taking),
                frozenset(node.id for node in nodes.values() if node.readable),
            )


def unnoticed(interval: float) -> float:
    """Seconds for which another disk may stand behind a node's name before its row says `foreign`: a process relies on
    its last look, the probes must tell, and the lease that lets one write it may have to pass to another first."""
    return FRESH_FOR + WRONG_AFTER * (interval + PROBE_SECONDS) + LEASE_SECONDS + 2 * REFRESH_SECONDS


class _Keeper:
    """What goes from this process into the rows: its own findings, and the shared ones while it holds the lease."""

    def __init__(self, rows: Nodes, leases: Leases, owner: str, interval: float) -> None:
        self._rows = rows
        self._leases = leases
        self._owner = owner
        self._unnoticed = unnoticed(interval)
        self._lately = lately(interval)
        self._holds = False
        self._written: Mapping[str, tuple[NodeHealth, str | None, bool]] = {}
        self._skipped = 0
        self._raise_at: dict[str, float] = {}

    def flush(self, watches: Iterable[Watch]) -> None:
        """Findings of the probes and of traffic. Each is dropped once it is in the row."""
        for watch in watches:
            _apart(watch.row, partial(self._flush, watch))

    def _flush(self, watch: Watch) -> None:
        row = watch.row
        if row.identity == "new" and watch.seen_epoch is not None:
            self._rows.set_identity(row.id, "known", watch.seen_epoch)
        if watch.full:
            self._rows.set_writable(row.id, False)
            watch.row, watch.full = replace(watch.row, writable=False), False
        elif watch.writes_again:
            self._rows.set_writable(row.id, True)
            watch.writes_again = False

    def keep(self, watches: Collection[Watch], unusable: Collection[Node]) -> None:
        """The lease holder's part."""
        self._holds = self._leases.acquire(LEASE, self._owner, LEASE_SECONDS)
        for watch in watches:
            watch.try_writes = self._holds and not watch.row.writable
            if self._holds:
                _apart(watch.row, partial(self._remember, watch))
        if self._holds:
            probed = [watch for watch in watches if watch.probed.is_set()]
            unseen = {watch.row.id: watch.unseen(self._lately) for watch in probed}
            known = {node_id: seconds for node_id, seconds in unseen.items() if seconds is not None}
            self._write([*(watch.node() for watch in probed), *unusable], known)

    def release(self) -> None:
        """Let another process take over at once."""
        if self._holds:
            self._holds = False
            with suppress(BovedaError):  # it ends by itself
                self._leases.release(LEASE, self._owner)

    def _remember(self, watch: Watch) -> None:
        row, now = watch.row, time.monotonic()
        if row.identity == "known" and watch.verdict.health is NodeHealth.FOREIGN:
            self._rows.set_identity(row.id, "foreign", row.epoch)
        elif row.identity == "foreign" and watch.verdict.health is NodeHealth.UP:
            while self._rows.doubt(row.id, row.since - self._unnoticed):
                if time.monotonic() > now + DOUBT_SECONDS:
                    return  # the others have their turn; the next refresh goes on from here
            self._rows.set_identity(row.id, "known", row.epoch)
        elif row.identity == "known" and watch.seen_epoch is not None and watch.seen_epoch > row.epoch:
            self._rows.set_identity(row.id, "known", watch.seen_epoch)
        elif row.identity == "known" and now >= self._raise_at.setdefault(row.id, now + EPOCH_SECONDS):
            self._raise_at[row.id] = now + EPOCH_SECONDS
            watch.raise_to = next_epoch(row.epoch, None)
        if row.mode is NodeMode.PAUSED and row.mode_until is not None and row.mode_until <= time.time():
            self._rows.end_pause(row.id, row.mode_until)

    def _write(self, nodes: Sequence[Node], unseen: Mapping[str, float]) -> None:
        """Verdicts when one changed; otherwise now and then, for `last_seen`."""
        now = {node.id: (node.health, node.last_error, bool(unseen.get(node.id))) for node in nodes}
        self._skipped += 1
        if now == self._written and self._skipped < SHOW_EVERY:
            return
        verdicts = {node.id: (node.health, node.last_seen, node.last_error) for node in nodes}
        if self._write_all(verdicts, nodes, unseen):
            self._written, self._skipped = now, 0

    def _write_all(self, verdicts: Mapping[str, Shown], nodes: Sequence[Node], unseen: Mapping[str, float]) -> bool:
        """In one transaction; if that fails for what one of them says, each in its own."""
        try:
            return self._rows.write_health(verdicts, self._owner, unseen)
        except _EVERYBODYS:
            raise
        except Exception:  # the edge of one node, whichever it is
            log.exception("nodes_health_unwritten")
            for node in nodes:
                _apart(node, partial(self._rows.write_health, {node.id: verdicts[node.id]}, self._owner, unseen))
            return False


_EVERYBODYS = (CatalogueUnavailable, OutcomeUnknown)


def _apart(row: Node, work: Callable[[], object]) -> None:
    """The bookkeeping of one node: what goes wrong in it is that node's. A catalogue that is away is everybody's."""
    try:
        work()
    except _EVERYBODYS:
        raise
    except Exception:  # the edge of one node
        log.exception("node_bookkeeping_failed", node=row.spec.name)
