"""Copies rot, vanish and are swapped on the nodes, and nobody reads them: they are found and mended unasked.

Scenarios 15, 16, 17, 20, 24.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import pytest

from common.model.sizes import MIB
from tests.support.cluster import Cluster
from tests.support.nodes import DirectNode
from tests.support.shared import wish
from tests.support.waiting import wait_until
from workers.copies.verify import EVIDENCE_MAX

CLUSTER = wish(BOVEDA_SCRUB_PERIOD="2")
NAMES = ("node1", "node2", "node3")


@pytest.fixture(scope="module")
def nodes(cluster: Cluster) -> Mapping[str, DirectNode]:
    return {process["name"]: DirectNode(process) for process in cluster.processes("node")}


def stored(cluster: Cluster, key: str, size: int = 16 * 1024) -> tuple[bytes, str]:
    """An object with all its copies: its content and the name of its only blob."""
    body = os.urandom(size)
    assert cluster.put(key, body).status == 201
    cluster.wait_converged()
    (name,) = {copy["blob_key"] for copy in copies(cluster, key)}
    return body, name


def copies(cluster: Cluster, key: str) -> list[dict[str, str]]:
    return list(cluster.ask("GET", f"/v1/buckets/archivos/copies/{key}").json()["copies"])


def state(cluster: Cluster, key: str, node: str) -> str:
    return next(copy["state"] for copy in copies(cluster, key) if copy["node"] == node)


def evidence(node: DirectNode, name: str) -> list[bytes | None]:
    """What is kept of a blob's wrong copies on this node."""
    blob = name.split("/")[-1]
    return [node.read(found) for found in node.names("quarantine/") if found.endswith(blob)]


def wait_whole(nodes: Mapping[str, DirectNode], name: str, right: bytes) -> None:
    wait_until(
        lambda: [node.read(name) for node in nodes.values()] == [right] * 3, 40, "every node has the right bytes"
    )


def zero(before: bytes) -> bytes:
    return b""


def cut(before: bytes) -> bytes:
    return before[: len(before) // 2]


def longer(before: bytes) -> bytes:
    return before + b"x"


def rotten(before: bytes) -> bytes:
    return before[:-1] + bytes([before[-1] ^ 1])


@pytest.mark.parametrize("damage", [zero, cut, longer, rotten], ids=lambda damage: damage.__name__)
def test_wrong_bytes_that_nobody_reads_are_replaced_and_kept_as_evidence(
    cluster: Cluster, nodes: Mapping[str, DirectNode], damage: Callable[[bytes], bytes]
) -> None:
    key = f"damage-{damage.__name__}"
    body, name = stored(cluster, key)
    before = nodes["node2"].read(name)
    assert before is not None
    wrong = damage(before)
    nodes["node2"].write(name, wrong)
    wait_whole(nodes, name, before)
    assert evidence(nodes["node2"], name) == [wrong]
    assert [evidence(nodes[other], name) for other in ("node1", "node3")] == [[], []]
    wait_until(lambda: state(cluster, key, "node2") == "stored", 10, "the row says so")
    assert cluster.get(key).data == body


def test_a_copy_that_grew_beyond_what_is_kept_is_read_around_and_replaced(
    cluster: Cluster, nodes: Mapping[str, DirectNode]
) -> None:
    body, name = stored(cluster, "grown")
    before = nodes["node2"].read(name)
    assert before is not None
    cluster.act("stop", "scrub")
    for node in ("node1", "node2"):
        nodes[node].write(name, before + bytes(EVIDENCE_MAX))
    assert [cluster.get("grown").data for _ in range(24)] == [body] * 24
    cluster.act("start", "scrub")
    wait_whole(nodes, name, before)
    assert [evidence(node, name) for node in nodes.values()] == [[], [], []]
    wait_until(lambda: {state(cluster, "grown", node) for node in NAMES} == {"stored"}, 10, "the rows say so")


def test_another_blob_s_bytes_are_wrong_bytes(cluster: Cluster, nodes: Mapping[str, DirectNode]) -> None:
    _, one = stored(cluster, "swapped-1")
    _, two = stored(cluster, "swapped-2")
    node = nodes["node3"]
    first, second = node.read(one), node.read(two)
    assert first is not None
    assert second is not None
    node.write(one, second)
    node.write(two, first)
    wait_whole(nodes, one, first)
    wait_whole(nodes, two, second)
    assert (evidence(node, one), evidence(node, two)) == ([second], [first])


@pytest.mark.parametrize("lost", [("node1",), ("node1", "node3")], ids=["one", "all-but-one"])
def test_deleted_copies_that_nobody_reads_are_made_again(
    cluster: Cluster, nodes: Mapping[str, DirectNode], lost: tuple[str, ...]
) -> None:
    body, name = stored(cluster, f"deleted-{len(lost)}")
    before = nodes["node2"].read(name)
    assert before is not None
    for node in lost:
        nodes[node].remove(name)
    wait_whole(nodes, name, before)
    assert cluster.get(f"deleted-{len(lost)}").data == body


def test_a_damaged_source_is_not_spread(cluster: Cluster, nodes: Mapping[str, DirectNode]) -> None:
    _, name = stored(cluster, "source")
    cluster.act("stop", "scrub")
    before = nodes["node1"].flip(name)
    wrong = nodes["node1"].read(name)
    nodes["node2"].remove(name)
    cluster.act("start", "scrub")
    wait_whole(nodes, name, before)
    assert evidence(nodes["node1"], name) == [wrong]
    assert evidence(nodes["node2"], name) == [], "the wrong bytes never came there"


def test_three_copies_damaged_in_different_chunks_are_served_reported_and_left_as_they_are(
    cluster: Cluster, nodes: Mapping[str, DirectNode]
) -> None:
    body, name = stored(cluster, "three", 3 * MIB + 1000)
    cluster.act("stop", "scrub")
    for number, node in enumerate(NAMES):
        nodes[node].flip(name, number * MIB + 500)
    damaged = {node: nodes[node].read(name) for node in NAMES}
    cluster.act("start", "scrub")

    def letters() -> list[dict[str, object]]:
        found = cluster.ask("GET", "/v1/dead-letters").json()["dead_letters"]
        return [letter for letter in found if letter["key"] == "three"]

    wait_until(lambda: len(letters()) == 3, 40, "all three are dead letters")
    assert {letter["last_error"]["kind"] for letter in letters()} == {"no-good-copy"}  # type: ignore[index]
    assert cluster.get("three").data == body
    told = letters()
    passes = {node["name"]: node["scrub"]["passes"] for node in cluster.ask("GET", "/v1/nodes").json()["nodes"]}
    wait_until(
        lambda: all(
            node["scrub"]["passes"] >= passes[node["name"]] + 2
            for node in cluster.ask("GET", "/v1/nodes").json()["nodes"]
        ),
        60,
        "two more passes",
    )
    assert letters() == told, "it is not tried for ever"
    assert {node: nodes[node].read(name) for node in NAMES} == damaged
    assert cluster.get("three").data == body
    assert cluster.ask("DELETE", "/v1/buckets/archivos/objects/three").status == 204


def test_with_no_node_to_ask_a_scrub_finds_no_copy_good(cluster: Cluster) -> None:
    stored(cluster, "nobody")
    for name in NAMES:
        cluster.act("kill", name)
    wait_until(lambda: set(cluster.states().values()) <= {"down", "suspect"}, 15, "no node is up")
    asked = cluster.ask(
        "POST",
        "/v1/jobs",
        body=b'{"kind": "scrub", "scope": {"bucket": "archivos", "key": "nobody"}}',
        headers={"Content-Type": "application/json"},
    )
    job = asked.headers["Location"]
    wait_until(lambda: cluster.ask("GET", job).json()["state"] == "done", 60, "the job ends")
    report = cluster.ask("GET", job).json()["report"]
    assert (report["good"], report["unreachable"]) == (0, 3)
    for name in NAMES:
        cluster.act("start", name)
    wait_until(lambda: set(cluster.states().values()) == {"up"}, 40, "all nodes are back")
