"""What one node says, and what goes wrong with one node, is that node's: the others are used and judged as ever."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from common.blobstore.base import foreground
from common.blobstore.memory import MemoryStore
from common.catalogue.nodes import Nodes
from common.errors import NodeBusy, NodeError
from common.model.names import IDENTITY_NAME
from common.model.nodes import Node, NodeHealth
from common.nodes.health import AHEAD_MAX, EPOCH_MAX, Identity
from common.nodes.watched_nodes import WatchedNodes
from common.settings import Settings
from tests.support.waiting import wait_until
from tests.unit.common.nodes.stage import ABSURD_EPOCHS, INTERVAL, Stage, becomes, names


@pytest.fixture
def three(stage: Stage) -> WatchedNodes:
    for name in "abc":
        stage.node(name)
    nodes = stage.process()
    assert names(nodes) == ["a", "b", "c"]
    return nodes


def others_live(stage: Stage, nodes: WatchedNodes) -> None:
    """Node c takes blobs, and that node b dies shows in the rows."""
    nodes.store("c").put("x", b"data", foreground(4))
    stage.stores["b"].faults.down = True
    wait_until(lambda: stage.rows.verdicts["b"][0] is NodeHealth.DOWN)
    nodes.store("c").put("y", b"data", foreground(4))
    assert "c" in names(nodes)


def says(store: MemoryStore, epoch: str) -> None:
    """Put an identity there that is the node's own but for its epoch."""
    text = f'{{"cluster":"cluster","node":"a","generation":"generation","epoch":{epoch}}}'
    store.created, store.blobs[IDENTITY_NAME] = True, (text.encode(), 0.0)


@pytest.mark.parametrize("epoch", [*ABSURD_EPOCHS, str(2 + AHEAD_MAX), str(EPOCH_MAX)])
def test_a_known_node_with_an_absurd_epoch_is_foreign_and_no_other_is(
    stage: Stage, three: WatchedNodes, epoch: str
) -> None:
    says(stage.stores["a"], epoch)
    wait_until(lambda: stage.rows.rows["a"].identity == "foreign")
    assert stage.rows.rows["a"].epoch == 1
    wait_until(lambda: stage.rows.verdicts["a"][0] is NodeHealth.FOREIGN)
    others_live(stage, three)


@pytest.mark.parametrize("epoch", ABSURD_EPOCHS)
def test_a_new_node_with_an_absurd_epoch_is_foreign_and_keeps_what_it_says(stage: Stage, epoch: str) -> None:
    store = stage.node("a")
    says(store, epoch)
    before = store.blobs[IDENTITY_NAME]
    nodes = stage.process()
    becomes(nodes, "a", NodeHealth.FOREIGN)
    assert store.blobs[IDENTITY_NAME] == before
    assert stage.rows.rows["a"].identity == "new"


def test_an_absurd_epoch_that_is_seen_before_use_costs_its_node_alone(
    stage: Stage, three: WatchedNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    three.stop()  # no more probes: each use looks for itself
    monkeypatch.setattr("common.nodes.watch.FRESH_FOR", 0.0)
    says(stage.stores["a"], "1e400")
    with pytest.raises(NodeBusy):
        three.store("a")
    three.store("c").put("x", b"data", foreground(4))


def test_a_node_as_far_ahead_as_a_catalogue_from_a_backup_leaves_it_is_right(stage: Stage, three: WatchedNodes) -> None:
    says(stage.stores["a"], str(1 + AHEAD_MAX))
    wait_until(lambda: stage.rows.rows["a"].epoch == 1 + AHEAD_MAX)
    assert three.all()["a"].health is NodeHealth.UP


def test_an_absurd_epoch_is_forgotten_when_the_node_is_accepted(stage: Stage, three: WatchedNodes) -> None:
    says(stage.stores["a"], str(EPOCH_MAX))
    wait_until(lambda: stage.rows.rows["a"].identity == "foreign")
    three.accept("a")
    assert stage.identity("a") == Identity("cluster", "a", "generation", 2)
    becomes(three, "a", NodeHealth.UP)


def test_a_row_that_the_catalogue_cannot_write_holds_up_no_other(stage: Stage, three: WatchedNodes) -> None:
    stage.rows.broken = "a"
    stage.stores["a"].faults.full = True
    with pytest.raises(NodeError):
        three.store("a").put("x", b"data", foreground(4))
    others_live(stage, three)
    stage.rows.broken = None
    wait_until(lambda: stage.rows.rows["a"].writable is False)


def test_a_call_that_fails_unforeseen_is_its_nodes_failure(stage: Stage, three: WatchedNodes) -> None:
    def raises(_operation: str, _name: str) -> None:
        raise OverflowError("an adapter's mistake")

    stage.stores["a"].faults.before = raises
    store = three.store("a")
    with pytest.raises(NodeError):
        store.put("x", b"data", foreground(4))
    with pytest.raises(NodeError), store.get("x", foreground(4)):
        pass
    becomes(three, "a", NodeHealth.DOWN)
    wait_until(lambda: stage.rows.verdicts["a"][0] is NodeHealth.DOWN)
    others_live(stage, three)


def test_a_node_that_cannot_be_opened_is_shown_down_and_the_others_are_followed(stage: Stage) -> None:
    for name in "ac":
        stage.node(name)

    def open_node(node: Node) -> MemoryStore:
        if node.id == "a":
            raise UnicodeError("label empty or too long")
        return stage.stores[node.id]

    nodes = WatchedNodes(cast(Nodes, stage.rows), stage.rows, Settings(probe_interval=INTERVAL), "one", open_node)
    stage.started.append(nodes)
    nodes.start()
    assert nodes.all()["a"].health is NodeHealth.DOWN
    assert names(nodes) == ["c"]
    wait_until(lambda: stage.rows.verdicts["a"][0] is NodeHealth.DOWN)


def test_a_node_that_returns_with_many_copies_holds_up_no_other(
    stage: Stage, three: WatchedNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each refresh doubts as many of its copies as its time allows, and goes on from there at the next."""
    monkeypatch.setattr("common.nodes.watched_nodes.DOUBT_SECONDS", 0.0)
    monkeypatch.setattr("common.nodes.watched_nodes.REFRESH_SECONDS", 0.02)
    kept = dict(stage.stores["a"].blobs)
    stage.stores["a"].wipe()
    wait_until(lambda: stage.rows.rows["a"].identity == "foreign")
    stage.rows.rows["a"] = replace(stage.rows.rows["a"], since=1000.0)
    stage.rows.stored = 5000
    stage.stores["a"].created, stage.stores["a"].blobs = True, kept
    seen: set[int] = set()
    write = stage.rows.write_health

    def note(*arguments: object) -> bool:
        seen.add(stage.rows.stored)
        return write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(stage.rows, "write_health", note)
    wait_until(lambda: stage.rows.rows["a"].identity == "known")
    assert stage.rows.stored == 0
    assert any(0 < left < 5000 for left in seen), "verdicts are written between its pages"
