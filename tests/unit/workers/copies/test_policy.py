"""The table of what is decided about a blob's copies, with literal rows. In placement order the nodes are a to g.

A copy is written `node:state`, with the times at which it was stored and verified where they matter.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from common.model.copies import CopyState
from common.model.nodes import Node, NodeHealth, NodeMode, NodeSpec
from common.model.relocation import BlobCopies, CopyRow
from common.model.versions import Blob
from common.placement import Candidate, order
from workers.copies.policy import Plan, Scene, plan

NOW = 10_000.0
BLOB = Blob("b" * 32, 0, 0, 5, 93, b"d" * 32, b"s" * 24)
STATES = {"+": CopyState.STORED, "-": CopyState.MISSING, "?": CopyState.SUSPECT, "x": CopyState.DOOMED}


def version_with(names: str, zones: dict[str, str] | None = None) -> str:
    """A version whose placement order is these nodes'."""
    nodes = [Candidate(name, (zones or {}).get(name, ""), 1.0) for name in names]
    number = 0
    while list(order(f"v{number}", nodes)) != list(names):
        number += 1
    return f"v{number}"


VERSION = version_with("abcdefg")


def node(name: str, mark: str = "", zone: str = "") -> Node:
    """`down` 1,000 s ago, `fell` 10 s ago; `full` takes no writes since 10 s, `stuffed` since 1,000 s."""
    mode = NodeMode(mark) if mark in tuple(NodeMode) else NodeMode.ACTIVE
    health = {"down": NodeHealth.DOWN, "fell": NodeHealth.DOWN, "foreign": NodeHealth.FOREIGN}.get(mark, NodeHealth.UP)
    health = NodeHealth.SUSPECT if mark == "suspect" else health
    since = NOW - (10 if mark == "fell" else 1000)
    spec = NodeSpec(name, f"http://{name}", "boveda", name, zone=zone)
    full = {"full": NOW - 10, "stuffed": NOW - 1000}.get(mark)
    return Node(name, spec, mode, None, full is None, "known", 1, health, since, None, None, full)


def scene(nodes: str) -> Scene:
    """Nodes as `a b:down c:draining`."""
    return Scene.of([node(*word.split(":")) for word in nodes.split()], NOW, 900)


def blob(rows: str, wanted: int = 3, version: str = VERSION) -> BlobCopies:
    """Rows as `a+ b+100 c+100/200 d- e? *-`: `*` is no node, +stored/verified. Ids count from 1."""
    made = []
    for number, word in enumerate(rows.split(), 1):
        stored, _, verified = word[2:].partition("/")
        there = STATES[word[1]] in (CopyState.STORED, CopyState.SUSPECT)
        made.append(
            CopyRow(
                number,
                0,
                None if word[0] == "*" else word[0],
                STATES[word[1]],
                float(stored or 100) if there else None,
                float(verified) if verified else None,
            )
        )
    return BlobCopies(BLOB, version, wanted, made)


def said(decision: Plan, copies: BlobCopies) -> str:
    """The decision in words, by nodes."""
    on = {row.id: row.node_id or "*" for row in copies.rows}
    words = []
    if decision.move:
        words += [f"add {node_id or '*'}" for node_id in decision.move.add]
        words += [f"doom {on[copy_id]}" for copy_id in decision.move.doom]
        words += [f"delete {on[copy_id]}" for copy_id in decision.move.delete]
    words += [f"prove {row.node_id}" for row in decision.unproven]
    return ", ".join(words) or ("wait" if decision.waiting else "nothing")


PROVEN = "a+100/200 b+100/200 c+100/200"
TABLE: Sequence[tuple[str, str, str, str]] = [
    # why, nodes, rows, decision
    ("all is well", "a b c d", "a+ b+ c+", "nothing"),
    ("copies are still being made", "a b c d", "a+ b- c-", "nothing"),
    ("a suspect copy counts", "a b c d", "a+ b? c+", "nothing"),
    # too few count
    ("a node fell a moment ago", "a b c:fell d", "a+ b+ c+", "nothing"),
    ("a node is down for long", "a b c:down d", "a+ b+ c+", "add d"),
    ("a node is foreign for long", "a b c:foreign d", "a+ b+ c+", "add d"),
    ("a paused node counts", "a b c:paused d", "a+ b+ c+", "nothing"),
    ("a full node counts", "a b c:full d", "a+ b+ c+", "nothing"),
    ("a draining node does not count", "a b c:draining d", "a+ b+ c+", "add d"),
    ("the next in order is full", "a b c:draining d:full e", "a+ b+ c+", "add e"),
    ("the next in order is paused", "a b c:draining d:paused e", "a+ b+ c+", "add e"),
    ("the next in order is draining too", "a b c:draining d:draining e", "a+ b+ c+", "add e"),
    ("the next in order is to delete its copy first", "a b c:draining d e", "a+ b+ c+ dx", "add e"),
    ("no node is left: what is there stays", "a b c:draining", "a+ b+ c+", "wait"),
    ("no node is left for a node that is down", "a b c:down", "a+ b+ c+", "nothing"),
    ("it is made already", "a b c:down d", "a+ b+ c+ d-", "nothing"),
    ("it was made already", "a b c:down d", "a+ b+ c+ d+", "nothing"),
    ("two nodes are emptied", "a b:draining c:draining d e", "a+ b+ c+", "add d, add e"),
    ("a row was lost altogether", "a b c d", "a+ b+", "add c"),
    ("a row was lost, and nobody can take it", "a b", "a+ b+", "add *"),
    ("a row without a node waits for one", "a b c:draining", "a+ b+ *-", "nothing"),
    ("a row without a node has become needless", "a b c d", "a+ b+ c- *-", "delete *"),
    # missing rows that are replaced
    ("a missing row on a draining node is replaced", "a b c:draining d", "a+ b+ c-", "add d, doom c"),
    ("a missing row on a dead node is replaced", "a b c:down d", "a+ b+ c-", "add d, doom c"),
    ("a missing row that nothing replaces stays", "a b c:down", "a+ b+ c-", "nothing"),
    ("two missing rows are replaced", "a:down b:down c d e f g", "a- b- c+", "add d, add e, doom a, doom b"),
    ("of two, one is replaced: the later one goes", "a:down b:down c d e:full f:full g:full", "a- b- c+",
     "add d, doom b"),
    ("a missing row on a full node stays", "a b c:full d", "a+ b+ c-", "nothing"),
    ("a missing row on a node that was full for long is replaced", "a b c:stuffed d", "a+ b+ c-", "add d, doom c"),
    ("what lies on it stays", "a b c:stuffed d", "a+ b+ c+", "nothing"),
    ("and what is doubted there", "a b c:stuffed d", "a+ b+ c?", "nothing"),
    ("no other node can take it", "a b c:stuffed d:full", "a+ b+ c-", "nothing"),
    ("it was replaced, and is full no more", "a b c d", "a+ b+ d+ cx", "nothing"),
    ("a copy without which there are enough", "a b c:stuffed d", "a+ b+ c- d+", "doom c"),
    ("a node that is full and away", "a b c:stuffed d:fell e:fell f:fell", "a+ b+ c-", "nothing"),
    # the brake
    ("one of three is down: a third is not more than a third", "a:down b d", "a+ b+", "add d"),
    ("two of four are down", "a b c:down d:down e:draining", "a+ b+ c+ d+ e+", "nothing"),
    ("two of four are foreign or just fell", "a b c:foreign d:fell", "a+ b+ c+", "nothing"),
    ("retired ones are not counted for the brake", "a b c:down d e:retired", "a+ b+ c+", "add d"),
    ("there is no node at all", "", "", "nothing"),
    ("all nodes are retired", "a:retired b:retired", "a+ b+", "nothing"),
    # surplus
    ("four are stored, none was read", "a b c d", "a+ b+ c+ d+", "prove a, prove b, prove c"),
    ("the keepers are proven: the last in order goes", "a b c d", f"{PROVEN} d+", "doom d"),
    ("its order decides, not its age", "a b c d", "d+100/200 c+100/200 b+100/200 a+150", "prove a"),
    ("one was stored after it was read", "a b c d", "a+250 b+100/200 c+100/200 d+", "prove a, prove b, prove c"),
    ("one was read before the last was stored", "a b c d", "a+100/200 b+100/150 c+180/200 d+", "prove b"),
    ("at the same moment is not later", "a b c d", "a+100/200 b+100/100 c+100/200 d+", "prove b"),
    ("the emptied node's copy goes", "a:draining b c d", "a+100/200 b+100/200 c+100/200 d+100/200", "doom a"),
    ("a keeper is suspect", "a b c d", "a?100/200 b+100/200 c+100/200 d+100/200", "wait"),
    ("a keeper is not made yet", "a b c d", "a- b+100/200 c+100/200 d+100/200", "wait"),
    ("a keeper's node is suspect", "a:suspect b c d", f"{PROVEN} d+", "wait"),
    ("a keeper's node fell", "a:fell b c d", f"{PROVEN} d+", "wait"),
    ("a suspect copy is surplus", "a b c d", f"{PROVEN} d?", "doom d"),
    ("a missing copy is surplus", "a b c d", f"{PROVEN} d-", "doom d"),
    ("a copy on a node that is away stays until it returns", "a b c d:down", f"{PROVEN} d+", "nothing"),
    ("a copy on a node that just fell stays too", "a b c d:fell", f"{PROVEN} d+", "nothing"),
    ("an emptied node that is away is emptied all the same", "a b c d:draining e f:down", f"{PROVEN} d+", "doom d"),
    ("what a full node cannot take keeps no emptied node", "a:full b c d e:draining",
     "a- b+100/200 c+100/200 d+100/200 e+", "doom a, doom e"),
    ("fewer are good than wanted", "a b c:draining d", "a+100/200 b+100/200 c+100/200 d?", "wait"),
    ("two copies would be enough, and only one is right", "a b:draining", "a+100/200 b+100/200", "add *"),
    # lost nodes
    ("a lost node's copy is forgotten, and made elsewhere", "a b c:retired d", "a+ b+ c+", "add d, delete c"),
    ("a lost node's missing copy too", "a b c:retired d", "a+ b+ c-", "add d, delete c"),
    ("nobody can take it: the rows still say three", "a b c:retired", "a+ b+ c+", "add *, delete c"),
    ("it was the only good copy: its row stays", "a b c:retired d", "a- b- c+", "nothing"),
    ("its row stays while only an emptied node has another", "a:draining b c:retired d", "a+ b- c+", "add d"),
    ("only a doubted one is elsewhere: its row stays", "a b c:retired d", "a? b- c+", "add d"),
    ("all were lost: the object is shown as unavailable", "a:retired b:retired c:retired d e f", "a+ b+ c+", "nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "nodes", "rows", "decision"), TABLE, ids=[row[0] for row in TABLE])
def test_decision(why: str, nodes: str, rows: str, decision: str) -> None:
    copies = blob(rows)
    assert said(plan(copies, scene(nodes)), copies) == decision


REBALANCE: Sequence[tuple[str, str, str, str]] = [
    ("all lie where they belong", "a b c d", "a+ b+ c+", "nothing"),
    ("one is to go where it belongs", "a b c d", "a+ b+ d+", "add c"),
    ("all are", "a b c d e f g", "e+ f+ g+", "add a, add b, add c"),
    ("it is on the way", "a b c d", "a+ b+ d+ c-", "wait"),
    ("it has arrived", "a b c d", "a+ b+ d+ c+", "prove a, prove b, prove c"),
    ("it is proven", "a b c d", f"{PROVEN} d+", "doom d"),
    ("where it belongs is full", "a b c:full d", "a+ b+ d+", "nothing"),
    ("where it belongs has been full for long", "a b c:stuffed d", "a+ b+ d+", "nothing"),
    ("what it lacks is made elsewhere, and not put back", "a b c:stuffed d e", "a+ b+ c-", "add d, doom c"),
    ("where it belongs a copy is being deleted", "a b c d", "a+ b+ d+ cx", "nothing"),
    ("a copy on a paused node has its place", "a:paused b c d", "a+ b+ c+", "nothing"),
    ("a copy on a full node has its place", "a:full b c d", "a+ b+ c+", "nothing"),
    ("the brake holds", "a b c d:down e:down", "d+ e+ a+", "nothing"),
    ("what is missing is made where it belongs", "a b c d:down", "a+ b+ d+", "add c"),
]


@pytest.mark.parametrize(("why", "nodes", "rows", "decision"), REBALANCE, ids=[row[0] for row in REBALANCE])
def test_decision_of_a_rebalance(why: str, nodes: str, rows: str, decision: str) -> None:
    copies = blob(rows)
    assert said(plan(copies, scene(nodes), rebalance=True), copies) == decision


def test_a_copy_is_made_in_a_zone_that_has_none_before_one_that_has() -> None:
    zones = {"a": "north", "b": "south", "c": "west", "d": "north", "e": "west"}
    names = order(VERSION, [Candidate(name, zone, 1.0) for name, zone in zones.items()])
    assert "".join(names[:3]) == "abc"
    nodes = [node("a", "", "north"), node("b", "", "south"), node("c", "down", "west"), node("d", "", "north")]
    copies = blob("a+ b+ c+")
    moved = plan(copies, Scene.of([*nodes, node("e", "", "west")], NOW, 900))
    assert said(moved, copies) == "add e"


def test_rows_on_a_node_that_this_look_does_not_know_are_left_alone() -> None:
    copies = blob("a+ b+ c+")
    assert said(plan(copies, scene("a b d e")), copies) == "wait"
