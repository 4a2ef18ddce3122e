"""One store of each real kind for the whole suite: its tests take fresh names, so they can share a bucket."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from common.blobstore.s3_store import S3Store
from tests.support.servers import RealNode


@pytest.fixture(scope="session")
def minio_store(minio_node: RealNode) -> Iterator[S3Store]:
    yield from _open(minio_node)


@pytest.fixture(scope="session")
def seaweed_store(seaweed_node: RealNode) -> Iterator[S3Store]:
    yield from _open(seaweed_node)


def _open(node: RealNode) -> Iterator[S3Store]:
    store = node.store(node.fresh_bucket().bucket)
    yield store
    store.close()
