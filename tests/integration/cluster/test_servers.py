"""The servers of the embedded cluster and of the tests: they serve, keep their data and hide their secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.cluster.home.servers import NodeKind
from common.blobstore.base import Deadline
from common.errors import BucketMissing, NodeError
from tests.conftest import NodeFactory, QueueFactory
from tests.support.servers import RealNode, RealQueue, Server
from tests.support.waiting import wait_until


def _arguments(server: Server) -> str:
    return Path(f"/proc/{server.pid}/cmdline").read_text()


@pytest.mark.parametrize("kind", ["minio", "seaweedfs"])
def test_a_killed_node_keeps_its_blobs_and_its_address(node_factory: NodeFactory, kind: NodeKind) -> None:
    node = node_factory(kind=kind)
    store = node.store()
    store.put("blobs/00/x", b"sealed", Deadline(5))
    node.kill()
    with pytest.raises(NodeError):
        store.read("blobs/00/x", Deadline(1), 16 << 20)
    node.start()
    assert store.read("blobs/00/x", Deadline(5), 16 << 20) == b"sealed"
    store.close()


@pytest.mark.parametrize("kind", ["minio", "seaweedfs"])
def test_a_nodes_secret_is_in_no_argument_and_every_file_is_its_owners(
    request: pytest.FixtureRequest, kind: NodeKind
) -> None:
    node: RealNode = request.getfixturevalue("minio_node" if kind == "minio" else "seaweed_node")
    assert node.secrets.secret_key not in _arguments(node)
    assert node.secrets.secret_key not in repr(node.launch)
    for path in node.launch.files:
        assert path.stat().st_mode & 0o077 == 0


def test_a_wiped_node_does_not_take_blobs_as_if_nothing_had_happened(node_factory: NodeFactory) -> None:
    node = node_factory(kind="seaweedfs")
    node.stop()
    node.wipe()
    node.start_without_bucket()
    store = node.store()
    with pytest.raises(BucketMissing):
        store.put("blobs/00/x", b"sealed", Deadline(5))
    store.close()


def test_a_paused_node_answers_nothing_until_it_goes_on(node_factory: NodeFactory) -> None:
    node = node_factory()
    node.pause()
    assert not node.ready()
    node.resume()
    wait_until(node.ready, what="it goes on")


def test_the_queue_wants_its_password_and_keeps_its_lists_through_a_kill(queue_factory: QueueFactory) -> None:
    queue: RealQueue = queue_factory()
    assert queue.password not in _arguments(queue)
    assert queue.password not in repr(queue.launch)
    with queue.client() as client:
        client.rpush("list", "id")
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        client.config_set("appendfsync", "always")
        client.rpush("list", "id")
    queue.kill()
    queue.start()
    with queue.client() as client:
        assert client.llen("list") == 2
