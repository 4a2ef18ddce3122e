"""The nodes of a process over stores in memory and a catalogue whose rows the test can change or take away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

from common.blobstore.memory import MemoryStore
from common.catalogue.nodes import Nodes
from common.errors import CatalogueUnavailable
from common.model.names import IDENTITY_NAME
from common.model.nodes import Node, NodeHealth, NodeMode, NodeSpec
from common.nodes.health import Identity
from common.nodes.watched_nodes import WatchedNodes
from common.settings import Settings
from tests.support.waiting import wait_until

INTERVAL = 0.05
# What a node may write in place of an epoch, as JSON.
ABSURD_EPOCHS = [
    str(1 << 63), "9" * 4000, "-1", "1.0", "1e400", "NaN", "Infinity", "true", '"1"', "null", "[1]", "[" * 4000, "{}"
]  # fmt: skip


class Rows:
    """The part of the catalogue that `WatchedNodes` uses, as two plain dicts. `away`: the database cannot be reached.

    `broken`: a node whose every change the database's driver refuses, as for a value that it cannot hold.
    """

    def __init__(self) -> None:
        self.rows: dict[str, Node] = {}
        self.verdicts: dict[str, tuple[NodeHealth, float | None, str | None]] = {}
        self.unseen: dict[str, float] = {}
        self.holder = ""
        self.away = False
        self.stored = 0
        self.doubted_since: list[float | None] = []
        self.broken: str | None = None

    def add(self, name: str, **changes: object) -> str:
        spec = NodeSpec(name, f"http://{name}", "bucket", name)
        node = Node(
            name,
            spec,
            NodeMode.ACTIVE,
            None,
            True,
            "new",
            0,
            NodeHealth.SUSPECT,
            since=0.0,
            last_seen=None,
            last_error=None,
        )
        self.rows[name] = replace(node, **changes)  # type: ignore[arg-type]
        return name

    def all(self) -> Sequence[Node]:
        self._reach()
        return list(self.rows.values())

    def cluster(self) -> tuple[str, str]:
        return "cluster", "generation"

    def write_health(
        self,
        verdicts: Mapping[str, tuple[NodeHealth, float | None, str | None]],
        owner: str,
        unseen: Mapping[str, float],
    ) -> bool:
        self._reach()
        if owner != self.holder:
            return False
        self._take(*verdicts)
        self.verdicts |= verdicts
        self.unseen |= unseen
        return True

    def set_identity(self, node_id: str, identity: str, epoch: int) -> None:
        self._reach()
        self._take(node_id)
        row = self.rows[node_id]
        self.rows[node_id] = replace(row, identity=identity, epoch=max(epoch, row.epoch))

    def taken_in(self, node_id: str, epoch: int) -> None:
        self.set_identity(node_id, "known", epoch)

    def set_writable(self, node_id: str, writable: bool) -> None:
        self._reach()
        self._take(node_id)
        self.rows[node_id] = replace(self.rows[node_id], writable=writable)

    def end_pause(self, node_id: str, until: float) -> bool:
        self._reach()
        row = self.rows[node_id]
        if row.mode is not NodeMode.PAUSED or row.mode_until != until:
            return False
        self.rows[node_id] = replace(row, mode=NodeMode.ACTIVE, mode_until=None)
        return True

    def set_mode(self, name: str, mode: str, until: float | None) -> Node:
        self.rows[name] = replace(self.rows[name], mode=NodeMode(mode), mode_until=until)
        return self.rows[name]

    def doubt(self, node_id: str, since: float | None = None, limit: int = 1000) -> int:
        self._reach()
        if self.rows[node_id].identity == "foreign":
            self.doubted_since.append(since)
        page, self.stored = min(limit, self.stored), max(0, self.stored - limit)
        return page

    def acquire(self, name: str, owner: str, seconds: float) -> bool:
        self._reach()
        self.holder = self.holder or owner
        return self.holder == owner

    def release(self, name: str, owner: str) -> None:
        if self.holder == owner:
            self.holder = ""

    def _take(self, *node_ids: str) -> None:
        if self.broken in node_ids:
            raise OverflowError("Python int too large to convert to SQLite INTEGER")

    def _reach(self) -> None:
        if self.away:
            raise CatalogueUnavailable("the database is away")


class Stage:
    """Rows, a store in memory for each, and processes that see them."""

    def __init__(self) -> None:
        self.rows = Rows()
        self.stores: dict[str, MemoryStore] = {}
        self.started: list[WatchedNodes] = []

    def node(self, name: str, **changes: object) -> MemoryStore:
        self.rows.add(name, **changes)
        self.stores[name] = MemoryStore(created=False)
        return self.stores[name]

    def process(self, owner: str = "one", interval: float = INTERVAL, trials: float = 60) -> WatchedNodes:
        rows = cast(Nodes, self.rows)
        settings = Settings(probe_interval=interval, write_trial_interval=trials)
        nodes = WatchedNodes(rows, self.rows, settings, owner, lambda node: self.stores[node.id])
        self.started.append(nodes)
        nodes.start()
        return nodes

    def identity(self, name: str) -> Identity | None:
        data = self.stores[name].blobs.get(IDENTITY_NAME)
        return None if data is None else Identity.decode(data[0])


def becomes(nodes: WatchedNodes, name: str, health: NodeHealth) -> None:
    wait_until(lambda: nodes.all()[name].health is health)


def names(nodes: WatchedNodes) -> list[str]:
    return sorted(candidate.id for candidate in nodes.candidates())
