"""One running cluster for all tests here: whoever breaks something in it mends it again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cluster import Cluster, running_cluster
from tests.proxy import Proxy

HERE = Path(__file__).parent


class Shared:
    """The cluster that the next test here finds running. Not a session's fixture: that would outlive these tests."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._running: Cluster | None = None

    def running(self, home: Path) -> Cluster:
        if self._running is None:
            self._running = self._stack.enter_context(running_cluster(home, BOVEDA_DOOM_DELAY="1"))
        return self._running

    def end(self) -> None:
        self._running = None
        self._stack.close()


shared = Shared()


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return shared.running(tmp_path_factory.mktemp("cluster") / "home")


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[Proxy]:
    """Between the client and the API."""
    proxy = Proxy("127.0.0.1", int(cluster.url.rpartition(":")[2]))
    yield proxy
    proxy.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> Iterator[None]:
    """After the last test here."""
    yield
    if nextitem is None or HERE not in nextitem.path.parents:
        shared.end()
