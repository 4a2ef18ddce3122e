"""A node's disk is full or read-only (scenario 2): clients do not notice, and it takes part again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.history import History
from tests.faults.small_disk import fill, read_only, small_disk
from tests.support.cluster import Cluster
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def disk(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Node 2 on a small disk of its own."""
    data = Path(cluster.process("node2")["data"])
    cluster.act("stop", "node2")
    aside = tmp_path_factory.mktemp("aside") / "data"
    shutil.move(data, aside)
    with small_disk(data, 200) as mounted:
        # What MinIO has thrown away of earlier objects may be more than there is room for.
        shutil.copytree(aside, mounted, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".trash"))
        cluster.act("start", "node2")
        wait_until(lambda: cluster.states()["node2"] == "up", 30, "node2 is up on its small disk")
        yield mounted
        cluster.act("stop", "node2")
        shutil.rmtree(aside)
        shutil.copytree(mounted, aside)
    data.rmdir()
    shutil.move(aside, data)
    cluster.act("start", "node2")


def test_a_full_node_is_passed_over_serves_what_it_has_and_gets_its_copies_when_there_is_room(
    cluster: Cluster, disk: Path
) -> None:
    history = History(cluster, "full")
    history.upload_many(10)
    cluster.wait_converged()
    filler = fill(disk)
    history.upload_many(20)
    assert history.upload(9 << 20)
    assert history.refused == []
    assert history.wrong() == []
    node2 = next(node for node in cluster.ask("GET", "/v1/nodes").json()["nodes"] if node["name"] == "node2")
    assert (node2["health"], node2["writable"]) == ("up", False)
    filler.unlink()
    cluster.wait_converged(90)
    assert (history.wrong(), history.wrong_on(cluster.nodes())) == ([], [])


def test_a_node_that_can_only_read_is_passed_over_and_gets_its_copies_when_it_can_write(
    cluster: Cluster, disk: Path
) -> None:
    history = History(cluster, "read-only")
    history.upload_many(10)
    cluster.wait_converged()
    with read_only(disk):
        history.upload_many(20)
        assert history.upload(9 << 20)
        assert history.refused == []
        assert history.wrong() == []
        assert cluster.status()["copies"]["missing"] >= 20
    cluster.wait_converged(90)
    assert (history.wrong(), history.wrong_on(cluster.nodes())) == ([], [])
