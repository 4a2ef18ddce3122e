"""A node dies while Redis is down: every process sees it within ten seconds, and its return as well."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
import urllib3

from tests.support.cluster import Cluster
from tests.support.shared import wish
from tests.support.waiting import wait_until

pytestmark = pytest.mark.alone

CLUSTER = wish(quick=False)
DOWN, UP = 0.0, 2.0
SEEN = re.compile(r'^boveda_node_seen\{node="(\w+)"(?:,pid="(\d+)")?\} ([\d.]+)$', re.MULTILINE)


def seen(cluster: Cluster, name: str) -> Mapping[str, float]:
    """The node as each process that answers sees it: the API's by their pids, the workers by their names."""
    found: dict[str, float] = {}
    places = {"api": cluster.url} | {worker["name"]: worker["endpoint"] for worker in cluster.processes("worker")}
    for place, url in places.items():
        try:
            text = urllib3.request("GET", f"{url}/metrics", retries=False).data.decode()
        except urllib3.exceptions.HTTPError:
            continue
        found |= {f"{place} {pid}".strip(): float(value) for node, pid, value in SEEN.findall(text) if node == name}
    return found


def all_see(cluster: Cluster, name: str, how: float) -> bool:
    """Whether three API processes and all workers see the node so."""
    found = seen(cluster, name)
    return len(found) == 3 + len(cluster.processes("worker")) and set(found.values()) == {how}


def test_a_killed_node_is_seen_down_by_every_process_though_redis_is_down_too(cluster: Cluster) -> None:
    wait_until(lambda: all_see(cluster, "node2", UP), 60, "all processes have started and see it up")
    cluster.act("kill", "queue")
    cluster.act("kill", "node2")
    took = wait_until(lambda: all_see(cluster, "node2", DOWN), 10, "all processes see it down")
    assert took < 10
    wait_until(lambda: cluster.states()["node2"] == "down", 10 - took, "the shared verdict")
    assert all_see(cluster, "node1", UP)
    assert cluster.put("without-both", b"x").status == 201

    cluster.act("start", "node2")
    wait_until(lambda: all_see(cluster, "node2", UP), 15, "all processes see it up again")
    cluster.act("start", "queue")
    cluster.wait_converged()
