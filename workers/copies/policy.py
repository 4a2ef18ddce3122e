"""Where the copies of a blob are to lie, and which may go. Pure: rows and nodes in, changes out.

A copy **counts** while its node is active or paused, and was not down or foreign for longer than `reprotect_after`. One
that is `missing` does not on an active node that was full for as long: nothing is there, and nothing can come.

1. Too few count: `missing` rows are added on the next nodes in placement order. What cannot be placed gets a row
   without a node, so that the rows never say that less is wanted than is.
2. `missing` rows that do not count are replaced by that, and doomed: what was put there after all must go.
3. Rows of a retired (lost) node vanish once another copy counts that is stored, not doubted, on a node that is not
   away. Those of a blob's last copies stay; while there are no others, nothing is done about the blob.
4. The **keepers** are the first `wanted` that count, in placement order. Other rows are surplus. They are doomed only
   when all keepers are stored on nodes that are up, and each was read whole and right after all of them were stored.
   A copy on a node that is away stays until it returns: it may be needed yet.

The brake: while more than a third of the nodes are down or foreign, nothing changes at all. That is more likely our
own trouble than theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from common.model.copies import CopyState
from common.model.nodes import Node, NodeHealth, NodeMode
from common.model.relocation import BlobCopies, CopyRow, Relocation
from common.placement import Candidate, order

_AWAY = (NodeHealth.DOWN, NodeHealth.FOREIGN)
_HELD = (CopyState.STORED, CopyState.SUSPECT)


@dataclass(frozen=True)
class Scene:
    """The nodes by the shared verdict, at one moment. `reprotect_after`: seconds a node may be away."""

    nodes: Mapping[str, Node]
    now: float
    reprotect_after: float

    @classmethod
    def of(cls, nodes: Iterable[Node], now: float, reprotect_after: float) -> Scene:
        return cls({node.id: node for node in nodes}, now, reprotect_after)

    @cached_property
    def braked(self) -> bool:
        """True also without any node: an empty list is never "all there"."""
        taking_part = [node for node in self.nodes.values() if node.mode is not NodeMode.RETIRED]
        return 3 * sum(node.health in _AWAY for node in taking_part) > len(taking_part) or not taking_part

    @cached_property
    def takers(self) -> frozenset[str]:
        return frozenset(node.id for node in self.nodes.values() if node.takes_new_copies)

    def away(self, node_id: str | None) -> bool:
        return self.nodes[node_id or ""].health in _AWAY

    def gone(self, node: Node) -> bool:
        """Away for so long that its copies are made elsewhere."""
        return node.health in _AWAY and self.now - node.since > self.reprotect_after

    def counts(self, node_id: str | None) -> bool:
        node = self.nodes.get(node_id or "")
        return node is not None and node.mode in (NodeMode.ACTIVE, NodeMode.PAUSED) and not self.gone(node)

    def full(self, node: Node) -> bool:
        """Full for so long that what it lacks is made elsewhere."""
        since = self.now if node.writable or node.writable_since is None else node.writable_since
        return node.mode is NodeMode.ACTIVE and self.now - since > self.reprotect_after

    def row_counts(self, row: CopyRow) -> bool:
        return self.counts(row.node_id) and not (
            row.state is CopyState.MISSING and self.full(self.nodes[row.node_id or ""])
        )

    def mode(self, node_id: str | None) -> NodeMode | None:
        node = self.nodes.get(node_id or "")
        return node.mode if node else None

    def ranked(self, version_id: str, node_ids: Iterable[str]) -> Sequence[str]:
        """These nodes in placement order."""
        nodes = [self.nodes[node_id] for node_id in node_ids]
        return order(version_id, [Candidate(node.id, node.spec.zone, node.spec.weight) for node in nodes])

    def zone(self, node_id: str) -> str:
        return self.nodes[node_id].spec.zone or node_id


@dataclass(frozen=True, slots=True)
class Plan:
    """move: what to change now. unproven: keepers to be read whole before surplus goes. waiting: neither, but the
    blob is not yet where it should be: copies are being made, or a keeper's node is not up."""

    move: Relocation | None = None
    unproven: Sequence[CopyRow] = ()
    waiting: bool = False


def plan(copies: BlobCopies, scene: Scene, rebalance: bool = False) -> Plan:
    """What to do about this blob now. `rebalance`: also move copies to where placement would put them today."""
    if scene.braked or copies.wanted < 1:
        return Plan()
    rows = [row for row in copies.rows if row.state is not CopyState.DOOMED]
    placed = [row for row in rows if row.node_id is not None]
    if any(row.node_id not in scene.nodes for row in placed):
        return Plan(waiting=True)  # a node that came after this scene
    if not any(row.state in _HELD and scene.mode(row.node_id) is not NodeMode.RETIRED for row in placed):
        return Plan()  # nothing is left to make copies from, or to be given up
    nowhere = [row.id for row in rows if row.node_id is None]
    counted = _ranked(copies, scene, [row for row in placed if scene.row_counts(row)])
    lacking = copies.wanted - len(counted) - len(nowhere)
    add: list[str | None] = list(_targets(copies, scene, counted, lacking, rebalance))
    doom = _replaced(copies, scene, placed, lacking - len(add))
    delete = _lost(scene, placed, counted) + nowhere[: max(0, -lacking)]
    short = copies.wanted - (len(rows) + len(add) - len(doom) - len(delete))
    add += [None] * max(0, short)
    move = Relocation(copies, add, doom, delete, _modes(scene, placed))
    if move:
        return Plan(move)
    return _surplus(copies, scene, placed, counted)


def unplaced(copies: BlobCopies, scene: Scene) -> int:
    """How many of the wanted copies have no row that counts."""
    return max(
        0, copies.wanted - sum(row.state is not CopyState.DOOMED and scene.row_counts(row) for row in copies.rows)
    )


def _ranked(copies: BlobCopies, scene: Scene, rows: Iterable[CopyRow]) -> list[CopyRow]:
    by_node = {row.node_id: row for row in rows if row.node_id is not None}
    return [by_node[node_id] for node_id in scene.ranked(copies.version_id, [node for node in by_node if node])]


def _targets(
    copies: BlobCopies, scene: Scene, counted: Sequence[CopyRow], lacking: int, rebalance: bool
) -> Sequence[str]:
    """Nodes that are to get a row: those a rebalance wants, then as many as lack; zones without a copy first."""
    taken = {row.node_id for row in copies.rows}
    here = {row.node_id for row in counted if row.node_id is not None}
    wanted: list[str] = []
    if rebalance:
        best = scene.ranked(copies.version_id, scene.takers | here)[: copies.wanted]
        wanted = [node_id for node_id in best if node_id not in taken]
    if lacking <= len(wanted):
        return wanted
    zones = {scene.zone(node_id) for node_id in (*here, *wanted)}
    free = [node for node in scene.ranked(copies.version_id, scene.takers) if node not in taken and node not in wanted]
    free.sort(key=lambda node_id: scene.zone(node_id) in zones)
    return wanted + free[: lacking - len(wanted)]


def _replaced(copies: BlobCopies, scene: Scene, placed: Iterable[CopyRow], unplaced: int) -> list[int]:
    """`missing` rows that do not count, but for as many as nothing replaces."""
    idle = [
        row
        for row in placed
        if row.state is CopyState.MISSING
        and not scene.row_counts(row)
        and scene.mode(row.node_id) is not NodeMode.RETIRED
    ]
    return [row.id for row in _ranked(copies, scene, idle)[max(0, unplaced) :]]


def _lost(scene: Scene, placed: Iterable[CopyRow], counted: Iterable[CopyRow]) -> list[int]:
    if not any(row.state is CopyState.STORED and not scene.away(row.node_id) for row in counted):
        return []
    return [row.id for row in placed if scene.mode(row.node_id) is NodeMode.RETIRED]


def _surplus(copies: BlobCopies, scene: Scene, placed: Sequence[CopyRow], counted: Sequence[CopyRow]) -> Plan:
    # A missing row that nothing fills now comes last: it is no reason to keep a draining node waiting.
    stuck = [row for row in counted if row.state is CopyState.MISSING and row.node_id not in scene.takers]
    keepers = ([row for row in counted if row not in stuck] + stuck)[: copies.wanted]
    surplus = [row for row in placed if row not in keepers and _may_go(scene, row)]
    if not surplus:
        return Plan()
    if len(keepers) < copies.wanted or not all(_sound(scene, row) for row in keepers):
        return Plan(waiting=True)
    complete = max(row.stored_at or 0.0 for row in keepers)
    unproven = [row for row in keepers if row.verified_at is None or row.verified_at <= complete]
    if unproven:
        return Plan(unproven=unproven)
    return Plan(Relocation(copies, doom=[row.id for row in surplus], modes=_modes(scene, placed)))


def _modes(scene: Scene, placed: Iterable[CopyRow]) -> Mapping[str, NodeMode]:
    return {row.node_id: scene.nodes[row.node_id].mode for row in placed if row.node_id is not None}


def _may_go(scene: Scene, row: CopyRow) -> bool:
    node = scene.nodes[row.node_id or ""]
    return node.mode is NodeMode.DRAINING or (scene.row_counts(row) and node.health not in _AWAY)


def _sound(scene: Scene, row: CopyRow) -> bool:
    return row.state is CopyState.STORED and scene.nodes[row.node_id or ""].health is NodeHealth.UP
