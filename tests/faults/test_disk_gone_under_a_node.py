"""A SeaweedFS loses its disk while it runs, and goes on as if it had it (scenario 7): Bóveda does not believe it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.history import History
from tests.support.cluster import Cluster
from tests.support.shared import wish
from tests.support.waiting import wait_until

CLUSTER = wish("--node-kind", "seaweedfs")


def emptied(disk: Path) -> None:
    for path in disk.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def removed(disk: Path) -> None:
    shutil.rmtree(disk)


def moved_away(disk: Path) -> None:
    disk.rename(disk.with_name("moved-away"))
    disk.mkdir()


@pytest.mark.parametrize("lose", [emptied, removed, moved_away], ids=lambda lose: lose.__name__)
def test_a_node_whose_disk_is_gone_is_foreign_and_filled_again_once_it_was_accepted(
    cluster: Cluster, lose: Callable[[Path], None]
) -> None:
    history = History(cluster, lose.__name__)
    history.upload_many(10)
    cluster.wait_converged()
    before = cluster.process("node2")
    lose(Path(before["data"]))
    wait_until(lambda: cluster.states()["node2"] == "foreign", 30, "node2 is foreign")
    assert cluster.process("node2")["pid"] not in (None, before["pid"]), "it was started anew"
    history.upload_many(10)
    assert (history.refused, history.wrong()) == ([], [])
    wait_until(lambda: accepted(cluster), 15, "the empty disk is accepted")
    cluster.wait_converged()
    assert (history.wrong(), history.wrong_on(cluster.nodes())) == ([], [])


def accepted(cluster: Cluster) -> bool:
    """An API process that has not seen the disk itself yet refuses."""
    return cluster.ask("PATCH", "/v1/nodes/node2", json={"accept": True}).status == 200


def test_nodes_with_their_disks_are_left_alone(cluster: Cluster) -> None:
    before = {process["name"]: process["pid"] for process in cluster.processes("node")}
    history = History(cluster, "alone")
    history.upload_many(50)
    cluster.wait_converged()
    assert {process["name"]: process["pid"] for process in cluster.processes("node")} == before
