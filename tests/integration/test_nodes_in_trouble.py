"""A process's view of real nodes over a real catalogue: killed, hung and wiped ones, within the times of the design."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.blobstore.base import Deadline
from common.catalogue.migrate import upgrade
from common.catalogue.sql import SqlCatalogue, open_catalogue
from common.model.nodes import NodeHealth, NodeSpec
from common.nodes.watched_nodes import WatchedNodes
from common.settings import Settings
from tests.conftest import NodeFactory
from tests.support.running_time import running_time
from tests.support.servers import RealNode
from tests.support.waiting import wait_until


class Stage:
    """Three nodes, their rows, and one process that watches them."""

    def __init__(self, folder: Path, real: list[RealNode]) -> None:
        self.real = {node.spec.name: node for node in real}
        for node in real:
            shutil.copy(node.credentials_file, folder)
        self.catalogue: SqlCatalogue = open_catalogue(f"sqlite:///{folder}/catalogue.db")
        upgrade(self.catalogue)
        self.catalogue.nodes.register([node.spec for node in real])
        self.settings = Settings(credentials_dir=folder)
        self.nodes = WatchedNodes(self.catalogue.nodes, self.catalogue.leases, self.settings, "one")
        self.nodes.start()
        wait_until(lambda: {self.health(name) for name in self.real} == {NodeHealth.UP}, 10, "all nodes are up")

    def health(self, name: str) -> NodeHealth:
        return next(node.health for node in self.nodes.all().values() if node.spec.name == name)

    def shared(self, name: str) -> tuple[str, NodeHealth]:
        return next((row.identity, row.health) for row in self.catalogue.nodes.all() if row.spec.name == name)

    def id(self, name: str) -> str:
        return next(node.id for node in self.nodes.all().values() if node.spec.name == name)

    def close(self) -> None:
        self.nodes.stop()
        self.catalogue.close()


@pytest.fixture
def stage(tmp_path: Path, node_factory: NodeFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path, [node_factory(name) for name in ("node1", "node2", "node3")])
    yield stage
    stage.close()


def within(seconds: float, condition: Callable[[], bool], what: str) -> None:
    """Of the seconds in which this machine runs."""
    until = running_time().now() + seconds
    while not condition():
        assert running_time().now() < until, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.02)


def test_a_killed_node_is_down_within_eight_seconds_and_up_again_once_it_is_back(stage: Stage) -> None:
    stage.real["node2"].kill()
    within(8, lambda: stage.health("node2") is NodeHealth.DOWN, "down")
    assert len(stage.nodes.candidates()) == 2
    within(4, lambda: stage.shared("node2") == ("known", NodeHealth.DOWN), "shared")
    stage.real["node2"].start()
    within(8, lambda: stage.health("node2") is NodeHealth.UP, "up")
    stage.nodes.store(stage.id("node2")).put("blobs/00/x", b"data", Deadline(5))


def test_a_hung_node_is_down_soon_and_the_others_answer_meanwhile(stage: Stage) -> None:
    stage.real["node1"].pause()
    puts: list[float] = []

    def down_after_another_put() -> bool:
        started = running_time().now()
        stage.nodes.store(stage.id("node3")).put("blobs/00/x", b"data", Deadline(5))
        puts.append(running_time().now() - started)
        return stage.health("node1") is NodeHealth.DOWN

    within(12, down_after_another_put, "down")
    assert max(puts) < 1
    stage.real["node1"].resume()
    within(12, lambda: stage.health("node1") is NodeHealth.UP, "up")


def test_a_node_that_lost_its_disk_is_foreign_until_it_is_accepted(stage: Stage) -> None:
    stage.real["node3"].stop()
    stage.real["node3"].wipe()
    stage.real["node3"].start_without_bucket()
    within(20, lambda: stage.shared("node3") == ("foreign", NodeHealth.FOREIGN), "foreign")
    assert stage.id("node3") not in stage.nodes.readable()
    assert stage.nodes.accept(stage.id("node3")) == 0
    within(15, lambda: stage.shared("node3") == ("known", NodeHealth.UP), "up")
    stage.nodes.store(stage.id("node3")).put("blobs/00/x", b"data", Deadline(5))


def test_two_buckets_of_one_server_are_two_nodes(stage: Stage) -> None:
    spec = stage.real["node1"].spec
    stage.catalogue.nodes.register([NodeSpec("node4", spec.endpoint, "another-bucket", spec.credentials)])
    within(10, lambda: stage.shared("node4") == ("known", NodeHealth.UP), "known and up")
    assert len(stage.nodes.candidates()) == 4
