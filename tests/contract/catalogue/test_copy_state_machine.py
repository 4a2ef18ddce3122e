"""Copy rows against a model of design's state machine: whatever workers, readers, sweeps and deletes do, in any order.

The model says after every step what each row must be; the table is compared with it as a whole. Two laws are checked on
the way, without the model: a state changes only along the edges that are drawn, and a row that changes in state, node,
lease owner or next attempt has a higher fence.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from common.catalogue.sql import open_catalogue
from common.catalogue.sql.engine.tables import copies
from common.model.copies import CopyState
from common.model.versions import Preconditions
from common.model.work import Claim, CopyAction, Outcome
from tests.contract.catalogue.stage import Stage

LEASE = 60.0
DOOM_DELAY = 30.0
EDGES = {
    ("missing", "stored"),
    ("stored", "suspect"),
    ("suspect", "stored"),
    ("suspect", "missing"),
    ("missing", "doomed"),
    ("stored", "doomed"),
    ("suspect", "doomed"),
}


@dataclass(frozen=True)
class ModelRow:
    """What the model says about a copy row. `enqueued` is a hint to the queue and taken from the table."""

    blob: str
    node: str
    state: str
    fence: int
    attempts: int
    failures: Mapping[str, int] | None
    due: float | None
    owner: str | None
    until: float | None
    dead: bool
    enqueued: bool

    def bare(self) -> ModelRow:
        return replace(self, enqueued=False)

    def guarded(self) -> tuple[object, ...]:
        return self.state, self.node, self.owner, self.due


class CopyRows(RuleBasedStateMachine):
    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.now = 1_800_000_000.0
        path = shutil.copy(self.template, Path(self.folder.name) / "catalogue.db")
        self.catalogue = open_catalogue(f"sqlite:///{path}", clock=lambda: self.now)
        self.stage = Stage(self.catalogue)
        self.claims: list[Claim] = []
        self.doomed_at: float | None = None
        self.rows: dict[int, ModelRow] = {}
        self.seen: dict[int, ModelRow] = {}

    def teardown(self) -> None:
        self.catalogue.close()
        self.folder.cleanup()

    @initialize()
    def put(self) -> None:
        blobs = [self.stage.new_blob(self.stage.blob(0), stored=1), self.stage.new_blob(self.stage.blob(1), stored=2)]
        self.catalogue.objects.commit(self.stage.version("a", blobs=2, size=10), blobs, Preconditions())
        self.rows = self.seen = self.table()
        assert sorted(row.state for row in self.rows.values()) == ["missing"] * 3 + ["stored"] * 3

    def table(self) -> dict[int, ModelRow]:
        with self.catalogue.database.engine.connect() as connection:
            return {
                row.id: ModelRow(
                    row.blob_id,
                    row.node_id,
                    row.state,
                    row.fence,
                    row.attempts,
                    row.failures,
                    row.next_attempt_at,
                    row.lease_owner,
                    row.lease_until,
                    row.dead_at is not None,
                    row.enqueued_at is not None,
                )
                for row in connection.execute(select(copies))
            }

    def change(self, copy_id: int, **values: object) -> None:
        row = self.rows[copy_id]
        self.rows[copy_id] = replace(row, fence=row.fence + 1, **values)  # type: ignore[arg-type]

    # -- what happens

    @rule(seconds=st.sampled_from([1.0, 20.0, 61.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        action=st.sampled_from(list(CopyAction)),
        nodes=st.sets(st.integers(0, 2), min_size=1),
        owner=st.sampled_from("xy"),
    )
    def claim(self, action: CopyAction, nodes: set[int], owner: str) -> None:
        node_ids = {self.stage.nodes[index] for index in nodes}
        expected = {
            copy_id
            for copy_id, row in self.rows.items()
            if row.node in node_ids
            and row.state == action.state.value
            and (self.doomed_at is None or action is CopyAction.DELETE)
            and row.due is not None
            and row.due <= self.now
            and not row.dead
            and (row.until is None or row.until < self.now)
        }
        blob_ids = list({row.blob for row in self.rows.values()})
        claimed = self.catalogue.copies.claim(action, blob_ids, node_ids, owner, LEASE)
        assert {claim.copy_id for claim in claimed} == expected
        for claim in claimed:
            self.change(
                claim.copy_id, owner=owner, until=self.now + LEASE, attempts=self.rows[claim.copy_id].attempts + 1
            )
            assert claim.fence == self.rows[claim.copy_id].fence
        self.claims += claimed

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), how=st.sampled_from(["stored", "failed", "dead", "absent", "released", "gone"]))
    def a_worker_ends_a_claim_it_has_or_had(self, data: st.DataObject, how: str) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        row = self.rows.get(claim.copy_id)
        doomed = claim.state is CopyState.DOOMED
        if (how == "gone") is not doomed and how in ("gone", "stored", "absent"):
            return  # a worker never ends this kind of claim so
        if how == "absent" and claim.state is not CopyState.SUSPECT:
            return
        holds = row is not None and row.fence == claim.fence
        applied = self.catalogue.copies.end([self.end(claim, how)])
        assert (claim.copy_id in applied.copy_ids) is holds
        if not holds or row is None:
            return
        free = {"owner": None, "until": None}
        if how == "stored":
            self.change(claim.copy_id, state="stored", attempts=0, failures=None, due=None, dead=False, **free)
        elif how == "gone":
            del self.rows[claim.copy_id]
        elif how == "released":
            self.change(claim.copy_id, attempts=row.attempts - 1, due=self.now + 5, **free)
        else:
            state = "missing" if how == "absent" else claim.state.value
            counts = {"node": 1}
            self.change(claim.copy_id, state=state, failures=counts, due=self.now + 5, dead=how == "dead", **free)

    def end(self, claim: Claim, how: str) -> Outcome:
        if how == "stored":
            return Outcome(claim.copy_id, claim.fence, CopyState.STORED, verified=True)
        if how == "gone":
            return Outcome(claim.copy_id, claim.fence, None)
        if how == "released":
            return Outcome(claim.copy_id, claim.fence, claim.state, next_attempt_at=self.now + 5, released=True)
        state = CopyState.MISSING if how == "absent" else claim.state
        return Outcome(
            claim.copy_id,
            claim.fence,
            state,
            error="refused",
            kind="node",
            failures={"node": 1},
            next_attempt_at=self.now + 5,
            dead=how == "dead",
        )

    @rule()
    def leases_expire(self) -> None:
        over = {copy_id for copy_id, row in self.rows.items() if row.until is not None and row.until < self.now}
        found = self.catalogue.copies.expire_leases()
        assert {claim.copy_id for claim in found} == over
        for claim in found:
            self.change(claim.copy_id, owner="expired", until=self.now + 10)
            assert claim.failures["lapsed"] >= 1
        self.claims += found

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def a_reader_doubts_a_copy(self, data: st.DataObject) -> None:
        copy_id = data.draw(st.sampled_from(sorted(self.rows)))
        row = self.rows[copy_id]
        assert self.catalogue.copies.suspect(row.blob, row.node, "wrong bytes") is (row.state == "stored")
        if row.state == "stored":
            self.change(copy_id, state="suspect", due=self.now)

    @rule(node=st.integers(0, 2))
    def a_node_comes_back(self, node: int) -> None:
        node_id = self.stage.nodes[node]
        near = {row.blob for row in self.rows.values() if row.node == node_id}
        waits = [
            copy_id
            for copy_id, row in self.rows.items()
            if row.state != "stored"
            and row.blob in near
            and row.until is None
            and (row.dead or row.enqueued or (row.due is not None and row.due > self.now))
        ]
        assert self.catalogue.copies.wake(node_id, 0, letters=True) is None
        for copy_id in waits:
            self.change(copy_id, due=self.now, dead=False, failures=None)

    @precondition(lambda self: self.doomed_at is None)
    @rule()
    def the_object_is_deleted(self) -> None:
        self.catalogue.objects.delete("papers", "a", Preconditions())
        self.doomed_at = self.now

    @rule()
    def copies_of_what_was_deleted_are_doomed(self) -> None:
        ripe = self.doomed_at is not None and self.doomed_at <= self.now - DOOM_DELAY
        doomed = [copy_id for copy_id, row in self.rows.items() if ripe and row.state != "doomed"]
        assert self.catalogue.objects.doom_copies(DOOM_DELAY) == len(doomed)
        for copy_id in doomed:
            self.change(copy_id, state="doomed", attempts=0, failures=None, due=self.now, dead=False)

    # -- what must hold

    @invariant()
    def the_table_is_what_the_model_says(self) -> None:
        table = self.table()
        assert {key: row.bare() for key, row in table.items()} == {key: row.bare() for key, row in self.rows.items()}
        self.rows = {key: replace(row, enqueued=table[key].enqueued) for key, row in self.rows.items()}

    @invariant()
    def states_follow_the_edges_and_fences_rise(self) -> None:
        table = self.table()
        for copy_id, before in self.seen.items():
            after = table.get(copy_id)
            if after is None:
                assert before.state == "doomed"
                continue
            assert before.state == after.state or (before.state, after.state) in EDGES
            assert after.fence > before.fence or after.guarded() == before.guarded()
        self.seen = table


def test_rows_follow_the_state_machine_whatever_happens_in_whatever_order(sqlite_template: Path) -> None:
    class Machine(CopyRows):
        template = sqlite_template

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
