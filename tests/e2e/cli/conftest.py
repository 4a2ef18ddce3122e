from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster import Cluster
from tests.proxy import Proxy


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[Proxy]:
    """Between the client and the API."""
    proxy = Proxy("127.0.0.1", int(cluster.url.rpartition(":")[2]))
    yield proxy
    proxy.close()
