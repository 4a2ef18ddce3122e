"""A node comes up with another disk than its own (scenario 7): it takes no part, and is itself with the right one.

What follows when an operator accepts the other disk is told elsewhere.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common.catalogue.sql import open_catalogue
from common.model.names import IDENTITY_NAME
from tests.faults.history import History
from tests.support.cluster import Cluster
from tests.support.waiting import wait_until


@pytest.fixture
def disks(cluster: Cluster) -> dict[str, Path]:
    """The nodes' folders of data. What a test did to them is its own to undo."""
    return {row["name"]: Path(row["data"]) for row in cluster.processes("node")}


@contextmanager
def stopped(cluster: Cluster, *names: str) -> Iterator[None]:
    for name in names:
        cluster.act("stop", name)
    yield
    for name in names:
        cluster.act("start", name)


def converged(cluster: Cluster, prefix: str) -> History:
    history = History(cluster, prefix)
    history.upload_many(10)
    cluster.wait_converged()
    return history


def takes_no_part(cluster: Cluster, history: History, disk: Path) -> None:
    seen = {"node1": "up", "node2": "foreign", "node3": "up"}
    wait_until(lambda: cluster.states() == seen, 30, "node2 is foreign, and the others are up")
    before = tree(disk)
    history.upload_many(10)
    assert history.refused == []
    assert history.wrong() == []
    deleted = next(iter(history.acknowledged))
    assert cluster.delete(deleted).status == 204
    del history.acknowledged[deleted]
    wait_until(lambda: cluster.status()["copies"]["missing"] >= 10, 10, "its copies are missing")
    assert tree(disk) == before, "nothing is written to a disk that is not the node's, and nothing deleted"


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if ".minio.sys" not in path.parts}


def is_itself_again(cluster: Cluster, history: History) -> None:
    wait_until(lambda: cluster.states()["node2"] == "up", 30, "node2 is itself again")
    cluster.wait_converged()
    assert (history.wrong(), history.wrong_on(cluster.nodes())) == ([], [])


def test_an_empty_disk_behind_a_nodes_name_is_foreign_until_its_own_is_back(
    cluster: Cluster, disks: dict[str, Path], tmp_path: Path
) -> None:
    history = converged(cluster, "empty")
    with stopped(cluster, "node2"):
        shutil.move(disks["node2"], tmp_path / "own")
        disks["node2"].mkdir()
    takes_no_part(cluster, history, disks["node2"])
    with stopped(cluster, "node2"):
        shutil.rmtree(disks["node2"])
        shutil.move(tmp_path / "own", disks["node2"])
    is_itself_again(cluster, history)


def test_another_nodes_disk_is_foreign_until_its_own_is_back(
    cluster: Cluster, disks: dict[str, Path], tmp_path: Path
) -> None:
    history = converged(cluster, "another")
    with stopped(cluster, "node2", "node3"):
        shutil.move(disks["node2"], tmp_path / "own")
        shutil.copytree(disks["node3"], disks["node2"])
    takes_no_part(cluster, history, disks["node2"])
    with stopped(cluster, "node2"):
        shutil.rmtree(disks["node2"])
        shutil.move(tmp_path / "own", disks["node2"])
    is_itself_again(cluster, history)


def test_a_disk_of_before_the_last_epoch_is_foreign_until_the_latest_is_back(
    cluster: Cluster, disks: dict[str, Path], tmp_path: Path
) -> None:
    history = converged(cluster, "stale")
    with stopped(cluster, "node2"):
        shutil.copytree(disks["node2"], tmp_path / "stale")
    raise_epoch(cluster)
    history.upload_many(5)
    cluster.wait_converged()
    with stopped(cluster, "node2"):
        shutil.move(disks["node2"], tmp_path / "own")
        shutil.move(tmp_path / "stale", disks["node2"])
    takes_no_part(cluster, history, disks["node2"])
    with stopped(cluster, "node2"):
        shutil.rmtree(disks["node2"])
        shutil.move(tmp_path / "own", disks["node2"])
    is_itself_again(cluster, history)


def raise_epoch(cluster: Cluster) -> None:
    """What happens every ten minutes: first the node's identity says so, then its row."""
    node = cluster.nodes()["node2"]
    wait_until(lambda: cluster.states()["node2"] == "up", 30, "node2 is up")
    identity = json.loads(node.read(IDENTITY_NAME) or b"")
    identity["epoch"] += 1
    node.write(IDENTITY_NAME, json.dumps(identity).encode())
    catalogue = open_catalogue(f"sqlite:///{cluster.home}/catalogue.db")
    try:
        wait_until(
            lambda: {row.spec.name: row.epoch for row in catalogue.nodes.all()}["node2"] >= identity["epoch"],
            20,
            "the epoch is in the row",
        )
    finally:
        catalogue.close()
