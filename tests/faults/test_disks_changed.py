"""An empty, swapped or stale disk behind a node's name: it takes no part until an operator accepts it. Scenario 7."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from common.model.names import IDENTITY_NAME
from tests.faults.history import History
from tests.support.cluster import Cluster
from tests.support.nodes import DirectNode
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def nodes(cluster: Cluster) -> Mapping[str, DirectNode]:
    return {process["name"]: DirectNode(process) for process in cluster.processes("node")}


@pytest.fixture(scope="module")
def history(cluster: Cluster) -> History:
    made = History(cluster, "kept")
    made.upload_many(200)
    assert all(made.upload(16 * 1024 * 1024) for _ in range(3))
    cluster.wait_converged(90)
    return made


def accept(cluster: Cluster, name: str) -> str:
    """Ask for it until an API process that has seen the disk itself answers; what it says, empty when it is done."""
    json_body = {"Content-Type": "application/json"}

    said = []

    def refused() -> bool:
        answer = cluster.ask("PATCH", f"/v1/nodes/{name}", body=b'{"accept": true}', headers=json_body)
        said.append("" if answer.status == 200 else f"{answer.status} {answer.json()['detail']}")
        return "is not foreign" in said[-1]

    wait_until(lambda: not refused(), 15, "an answer")
    return said[-1]


def data(cluster: Cluster, name: str) -> Path:
    return Path(cluster.process(name)["data"])


def names_wanted(cluster: Cluster, history: History) -> set[str]:
    """Blobs of all acknowledged objects."""
    names = set()
    for key in history.acknowledged:
        found = cluster.ask("GET", f"/v1/buckets/archivos/copies/{key}").json()["copies"]
        names |= {copy["blob_key"] for copy in found}
    return names


def verified_never(cluster: Cluster, history: History, node: str) -> set[str]:
    names = set()
    for key in history.acknowledged:
        for copy in cluster.ask("GET", f"/v1/buckets/archivos/copies/{key}").json()["copies"]:
            if copy["node"] == node and copy["verified_at"] is None:
                names.add(copy["blob_key"])
    return names


def wait_state(cluster: Cluster, name: str, state: str) -> None:
    wait_until(lambda: cluster.states()[name] == state, 30, f"{name} is {state}")


def test_an_empty_disk_is_filled_again_once_it_was_accepted(
    cluster: Cluster, nodes: Mapping[str, DirectNode], history: History
) -> None:
    wanted = names_wanted(cluster, history)
    before = {name: nodes["node1"].read(name) for name in wanted}
    cluster.act("stop", "node2")
    shutil.rmtree(data(cluster, "node2"))
    data(cluster, "node2").mkdir()
    cluster.act("start", "node2")
    wait_state(cluster, "node2", "foreign")
    assert history.wrong() == []
    assert accept(cluster, "node2") == ""
    took = wait_until(lambda: wanted <= nodes["node2"].names(), 60, "everything lies on it again")
    assert took < 60
    cluster.wait_converged()
    assert {name: nodes["node2"].read(name) for name in wanted} == before
    assert history.wrong() == []


def test_swapped_disks_take_no_part_are_not_accepted_and_are_right_again_when_swapped_back(
    cluster: Cluster, history: History
) -> None:
    def swap() -> None:
        for name in ("node1", "node2"):
            cluster.act("stop", name)
        # The buckets alone: what else a server keeps on its disk is sealed under its own credentials.
        one, two = (data(cluster, name) / "boveda" for name in ("node1", "node2"))
        aside = one.with_name("aside")
        one.rename(aside)
        two.rename(one)
        aside.rename(two)
        for name in ("node1", "node2"):
            cluster.act("start", name)

    swap()
    for name in ("node1", "node2"):
        wait_state(cluster, name, "foreign")
        assert accept(cluster, name).startswith("409 the bucket of node")
    assert history.wrong() == []
    swap()
    for name in ("node1", "node2"):
        wait_state(cluster, name, "up")
    cluster.wait_converged()
    assert history.wrong() == []


def test_a_stale_disk_counts_again_only_after_it_was_accepted_and_read(
    cluster: Cluster, nodes: Mapping[str, DirectNode], history: History
) -> None:
    node = nodes["node3"]
    identity = json.loads(node.read(IDENTITY_NAME) or b"")
    wanted = sorted(names_wanted(cluster, history))
    lost, rolled_back = wanted[:20], wanted[20]
    cluster.act("stop", "scrub")
    before = {name: node.read(name) for name in wanted}
    # As a disk from before these were written: an older epoch, without the newest blobs, one of them other bytes.
    node.write(IDENTITY_NAME, json.dumps({**identity, "epoch": identity["epoch"] - 1}).encode())
    wait_state(cluster, "node3", "foreign")
    for name in lost:
        node.remove(name)
    node.write(rolled_back, b"an older disk's bytes")
    cluster.act("start", "scrub")
    assert accept(cluster, "node3") == ""
    wait_until(lambda: {name: node.read(name) for name in wanted} == before, 60, "everything is right there again")
    cluster.wait_converged()
    assert not {name for name in verified_never(cluster, history, "node3") if name not in lost}
    assert history.wrong() == []
