"""The nodes of a process over stores in memory and a catalogue whose rows the test can change or take away."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import cast

import pytest

from common.acceptance import accept
from common.blobstore.base import Deadline, foreground
from common.blobstore.health import Identity
from common.blobstore.memory import MemoryStore
from common.catalogue import base as catalogue
from common.errors import CatalogueUnavailable, ConfigurationError, Conflict, NodeBusy, NodeReadOnly, Unavailable
from common.nodes import Nodes, unnoticed
from common.objects import IDENTITY_NAME, Node, NodeHealth, NodeMode, NodeSpec
from common.settings import Settings

INTERVAL = 0.05


class Rows:
    """The part of the catalogue that `Nodes` uses, as two plain dicts. `away`: the database cannot be reached."""

    def __init__(self) -> None:
        self.rows: dict[str, Node] = {}
        self.verdicts: dict[str, tuple[NodeHealth, float | None, str | None]] = {}
        self.holder = ""
        self.away = False
        self.stored = 0
        self.doubted_since: list[float | None] = []

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

    def write_health(self, verdicts: Mapping[str, tuple[NodeHealth, float | None, str | None]], owner: str) -> bool:
        self._reach()
        if owner != self.holder:
            return False
        self.verdicts |= verdicts
        return True

    def set_identity(self, node_id: str, identity: str, epoch: int) -> None:
        self._reach()
        row = self.rows[node_id]
        self.rows[node_id] = replace(row, identity=identity, epoch=max(epoch, row.epoch))

    def taken_in(self, node_id: str, epoch: int) -> None:
        self.set_identity(node_id, "known", epoch)

    def set_writable(self, node_id: str, writable: bool) -> None:
        self._reach()
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

    def _reach(self) -> None:
        if self.away:
            raise CatalogueUnavailable("the database is away")


class Stage:
    """Rows, a store in memory for each, and processes that see them."""

    def __init__(self) -> None:
        self.rows = Rows()
        self.stores: dict[str, MemoryStore] = {}
        self.started: list[Nodes] = []

    def node(self, name: str, **changes: object) -> MemoryStore:
        self.rows.add(name, **changes)
        self.stores[name] = MemoryStore(created=False)
        return self.stores[name]

    def process(self, owner: str = "one", interval: float = INTERVAL) -> Nodes:
        rows = cast(catalogue.Nodes, self.rows)
        nodes = Nodes(rows, self.rows, Settings(probe_interval=interval), owner, lambda node: self.stores[node.id])
        self.started.append(nodes)
        nodes.start()
        return nodes

    def identity(self, name: str) -> Identity | None:
        data = self.stores[name].blobs.get(IDENTITY_NAME)
        return None if data is None else Identity.decode(data[0])


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    for nodes in stage.started:
        nodes.stop()


def wait(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to that in time"
        time.sleep(0.005)


def becomes(nodes: Nodes, name: str, health: NodeHealth) -> None:
    wait(lambda: nodes.all()[name].health is health)


def names(nodes: Nodes) -> list[str]:
    return sorted(candidate.id for candidate in nodes.candidates())


def test_new_nodes_get_their_identity_and_serve_when_start_returns(stage: Stage) -> None:
    for name in "abc":
        stage.node(name)
    nodes = stage.process()
    assert names(nodes) == ["a", "b", "c"]
    assert set(nodes.readable()) == {"a", "b", "c"}
    assert stage.identity("a") == Identity("cluster", "a", "generation", 1)
    assert {row.identity for row in stage.rows.rows.values()} == {"known"}
    nodes.store("a").put("x", b"data", foreground(4))
    assert stage.stores["a"].blobs["x"][0] == b"data"


def test_a_new_node_with_the_identity_of_another_takes_no_part_and_is_not_overwritten(stage: Stage) -> None:
    store = stage.node("a")
    theirs = Identity("another cluster", "z", "g", 7).encode()
    store.created, store.blobs[IDENTITY_NAME] = True, (theirs, 0.0)
    nodes = stage.process()
    becomes(nodes, "a", NodeHealth.FOREIGN)
    assert names(nodes) == []
    assert store.blobs[IDENTITY_NAME][0] == theirs
    with pytest.raises(NodeBusy):
        nodes.store("a")


def test_a_known_node_that_was_wiped_becomes_foreign_and_gets_no_identity_by_itself(stage: Stage) -> None:
    stage.node("a")
    nodes = stage.process()
    stage.stores["a"].wipe()
    wait(lambda: stage.rows.rows["a"].identity == "foreign")
    becomes(nodes, "a", NodeHealth.FOREIGN)
    assert stage.identity("a") is None
    assert names(nodes) == []


def test_a_disk_that_is_mounted_again_brings_its_node_back(stage: Stage) -> None:
    store = stage.node("a")
    nodes = stage.process()
    kept = dict(store.blobs)
    store.wipe()
    wait(lambda: stage.rows.rows["a"].identity == "foreign")
    store.created, store.blobs = True, kept
    wait(lambda: stage.rows.rows["a"].identity == "known" and names(nodes) == ["a"])


def test_what_was_stored_just_before_another_disk_was_noticed_is_doubted_when_the_right_one_is_back(
    stage: Stage,
) -> None:
    store = stage.node("a")
    nodes = stage.process()
    kept = dict(store.blobs)
    store.wipe()
    wait(lambda: stage.rows.rows["a"].identity == "foreign")
    stage.rows.rows["a"] = replace(stage.rows.rows["a"], health=NodeHealth.FOREIGN, since=1000.0)
    stage.rows.stored = 1500
    store.created, store.blobs = True, kept
    wait(lambda: stage.rows.rows["a"].identity == "known" and names(nodes) == ["a"])
    assert stage.rows.stored == 0, "before the node is known again"
    assert set(stage.rows.doubted_since) == {1000.0 - unnoticed(INTERVAL)}


def test_another_disk_is_noticed_within_the_time_that_is_allowed_for_it() -> None:
    assert unnoticed(2.0) == 5 + 2 * (2 + 1) + 6 + 2 * 2


@pytest.mark.parametrize(
    "identity",
    [Identity("cluster", "a", "generation", 1), Identity("cluster", "a", "older", 9)],
    ids=["epoch", "restore"],
)
def test_an_old_disk_is_foreign(stage: Stage, identity: Identity) -> None:
    store = stage.node("a", identity="known", epoch=2)
    store.created, store.blobs[IDENTITY_NAME] = True, (identity.encode(), 0.0)
    becomes(stage.process(), "a", NodeHealth.FOREIGN)


def test_a_dead_node_goes_down_and_the_others_stay(stage: Stage) -> None:
    for name in "abc":
        stage.node(name)
    nodes = stage.process()
    stage.stores["b"].faults.down = True
    becomes(nodes, "b", NodeHealth.DOWN)
    assert names(nodes) == ["a", "c"]
    assert set(nodes.readable()) == {"a", "c"}
    with pytest.raises(NodeBusy):
        nodes.store("b")
    wait(lambda: stage.rows.verdicts["b"][0] is NodeHealth.DOWN)
    stage.stores["b"].faults.down = False
    becomes(nodes, "b", NodeHealth.UP)
    wait(lambda: stage.rows.verdicts["b"][0] is NodeHealth.UP)


@pytest.fixture
def seldom_probed(stage: Stage) -> Nodes:
    """A process that found node a down at its start and looks again in an hour; node a is back meanwhile."""
    store = stage.node("a", identity="known", health=NodeHealth.DOWN)
    store.created = True
    store.blobs[IDENTITY_NAME] = (Identity("cluster", "a", "generation", 0).encode(), 0.0)
    store.faults.down = True
    nodes = stage.process(interval=3600)
    store.faults.down = False
    assert nodes.readable() == set()
    return nodes


def test_a_node_that_others_see_up_is_usable_once_it_was_looked_at_again(stage: Stage, seldom_probed: Nodes) -> None:
    stage.rows.rows["a"] = replace(stage.rows.rows["a"], health=NodeHealth.UP)
    assert seldom_probed.look_again({"a"})
    assert seldom_probed.read_order(["a"]) == ["a"]
    assert seldom_probed.all()["a"].health is NodeHealth.SUSPECT
    seldom_probed.store("a").put("x", b"", foreground(0))


@pytest.mark.parametrize("why", ["down for all", "hung", "another disk", "retired", "not asked for"])
def test_looking_again_brings_back_no_node_that_is_really_away(stage: Stage, seldom_probed: Nodes, why: str) -> None:
    row, store = stage.rows.rows["a"], stage.stores["a"]
    stage.rows.rows["a"] = replace(
        row,
        health=NodeHealth.DOWN if why == "down for all" else NodeHealth.UP,
        mode=NodeMode.RETIRED if why == "retired" else NodeMode.ACTIVE,
    )
    store.faults.hung = why == "hung"
    if why == "another disk":
        store.wipe()
    started = time.monotonic()
    assert not seldom_probed.look_again({"b"} if why == "not asked for" else {"a"})
    assert time.monotonic() - started < 1
    assert seldom_probed.readable() == set()


def test_nodes_that_all_fail_together_stay_suspect(stage: Stage) -> None:
    for name in "abc":
        stage.node(name)
    nodes = stage.process()
    for store in stage.stores.values():
        store.faults.down = True
    for name in "abc":
        becomes(nodes, name, NodeHealth.SUSPECT)
    probes = len(stage.stores["a"].calls)
    wait(lambda: len(stage.stores["a"].calls) > probes + 8)
    assert {node.health for node in nodes.all().values()} == {NodeHealth.SUSPECT}
    stage.stores["a"].faults.down = False
    becomes(nodes, "a", NodeHealth.UP)
    becomes(nodes, "b", NodeHealth.DOWN)


def test_a_hung_node_delays_neither_the_start_nor_the_others(stage: Stage) -> None:
    for name in "abc":
        stage.node(name, identity="known", epoch=0, health=NodeHealth.UP)
        stage.stores[name].created = True
        stage.stores[name].blobs[IDENTITY_NAME] = (Identity("cluster", name, "generation", 0).encode(), 0.0)
    stage.stores["a"].faults.hung = True
    started = time.monotonic()
    nodes = stage.process()
    assert time.monotonic() - started < 3
    assert nodes.all()["b"].health is nodes.all()["c"].health is NodeHealth.UP
    becomes(nodes, "a", NodeHealth.DOWN)


def test_last_rows_stay_while_the_catalogue_is_away(stage: Stage) -> None:
    stage.node("a")
    nodes = stage.process()
    stage.rows.away = True
    stage.node("b")
    probes = len(stage.stores["a"].calls)
    wait(lambda: len(stage.stores["a"].calls) > probes + 5)
    assert names(nodes) == ["a"]
    nodes.store("a").put("x", b"", foreground(0))
    stage.rows.away = False
    wait(lambda: names(nodes) == ["a", "b"])


def test_nodes_added_and_removed_later_come_and_go_by_themselves(stage: Stage) -> None:
    nodes = stage.process()
    assert names(nodes) == []
    stage.node("a")
    wait(lambda: names(nodes) == ["a"])
    del stage.rows.rows["a"]
    wait(lambda: not nodes.all())
    with pytest.raises(NodeBusy):
        nodes.store("a")


def test_a_full_node_takes_no_new_copies_and_is_still_read(stage: Stage) -> None:
    store = stage.node("a")
    store.blobs["x"] = (b"data", 0.0)
    nodes = stage.process()
    store.faults.full = True
    with pytest.raises(NodeReadOnly):
        nodes.store("a").put("y", b"", foreground(0))
    assert names(nodes) == []  # at once, in the process that saw it
    assert nodes.store("a").read("x", foreground(4)) == b"data"
    wait(lambda: stage.rows.rows["a"].writable is False)


def test_a_full_node_is_tried_again_and_takes_copies_once_it_can(stage: Stage) -> None:
    store = stage.node("a", writable=False)
    store.faults.full = True
    store.created = True
    store.blobs[IDENTITY_NAME] = (Identity("cluster", "a", "generation", 0).encode(), 0.0)
    nodes = stage.process()
    assert names(nodes) == []
    store.faults.full = False
    other = stage.process("two")  # its first trial is not a minute away
    stage.rows.holder = "two"
    wait(lambda: names(nodes) == names(other) == ["a"])


def test_read_order_puts_up_before_suspect_idle_before_busy_and_paused_last(stage: Stage) -> None:
    for name in "abcd":
        stage.node(name)
    nodes = stage.process()
    stage.rows.set_mode("a", "paused", None)
    stage.rows.set_mode("d", "retired", None)
    wait(lambda: nodes.all()["a"].mode is NodeMode.PAUSED and nodes.all()["d"].mode is NodeMode.RETIRED)
    nodes.store("c").put("x", b"data", foreground(0))
    with nodes.store("c").get("x", Deadline(5)):
        assert list(nodes.read_order("abcd")) == ["b", "c", "a"]
    nodes.store("b").put("x", b"data", foreground(0))
    with nodes.store("b").get("x", Deadline(5)):
        assert list(nodes.read_order("abcd")) == ["c", "b", "a"]
    assert names(nodes) == ["b", "c"]


def test_a_pause_ends_at_its_time(stage: Stage) -> None:
    stage.node("a", mode=NodeMode.PAUSED, mode_until=time.time() + 0.2)
    nodes = stage.process()
    assert names(nodes) == []
    wait(lambda: names(nodes) == ["a"])


def test_a_late_identity_check_is_made_up_for_before_use(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    store = stage.node("a")
    nodes = stage.process()
    nodes.stop()  # no more probes
    monkeypatch.setattr("common.blobstore.watch.FRESH_FOR", 0.0)
    asked = len(store.calls)
    nodes.store("a")
    assert store.calls[asked:] == [("get", IDENTITY_NAME)]
    store.wipe()
    with pytest.raises(NodeBusy):
        nodes.store("a")


def test_only_the_holder_of_the_lease_writes_verdicts(stage: Stage) -> None:
    stage.node("a")
    stage.rows.holder = "somebody else"
    nodes = stage.process()
    stage.stores["a"].faults.down = True
    becomes(nodes, "a", NodeHealth.DOWN)
    assert stage.rows.verdicts == {}


def test_stopping_gives_the_lease_back(stage: Stage) -> None:
    stage.node("a")
    nodes = stage.process()
    assert stage.rows.holder == "one"
    nodes.stop()
    assert stage.rows.holder == ""


def test_the_holder_raises_the_epoch_blob_first(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.nodes.EPOCH_SECONDS", 0.0)
    monkeypatch.setattr("common.nodes.REFRESH_SECONDS", 0.02)
    store = stage.node("a")
    seen: list[tuple[int, int]] = []

    def look(operation: str, _name: str) -> None:
        identity = stage.identity("a")
        if operation == "get" and identity is not None:
            seen.append((identity.epoch, stage.rows.rows["a"].epoch))

    store.faults.before = look
    stage.process()
    wait(lambda: stage.rows.rows["a"].epoch >= 4)
    assert all(blob >= row for blob, row in seen)


def test_a_node_whose_credentials_are_not_there_is_shown_down_and_comes_with_them(stage: Stage) -> None:
    stage.rows.add("a")

    def open_node(node: Node) -> MemoryStore:
        if node.id not in stage.stores:
            raise ConfigurationError("its credentials file must be readable")
        return stage.stores[node.id]

    nodes = Nodes(cast(catalogue.Nodes, stage.rows), stage.rows, Settings(probe_interval=INTERVAL), "one", open_node)
    stage.started.append(nodes)
    nodes.start()
    assert nodes.all()["a"].health is NodeHealth.DOWN
    assert "credentials" in (nodes.all()["a"].last_error or "")
    stage.stores["a"] = MemoryStore()
    wait(lambda: names(nodes) == ["a"])


def foreign(stage: Stage, present: Identity | None) -> MemoryStore:
    store = stage.node("a", identity="foreign", epoch=3)
    if present is not None:
        store.created, store.blobs[IDENTITY_NAME] = True, (present.encode(), 0.0)
    return store


@pytest.mark.parametrize(
    "present",
    [None, Identity("cluster", "a", "generation", 1), Identity("cluster", "a", "older", 9)],
    ids=["wiped", "old disk", "before a restore"],
)
def test_accepting_writes_the_identity_anew_and_doubts_every_stored_copy(
    stage: Stage, present: Identity | None
) -> None:
    store = foreign(stage, present)
    stage.rows.stored = 2500
    assert accept(stage.rows.rows["a"], store, cast(catalogue.Nodes, stage.rows)) == 2500
    identity = stage.identity("a")
    assert identity is not None
    assert (identity.generation, identity.epoch > 3) == ("generation", True)
    assert stage.rows.rows["a"].identity == "known"


def test_an_acceptance_that_breaks_off_leaves_the_node_foreign(stage: Stage) -> None:
    store = foreign(stage, None)
    stage.rows.stored, stage.rows.away = 2500, True
    with pytest.raises(CatalogueUnavailable):
        accept(stage.rows.rows["a"], store, cast(catalogue.Nodes, stage.rows))
    assert stage.identity("a") is None
    assert stage.rows.rows["a"].identity == "foreign"


def test_an_acceptance_that_takes_too_long_is_gone_on_with_by_the_next_call(stage: Stage) -> None:
    store = foreign(stage, None)
    stage.rows.stored = 2500
    rows = cast(catalogue.Nodes, stage.rows)
    with pytest.raises(Unavailable):
        accept(stage.rows.rows["a"], store, rows, patience=-1)
    assert (stage.rows.stored, stage.rows.rows["a"].identity, stage.identity("a")) == (1500, "foreign", None)
    assert accept(stage.rows.rows["a"], store, rows) == 1500
    assert stage.rows.rows["a"].identity == "known"


def test_a_healthy_node_is_not_accepted_anew(stage: Stage) -> None:
    stage.node("a")
    nodes = stage.process()
    stage.rows.stored = 10
    with pytest.raises(Conflict, match="not foreign"):
        nodes.accept("a")
    assert stage.rows.stored == 10


def test_a_node_that_another_process_has_just_seen_as_foreign_is_accepted_by_this_one(stage: Stage) -> None:
    stage.node("a")
    nodes = stage.process(interval=3600)
    assert nodes.all()["a"].health is NodeHealth.UP
    stage.rows.rows["a"] = replace(stage.rows.rows["a"], identity="foreign", health=NodeHealth.FOREIGN)
    nodes.accept("a")
    assert stage.rows.rows["a"].identity == "known"


def test_the_identity_of_another_node_is_not_accepted(stage: Stage) -> None:
    store = foreign(stage, Identity("cluster", "b", "generation", 3))
    with pytest.raises(Conflict, match="another node"):
        accept(stage.rows.rows["a"], store, cast(catalogue.Nodes, stage.rows))
    assert stage.rows.rows["a"].identity == "foreign"


@pytest.mark.parametrize("fault", ["down", "full", "refuses"])
def test_a_node_that_refuses_writes_is_not_accepted(stage: Stage, fault: str) -> None:
    store = foreign(stage, None)
    setattr(store.faults, fault, True)
    with pytest.raises(Conflict, match="restart"):
        accept(stage.rows.rows["a"], store, cast(catalogue.Nodes, stage.rows))
    assert stage.rows.rows["a"].identity == "foreign"


def test_an_accepted_node_serves_again(stage: Stage) -> None:
    store = stage.node("a")
    nodes = stage.process()
    store.wipe()
    wait(lambda: nodes.all()["a"].identity == "foreign")
    nodes.accept("a")
    wait(lambda: names(nodes) == ["a"])
    becomes(nodes, "a", NodeHealth.UP)
