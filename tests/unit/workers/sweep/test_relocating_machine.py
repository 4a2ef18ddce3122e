"""Whatever happens to nodes, in any order: at the end full copies, no surplus, and nothing was lost on the way.

The model keeps its own account of what was put and read: no copy is given up unless as many others as are wanted were
read whole and right after the last of them was put, and still count at that moment.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Collection, Sequence
from functools import cache, partial
from itertools import combinations
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

from common.model.jobs import JobKind, Scope
from common.model.names import BlobName, blob_name
from common.model.nodes import NodeHealth, NodeMode
from common.model.relocation import Relocation
from common.model.versions import Preconditions
from common.placement import Candidate, order
from tests.unit.workers.rig import BUCKET, Rig, migrated
from workers.jobs import rebalance

NODES, WANTED = 6, 3
HELD = ("stored", "suspect")
UP, DOWN, FOREIGN = NodeHealth.UP, NodeHealth.DOWN, NodeHealth.FOREIGN
ACTIVE, DRAINING, RETIRED = NodeMode.ACTIVE, NodeMode.DRAINING, NodeMode.RETIRED
MEANWHILE = ["rots", "is doubted", "falls", "drains", "is lost", "kills", "kills after"]
node_numbers = st.integers(0, NODES - 1)


@cache
def template() -> Path:
    return migrated(Path(tempfile.mkdtemp()) / "empty.db")


class Killed(Exception):
    """What a worker was doing ends here; its leases run out."""


class Topology(RuleBasedStateMachine):
    """Disks are wiped and nodes declared lost only where another copy lies: more is not survivable. `trap`: after
    how many moments (reads, changes of rows) what happens to which node; when a copy is given up, just before that."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.rig = Rig(template(), Path(self.folder.name), nodes=NODES)
        self.contents: dict[str, bytes] = {}
        self.deleted: list[str] = []
        self.count = 0
        self.trap: tuple[int, str, int] | None = None
        self.clock = 0
        self.put_at: dict[tuple[str, int], int] = {}
        self.read_at: dict[tuple[str, int], int] = {}
        for number, node_id in enumerate(self.rig.ids):
            self.rig.nodes.stores[node_id].faults.before = partial(self._called, number)
        self.change_rows = self.rig.catalogue.relocations.apply
        self.rig.catalogue.relocations.apply = self._apply  # type: ignore[method-assign]
        for stored in (1, WANTED):
            self.put(stored)

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
        for number in range(NODES):
            self.put_at[self.rig.blob_ids(key)[0], number] = self.clock

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
        self._rot(data.draw(st.sampled_from(sorted(self.contents))), node)

    @rule(node=node_numbers, what=st.sampled_from(["nothing", *MEANWHILE]), other=node_numbers)
    def goes_for_long_and_comes_back(self, node: int, what: str, other: int) -> None:
        """What was made elsewhere meanwhile is surplus then."""
        self.falls(node, DOWN)
        self.long_time_goes_by()
        self.heals(2)
        self.returns(node)
        self.trap = 1000, what, other
        self.heals(3)

    @rule(moments=st.integers(0, 6), what=st.sampled_from(MEANWHILE), node=node_numbers)
    def will_be_interrupted(self, moments: int, what: str, node: int) -> None:
        self.trap = moments, what, node

    # -- what the store does

    @rule(passes=st.integers(1, 3))
    def heals(self, passes: int) -> None:
        try:
            self.rig.converge(passes)
        except* Killed:
            self.rig.clock.now += 61

    @rule()
    def plans_and_does_not_come_to_it(self) -> None:
        self.rig.clock.now += 31
        try:
            self.rig.worker.sweep()
        except* Killed:
            pass

    @rule()
    def long_time_goes_by(self) -> None:
        self.rig.clock.now += 901

    @rule()
    def is_rebalanced(self) -> None:
        self._run(JobKind.REBALANCE)

    # -- what happens meanwhile

    def _called(self, number: int, operation: str, name: str) -> None:
        """Before each call of a store."""
        parsed = BlobName.parse(name)
        if parsed is None:
            return
        blob_id = parsed.blob_id
        if operation == "get" and threading.current_thread() is threading.main_thread():
            self._moment(blob_id)
        self.clock += 1
        if operation == "put":
            self.put_at[blob_id, number] = self.clock
        elif operation == "get" and self._bytes(number, blob_id) in self.contents.values():
            self.read_at[blob_id, number] = self.clock

    def _apply(self, moves: Sequence[Relocation]) -> Collection[str]:
        giving_up = [move for move in moves if _held(move)]
        if giving_up and self.trap is not None:
            self.trap = 0, *self.trap[1:]  # the moment that matters most
        kills = self._moment((giving_up or moves)[0].copies.blob.id) if moves else False
        made = self.change_rows(moves)
        for move in moves:
            if move.copies.blob.id in made:
                self._check(move)
        if kills:
            raise Killed
        return made

    def _moment(self, blob_id: str) -> bool:
        """Whether it ends right after this."""
        if self.trap is None:
            return False
        moments, what, node = self.trap
        self.trap = None if moments == 0 else (moments - 1, what, node)
        if moments:
            return False
        if what == "kills":
            raise Killed
        if what == "rots":
            for key in self.contents:
                if blob_id in self.rig.blob_ids(key):
                    self._rot(key, node)
        elif what == "is doubted":
            self.rig.catalogue.copies.suspect(blob_id, self.rig.ids[node], "a reader saw it wrong")
        elif what == "falls":
            self._see(node, DOWN, self._mode(node))
        elif what == "drains":
            self._see(node, self._health(node), DRAINING)
        elif what == "is lost":
            self.is_declared_lost(node)
        return what == "kills after"

    def _check(self, move: Relocation) -> None:
        """The rows as they are now: who makes up for a copy that was given up."""
        if not _held(move):
            return
        (copies,) = self.rig.catalogue.relocations.of([move.copies.blob.id])
        counting = {node.id for node in self.rig.catalogue.nodes.all() if node.mode in (ACTIVE, NodeMode.PAUSED)}
        left = [row.node_id for row in copies.rows if row.state.value == "stored" and row.node_id in counting]
        places = [(copies.blob.id, self.rig.ids.index(node_id)) for node_id in left if node_id]
        assert any(
            min(self.read_at.get(place, -1) for place in chosen) > max(self.put_at[place] for place in chosen)
            for chosen in combinations(places, WANTED)
        ), "a copy was given up, and those that stay were not proven"

    # -- what holds

    @invariant()
    def nothing_is_lost(self) -> None:
        if hasattr(self, "rig"):
            assert [key for key in self.contents if not self._copies(key)] == []

    def all_is_well_in_the_end(self) -> None:
        self.trap = None
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
            (copies,) = self.rig.catalogue.relocations.of([blob_id])
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
        try:
            self.rig.worker.run_job(job.id)
        except* Killed:
            self.rig.clock.now += 61

    def _rot(self, key: str, node: int) -> None:
        """Only where a right copy is left even if all that is surplus goes: what was read may rot a moment later."""
        (blob_id,) = self.rig.blob_ids(key)
        (copies,) = self.rig.catalogue.relocations.of([blob_id])
        surplus = max(0, sum(row.state.value in HELD for row in copies.rows) - WANTED)
        if node in self._copies(key) and len(self._copies(key)) > 1 + surplus:
            self.rig.spoil(blob_id, node, b"x" * 100)

    # -- looking

    def _bytes(self, number: int, blob_id: str) -> bytes | None:
        found = self.rig.nodes.stores[self.rig.ids[number]].blobs.get(blob_name(blob_id))
        return found[0] if found and self._there(number) else None

    def _copies(self, key: str) -> set[int]:
        """Nodes that have the right bytes, and whose row says that they may stay."""
        (blob_id,) = self.rig.blob_ids(key)
        (copies,) = self.rig.catalogue.relocations.of([blob_id])
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


def _held(move: Relocation) -> bool:
    """Whether it gives a copy up, not only a row of a missing one."""
    return any(row.id in move.doom and row.state.value in HELD for row in move.copies.rows)


def test_whatever_happens_to_nodes_nothing_is_lost_and_full_copies_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebalance, "CONVERGE_SECONDS", 0.0)
    run_state_machine_as_test(Topology, settings=settings(max_examples=20, stateful_step_count=25, deadline=None))
