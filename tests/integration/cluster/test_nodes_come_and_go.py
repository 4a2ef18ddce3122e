"""A fourth node joins a running cluster, a first one is emptied and leaves it, and the next start knows."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

from tests.integration.cluster.conftest import Cluster, Clusters
from tests.support.waiting import wait_until

OBJECTS = [f"letter{number}" for number in range(12)]


def nodes(cluster: Cluster) -> dict[str, Any]:
    found = json.loads(cluster.done("nodes", "--json"))["nodes"]
    return {node["name"]: node for node in found}


def get(cluster: Cluster, key: str) -> tuple[bytes, str]:
    with urllib.request.urlopen(f"{cluster.url}/v1/buckets/archivos/objects/{key}", timeout=10) as answer:
        return answer.read(), answer.headers["X-Copies"]


def protected(cluster: Cluster) -> bool:
    found = json.loads(cluster.done("status", "--json"))["objects"]
    return all(count == 0 for state, count in found.items() if state != "protected")


def test_a_node_joins_another_is_emptied_and_leaves_and_a_new_start_knows(clusters: Clusters) -> None:
    cluster = clusters()
    cluster.up("--workers", "1")
    for key in OBJECTS:
        cluster.put(key, key.encode())
    wait_until(lambda: protected(cluster), what="three copies of each")

    # with as many nodes as copies there is nowhere to go
    preview = cluster.run("nodes", "drain", "node1", given="n\n")
    assert preview.returncode == 1
    assert "12 fit nowhere" in preview.stderr
    assert "12 only from one copy" in cluster.done("nodes", "simulate-loss", "node1", "node2")
    assert cluster.run("nodes", "remove", "node1").returncode == 1
    assert cluster.run("cluster", "remove", "node1", "--yes").returncode == 1, "the store still has it"

    added = json.loads(cluster.done("cluster", "add", "--json"))
    assert (added["name"], added["kind"]) == ("node4", "node")
    assert nodes(cluster)["node4"]["state"] == "up"

    drained = json.loads(cluster.done("nodes", "drain", "node1", "--yes", "--wait", "--json"))
    assert (drained["copies"], drained["safe_to_remove"]) == (0, True)
    cluster.done("nodes", "remove", "node1")
    assert set(nodes(cluster)) == {"node2", "node3", "node4"}
    data = Path(cluster.processes()["node1"]["data"])
    cluster.done("cluster", "remove", "node1", "--yes")
    assert "node1" not in cluster.processes()
    assert not data.exists()
    assert all(get(cluster, key) == (key.encode(), "3/3") for key in OBJECTS)

    cluster.done("down")
    cluster.up("--workers", "1")
    wait_until(lambda: {node["state"] for node in nodes(cluster).values()} == {"up"}, what="all nodes are up")
    assert set(nodes(cluster)) == {"node2", "node3", "node4"}
    assert all(get(cluster, key) == (key.encode(), "3/3") for key in OBJECTS)

    # a restarted cluster takes one more, under a name that is free again
    cluster.done("down")
    cluster.up("--workers", "1", "--nodes", "4")
    wait_until(lambda: nodes(cluster).get("node1", {}).get("state") == "up", what="the new node1 is seen")
