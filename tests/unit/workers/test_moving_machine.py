"""Whatever happens to nodes, in any order: at the end full copies, no surplus, and nothing was lost on the way."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from common.objects import NodeHealth, NodeMode, Preconditions, blob_name
from common.placement import Candidate, order
from common.work import JobKind, Scope
from tests.unit.workers.rig import BUCKET, Rig, migrated
from workers import rebalance

NODES, WANTED = 6, 3
HELD = ("stored", "suspect")
UP, DOWN, FOREIGN = NodeHealth.UP, NodeHealth.DOWN, NodeHealth.FOREIGN
ACTIVE, DRAINING, RETIRED = NodeMode.ACTIVE, NodeMode.DRAINING, NodeMode.RETIRED
node_numbers = st.integers(0, NODES - 1)


@cache
def template() -> Path:
    return migrated(Path(tempfile.mkdtemp()) / "empty.db")


class Topology(RuleBasedStateMachine):
    """Disks are wiped and nodes declared lost only where another copy lies: more is not survivable."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.rig = Rig(template(), Path(self.folder.name), nodes=NODES)
        self.contents: dict[str, bytes] = {}
        self.deleted: list[str] = []
        self.count = 0

    def teardown(self) -> None:
        if hasattr(self, "rig"):
            try:
                self.all_is_well_in_the_end()
            finally:
                self.rig.close()
                self.folder.cleanup()

    # -- what clients do

    @rule(stored=st.integers(1, WANTED))
    def put(self, stored: int) -> None:
        nodes = [node for node in self.rig.catalogue.nodes.all() if node.takes_new_copies]
        if not nodes:
            return
        self.count += 1
        key = f"key{self.count}"
        best = order(key, [Candidate(node.id, "", 1.0) for node in nodes])[:WANTED]
        names = [*best, *[None] * (WANTED - len(best))]
        (self.contents[key],) = self.rig.put(key, stored, nodes=names)

    @precondition(lambda self: self.contents)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.contents)))
        self.deleted += self.rig.blob_ids(key)
        self.rig.catalogue.objects.delete(BUCKET, key, Preconditions())
        del self.contents[key]

    # -- what happens to nodes

    @rule(node=node_numbers, health=st.sampled_from([DOWN, FOREIGN]))
    def falls(self, node: int, health: NodeHealth) -> None:
        self._see(node, health, self._mode(node))

    @rule(node=node_numbers)
    def returns(self, node: int) -> None:
        self._see(node, UP, self._mode(node))

    @rule(node=node_numbers, mode=st.sampled_from([DRAINING, ACTIVE, NodeMode.PAUSED]))
    def is_told(self, node: int, mode: NodeMode) -> None:
        self._see(node, self._health(node), mode)

    @rule(node=node_numbers)
    def is_wiped_and_accepted(self, node: int) -> None:
        if self._there(node) and all(self._copies(key) - {node} for key in self.contents):
            self.rig.nodes.stores[self.rig.ids[node]].blobs.clear()
            while self.rig.catalogue.nodes.doubt(self.rig.ids[node]):
                pass
            self._see(node, UP, self._mode(node))

    @rule(node=node_numbers)
    def is_declared_lost(self, node: int) -> None:
        left = [number for number in range(NODES) if self._there(number) and number != node]
        if self._there(node) and len(left) > WANTED and all(self._copies(key) - {node} for key in self.contents):
            self._see(node, DOWN, RETIRED)

    @precondition(lambda self: self.contents)
    @rule(node=node_numbers, data=st.data())
    def rots(self, node: int, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.contents)))
        copies = self._copies(key)
        if node in copies and len(copies) > 1:
            self.rig.spoil(self.rig.blob_ids(key)[0], node, b"x" * 100)

    # -- what the store does

    @rule(passes=st.integers(1, 3))
    def heals(self, passes: int) -> None:
        self.rig.converge(passes)

    @rule()
    def plans_and_does_not_come_to_it(self) -> None:
        self.rig.clock.now += 31
        self.rig.worker.sweep()

    @rule()
    def long_time_goes_by(self) -> None:
        self.rig.clock.now += 901

    @rule()
    def is_rebalanced(self) -> None:
        self._run(JobKind.REBALANCE)

    # -- what holds

    @invariant()
    def nothing_is_lost(self) -> None:
        if hasattr(self, "rig"):
            assert [key for key in self.contents if not self._copies(key)] == []

    def all_is_well_in_the_end(self) -> None:
        for number in range(NODES):
            if self._there(number):
                self._see(number, UP, ACTIVE)
        # What rotted without being read is a repair's to find.
        self._run(JobKind.REPAIR)
        for _ in range(100):
            self.rig.converge(1)
            if not self._unfinished():
                break
        assert self._unfinished() == []

    def _unfinished(self) -> list[str]:
        wrong = []
        for key, data in self.contents.items():
            (blob_id,) = self.rig.blob_ids(key)
            (copies,) = self.rig.catalogue.moves.of([blob_id])
            rows = {row.node_id: row.state.value for row in copies.rows}
            there = {
                node_id
                for number, node_id in enumerate(self.rig.ids)
                if self._there(number) and self.rig.on_nodes(blob_id)[number] is not None
            }
            right = all(self.rig.on_nodes(blob_id)[self.rig.ids.index(node_id)] == data for node_id in there)
            if rows != dict.fromkeys(there, "stored") or len(there) != WANTED or not right:
                wrong.append(f"{key}: {rows}")
        left = [blob_id for blob_id in self.deleted if any(self._bytes(n, blob_id) for n in range(NODES))]
        retired = [node.spec.name for node in self.rig.catalogue.nodes.all() if node.mode is RETIRED]
        return wrong + left + retired

    def _run(self, kind: JobKind) -> None:
        job = self.rig.catalogue.jobs.create(kind, Scope(), False, False)
        self.rig.worker.run_job(job.id)

    # -- looking

    def _bytes(self, number: int, blob_id: str) -> bytes | None:
        found = self.rig.nodes.stores[self.rig.ids[number]].blobs.get(blob_name(blob_id))
        return found[0] if found and self._there(number) else None

    def _copies(self, key: str) -> set[int]:
        """Nodes that have the right bytes, and whose row says that they may stay."""
        (blob_id,) = self.rig.blob_ids(key)
        (copies,) = self.rig.catalogue.moves.of([blob_id])
        held = [self.rig.ids.index(row.node_id) for row in copies.rows if row.node_id and row.state.value in HELD]
        return {number for number in held if self._bytes(number, blob_id) == self.contents[key]}

    def _row(self, number: int) -> tuple[NodeHealth, NodeMode] | None:
        rows = {node.id: (node.health, node.mode) for node in self.rig.catalogue.nodes.all()}
        return rows.get(self.rig.ids[number])

    def _there(self, number: int) -> bool:
        row = self._row(number)
        return row is not None and row[1] is not RETIRED

    def _mode(self, number: int) -> NodeMode:
        return (self._row(number) or (UP, ACTIVE))[1]

    def _health(self, number: int) -> NodeHealth:
        return (self._row(number) or (UP, ACTIVE))[0]

    def _see(self, number: int, health: NodeHealth, mode: NodeMode) -> None:
        if self._there(number):
            self.rig.change(number, health, mode)


def test_whatever_happens_to_nodes_nothing_is_lost_and_full_copies_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebalance, "CONVERGE_SECONDS", 0.0)
    run_state_machine_as_test(Topology, settings=settings(max_examples=15, stateful_step_count=25, deadline=None))
