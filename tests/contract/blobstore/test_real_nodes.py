"""Real nodes in trouble: what no shared and healthy one shows. Both kinds have to tell it alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from cli.cluster.home.servers import NodeKind
from common.blobstore.base import BlobStore, Deadline
from common.blobstore.s3_store import S3Store, open_store
from common.errors import (
    BlobMissing,
    BlobStoreError,
    BucketMissing,
    ConfigurationError,
    NodeError,
    NodeRefused,
    NodeTimeout,
)
from common.model.names import blob_name, new_id
from tests.conftest import NodeFactory
from tests.support.proxy import Proxy
from tests.support.servers import RealNode
from tests.support.waiting import wait_until

SOON = 10.0
LIMIT = 16 << 20  # bytes that a read may give

CALLS: dict[str, Callable[[BlobStore], object]] = {
    "put": lambda store: store.put("blobs/00/x", b"data", Deadline(SOON)),
    "large put": lambda store: store.put("blobs/00/x", bytes(8 << 20), Deadline(SOON)),
    "read": lambda store: store.read("blobs/00/x", Deadline(SOON), LIMIT),
    "stat": lambda store: store.stat("blobs/00/x", Deadline(SOON)),
    "delete": lambda store: store.delete("blobs/00/x", Deadline(SOON)),
    "delete many": lambda store: store.delete_many(["blobs/00/x"], Deadline(SOON)),
    "list": lambda store: store.list("", Deadline(SOON)),
    "clock": lambda store: store.clock(Deadline(SOON)),
}


@pytest.fixture(scope="module", params=["minio", "seaweedfs"])
def node(request: pytest.FixtureRequest) -> RealNode:
    found: RealNode = request.getfixturevalue("minio_node" if request.param == "minio" else "seaweed_node")
    return found


@pytest.fixture(params=["minio", "seaweedfs"])
def own(request: pytest.FixtureRequest, node_factory: NodeFactory) -> Iterator[tuple[RealNode, S3Store]]:
    """A node that may be broken, and a client of it with a warm connection."""
    kind: NodeKind = request.param
    node = node_factory(kind=kind)
    store = node.store()
    store.put("blobs/00/x", b"data", Deadline(SOON))
    yield node, store
    store.close()


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_bucket_that_is_not_there_is_told_from_a_blob_that_is_not(
    node: RealNode, call: Callable[[BlobStore], object]
) -> None:
    with pytest.raises(BucketMissing):
        call(node.store("never-made"))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_wrong_credentials_are_refused_and_not_shown(node: RealNode, call: Callable[[BlobStore], object]) -> None:
    stranger = S3Store(node.spec, node.secrets.access_key, "not-the-secret-key")
    with pytest.raises(NodeRefused) as caught:
        call(stranger)
    assert not isinstance(caught.value, BucketMissing)
    assert "not-the-secret" not in f"{caught.value!r} {stranger!r} {vars(caught.value)}"
    assert node.secrets.access_key not in f"{caught.value!r} {stranger!r}"


def test_credentials_that_cannot_be_read_are_a_configuration_error(node: RealNode) -> None:
    with pytest.raises(ConfigurationError):
        open_store(node.spec, node.credentials / "absent.json")


def test_a_killed_node_fails_at_once_and_a_restarted_one_is_used_again(own: tuple[RealNode, S3Store]) -> None:
    node, store = own
    node.kill()
    started = time.monotonic()
    with pytest.raises(NodeError):
        store.read("blobs/00/x", Deadline(SOON), LIMIT)
    assert time.monotonic() - started < 1
    node.start()
    assert store.read("blobs/00/x", Deadline(SOON), LIMIT) == b"data"


def test_connections_that_a_restart_left_stale_are_replaced_without_an_error(own: tuple[RealNode, S3Store]) -> None:
    node, store = own
    node.stop()
    node.start()
    store.put("blobs/00/y", b"after", Deadline(SOON))
    assert store.read("blobs/00/y", Deadline(SOON), LIMIT) == b"after"


def test_a_hung_node_costs_its_deadline_and_no_more(own: tuple[RealNode, S3Store]) -> None:
    node, store = own
    node.pause()
    for size in (4, 8 << 20):
        started = time.monotonic()
        with pytest.raises(NodeTimeout):
            store.put("blobs/00/y", bytes(size), Deadline(0.5))
        assert 0.4 < time.monotonic() - started < 1
    node.resume()
    wait_until(lambda: _reads(store), what="the node answers again")


def test_a_wiped_node_has_no_bucket_until_it_is_made_again(own: tuple[RealNode, S3Store]) -> None:
    node, store = own
    node.stop()
    node.wipe()
    node.start_without_bucket()
    wait_until(lambda: _says(store, BucketMissing), what="the node says that its bucket is gone")
    with pytest.raises(BucketMissing):
        store.put("blobs/00/x", b"data", Deadline(SOON))
    wait_until(lambda: _makes(store), what="the bucket is made")
    store.put("blobs/00/x", b"anew", Deadline(SOON))
    assert store.read("blobs/00/x", Deadline(SOON), LIMIT) == b"anew"


@pytest.mark.parametrize("size", [16 << 10, 300 << 10, 8 << 20])
def test_bytes_that_were_changed_on_their_way_are_refused_and_what_was_there_stays(node: RealNode, size: int) -> None:
    parts = urlsplit(node.spec.endpoint)
    proxy = Proxy(parts.hostname or "", parts.port or 0)
    spec = replace(node.spec, endpoint=f"http://127.0.0.1:{proxy.port}")
    store = S3Store(spec, node.secrets.access_key, node.secrets.secret_key)
    name, new = blob_name(new_id()), blob_name(new_id())
    try:
        store.put(name, b"before", Deadline(SOON))
        proxy.flip_sent()
        for changed in (name, new):
            with pytest.raises(NodeError, match="other bytes"):
                store.put(changed, bytes(size), Deadline(SOON))
        proxy.forward()
        assert store.read(name, Deadline(SOON), LIMIT) == b"before"
        with pytest.raises(BlobMissing):
            store.stat(new, Deadline(SOON))
        store.put(new, bytes(size), Deadline(SOON))
        assert store.read(new, Deadline(SOON), LIMIT) == bytes(size)
    finally:
        store.close()
        proxy.close()


def _reads(store: S3Store) -> bool:
    try:
        return store.read("blobs/00/x", Deadline(SOON), LIMIT) == b"data"
    except NodeError:
        return False


def _says(store: S3Store, error: type[BlobStoreError]) -> bool:
    try:
        store.read("blobs/00/x", Deadline(SOON), LIMIT)
    except error:
        return True
    except NodeError:
        return False
    return False


def _makes(store: S3Store) -> bool:
    try:
        store.create(Deadline(SOON))
        store.put("ready", b"", Deadline(SOON))
    except NodeError:
        return False
    return True
