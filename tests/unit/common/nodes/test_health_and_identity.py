"""Which nodes a process uses: who they are, whether they live, and what others saw of them."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import cast

import pytest

from common.blobstore.base import Deadline, foreground
from common.blobstore.memory import MemoryStore
from common.catalogue.nodes import Nodes
from common.errors import ConfigurationError, NodeBusy, NodeReadOnly
from common.model.names import IDENTITY_NAME
from common.model.nodes import Node, NodeHealth, NodeMode
from common.nodes.health import Identity
from common.nodes.watch import TRIAL_NAME, lately
from common.nodes.watched_nodes import WatchedNodes, unnoticed
from common.settings import Settings
from tests.support.waiting import wait_until
from tests.unit.common.nodes.stage import INTERVAL, Stage, becomes, names


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
    wait_until(lambda: stage.rows.rows["a"].identity == "foreign")
    becomes(nodes, "a", NodeHealth.FOREIGN)
    assert stage.identity("a") is None
    assert names(nodes) == []


def test_a_disk_that_is_mounted_again_brings_its_node_back(stage: Stage) -> None:
    store = stage.node("a")
    nodes = stage.process()
    kept = dict(store.blobs)
    store.wipe()
    wait_until(lambda: stage.rows.rows["a"].identity == "foreign")
    store.created, store.blobs = True, kept
    wait_until(lambda: stage.rows.rows["a"].identity == "known" and names(nodes) == ["a"])


def test_what_was_stored_just_before_another_disk_was_noticed_is_doubted_when_the_right_one_is_back(
    stage: Stage,
) -> None:
    store = stage.node("a")
    nodes = stage.process()
    kept = dict(store.blobs)
    store.wipe()
    wait_until(lambda: stage.rows.rows["a"].identity == "foreign")
    stage.rows.rows["a"] = replace(stage.rows.rows["a"], health=NodeHealth.FOREIGN, since=1000.0)
    stage.rows.stored = 1500
    store.created, store.blobs = True, kept
    wait_until(lambda: stage.rows.rows["a"].identity == "known" and names(nodes) == ["a"])
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
    wait_until(lambda: stage.rows.verdicts["b"][0] is NodeHealth.DOWN)
    stage.stores["b"].faults.down = False
    becomes(nodes, "b", NodeHealth.UP)
    wait_until(lambda: stage.rows.verdicts["b"][0] is NodeHealth.UP)


@pytest.fixture
def seldom_probed(stage: Stage) -> WatchedNodes:
    """A process that found node a down at its start and looks again in an hour; node a is back meanwhile."""
    store = stage.node("a", identity="known", health=NodeHealth.DOWN)
    store.created = True
    store.blobs[IDENTITY_NAME] = (Identity("cluster", "a", "generation", 0).encode(), 0.0)
    store.faults.down = True
    nodes = stage.process(interval=3600)
    store.faults.down = False
    assert nodes.readable() == set()
    return nodes


def test_a_node_that_others_see_up_is_usable_once_it_was_looked_at_again(
    stage: Stage, seldom_probed: WatchedNodes
) -> None:
    stage.rows.rows["a"] = replace(stage.rows.rows["a"], health=NodeHealth.UP)
    assert seldom_probed.look_again({"a"})
    assert seldom_probed.read_order(["a"]) == ["a"]
    assert seldom_probed.all()["a"].health is NodeHealth.SUSPECT
    seldom_probed.store("a").put("x", b"", foreground(0))


@pytest.mark.parametrize("why", ["down for all", "hung", "another disk", "retired", "not asked for"])
def test_looking_again_brings_back_no_node_that_is_really_away(
    stage: Stage, seldom_probed: WatchedNodes, why: str
) -> None:
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
    wait_until(lambda: len(stage.stores["a"].calls) > probes + 8)
    assert {node.health for node in nodes.all().values()} == {NodeHealth.SUSPECT}
    stage.stores["a"].faults.down = False
    becomes(nodes, "a", NodeHealth.UP)
    becomes(nodes, "b", NodeHealth.DOWN)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> float:
    """Seconds after which a node that does not show itself is unreachable here; verdicts are written at once."""
    monkeypatch.setattr("common.nodes.watch.PROBE_SECONDS", 0.2)
    monkeypatch.setattr("common.nodes.watched_nodes.REFRESH_SECONDS", 0.02)
    return lately(INTERVAL)


def test_nodes_that_fail_together_are_shown_to_be_unreachable_and_promise_nothing(
    stage: Stage, impatient: float
) -> None:
    for name in "abc":
        stage.node(name)
    nodes = stage.process()
    assert nodes.answering() == {"a", "b", "c"}
    wait_until(lambda: stage.rows.unseen == {"a": 0.0, "b": 0.0, "c": 0.0})
    for store in stage.stores.values():
        store.faults.down = True
    wait_until(lambda: nodes.answering() == set())
    assert names(nodes) == ["a", "b", "c"], "nothing is moved for it"
    wait_until(lambda: all(stage.rows.unseen[name] > impatient for name in "abc"))
    assert {verdict[0] for verdict in stage.rows.verdicts.values()} == {NodeHealth.SUSPECT}
    stage.stores["b"].faults.down = False
    wait_until(lambda: nodes.answering() == {"b"} and stage.rows.unseen["b"] == 0.0)
    assert stage.rows.unseen["a"] > impatient


def test_nodes_that_refuse_all_there_is_are_as_unreachable(stage: Stage, impatient: float) -> None:
    stage.node("a")
    nodes = stage.process()
    stage.stores["a"].faults.refuses = True
    wait_until(lambda: stage.rows.unseen["a"] > impatient)
    assert nodes.answering() == set()


def test_a_process_that_takes_the_verdict_over_does_not_call_a_node_reachable_it_has_not_seen(stage: Stage) -> None:
    stage.node("a", identity="known", unreachable_since=1.0)
    stage.stores["a"].faults.down = True
    nodes = stage.process()
    wait_until(lambda: "a" in stage.rows.verdicts)
    assert "a" not in stage.rows.unseen
    assert nodes.answering() == set()


def test_a_node_that_is_there_shows_itself_within_three_probes() -> None:
    assert lately(2.0) == 9.0


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
    wait_until(lambda: len(stage.stores["a"].calls) > probes + 5)
    assert names(nodes) == ["a"]
    nodes.store("a").put("x", b"", foreground(0))
    stage.rows.away = False
    wait_until(lambda: names(nodes) == ["a", "b"])


def test_nodes_added_and_removed_later_come_and_go_by_themselves(stage: Stage) -> None:
    nodes = stage.process()
    assert names(nodes) == []
    stage.node("a")
    wait_until(lambda: names(nodes) == ["a"])
    del stage.rows.rows["a"]
    wait_until(lambda: not nodes.all())
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
    assert nodes.store("a").read("x", foreground(4), 16 << 20) == b"data"
    wait_until(lambda: stage.rows.rows["a"].writable is False)


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
    wait_until(lambda: names(nodes) == names(other) == ["a"])


def test_a_setting_says_how_soon_a_full_node_is_tried_again(stage: Stage) -> None:
    store = stage.node("a")
    nodes = stage.process(trials=0.1)
    store.faults.full = True
    with pytest.raises(NodeReadOnly):
        nodes.store("a").put("y", b"", foreground(0))
    wait_until(
        lambda: stage.rows.rows["a"].writable is False and sum(name == TRIAL_NAME for _, name in store.calls) > 1
    )
    assert names(nodes) == []
    store.faults.full = False
    wait_until(lambda: names(nodes) == ["a"])


def test_read_order_puts_up_before_suspect_idle_before_busy_and_paused_last(stage: Stage) -> None:
    for name in "abcd":
        stage.node(name)
    nodes = stage.process()
    stage.rows.set_mode("a", "paused", None)
    stage.rows.set_mode("d", "retired", None)
    wait_until(lambda: nodes.all()["a"].mode is NodeMode.PAUSED and nodes.all()["d"].mode is NodeMode.RETIRED)
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
    wait_until(lambda: names(nodes) == ["a"])


def test_a_late_identity_check_is_made_up_for_before_use(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    store = stage.node("a")
    nodes = stage.process()
    nodes.stop()  # no more probes
    monkeypatch.setattr("common.nodes.watch.FRESH_FOR", 0.0)
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
    monkeypatch.setattr("common.nodes.watched_nodes.EPOCH_SECONDS", 0.0)
    monkeypatch.setattr("common.nodes.watched_nodes.REFRESH_SECONDS", 0.02)
    store = stage.node("a")
    seen: list[tuple[int, int]] = []

    def look(operation: str, _name: str) -> None:
        identity = stage.identity("a")
        if operation == "get" and identity is not None:
            seen.append((identity.epoch, stage.rows.rows["a"].epoch))

    store.faults.before = look
    stage.process()
    wait_until(lambda: stage.rows.rows["a"].epoch >= 4)
    assert all(blob >= row for blob, row in seen)


def test_a_node_whose_credentials_are_not_there_is_shown_down_and_comes_with_them(stage: Stage) -> None:
    stage.rows.add("a")

    def open_node(node: Node) -> MemoryStore:
        if node.id not in stage.stores:
            raise ConfigurationError("its credentials file must be readable")
        return stage.stores[node.id]

    nodes = WatchedNodes(cast(Nodes, stage.rows), stage.rows, Settings(probe_interval=INTERVAL), "one", open_node)
    stage.started.append(nodes)
    nodes.start()
    assert nodes.all()["a"].health is NodeHealth.DOWN
    assert "credentials" in (nodes.all()["a"].last_error or "")
    stage.stores["a"] = MemoryStore()
    wait_until(lambda: names(nodes) == ["a"])
