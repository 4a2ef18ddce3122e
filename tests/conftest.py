"""Fixtures of real servers. Shared ones live for the session: take a `fresh_bucket()`, a database of your own.

A test that kills, hangs or wipes takes its own node from `node_factory`, or its own queue from `queue_factory`.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.cluster.home import programs
from cli.cluster.home.servers import NodeKind
from tests.support.cluster import Cluster
from tests.support.proxy import Proxy
from tests.support.servers import NO_POSTGRES, RealNode, RealPostgres, RealQueue
from tests.support.shared import Wish, shared, wish_of

NodeFactory = Callable[..., RealNode]
QueueFactory = Callable[[], RealQueue]

# Settings of the developer's own shell are not the tests'. What tells the suite itself something stays.
for _name in [name for name in os.environ if name.startswith("BOVEDA_")]:
    if _name not in ("BOVEDA_TEST_REQUIRE", "BOVEDA_MINIO"):
        del os.environ[_name]

# A shell lets what it starts in the background ignore Ctrl-C, and so would every process started here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def any_kind() -> NodeKind:
    """MinIO where there is one, else SeaweedFS, which is always there."""
    return "minio" if programs.find_minio() else "seaweedfs"


def _session_node(kind: NodeKind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealNode]:
    node = RealNode(kind, tmp_path_factory.mktemp(kind))
    node.start()
    yield node
    node.kill()


@pytest.fixture(scope="session")
def minio_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealNode]:
    """A MinIO shared by the session: leave it running, work in a `fresh_bucket()`."""
    yield from _session_node("minio", tmp_path_factory)


@pytest.fixture(scope="session")
def seaweed_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealNode]:
    """A SeaweedFS shared by the session."""
    yield from _session_node("seaweedfs", tmp_path_factory)


@pytest.fixture(scope="session")
def any_node(request: pytest.FixtureRequest) -> RealNode:
    """A shared node of the kind that this machine prefers."""
    node: RealNode = request.getfixturevalue("minio_node" if any_kind() == "minio" else "seaweed_node")
    return node


@pytest.fixture
def node_factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeFactory]:
    """`node_factory(name="node1", kind=None, start=True)`: a node of the test's own."""
    made: list[RealNode] = []

    def make(name: str | None = None, kind: NodeKind | None = None, start: bool = True) -> RealNode:
        name = name or f"node{len(made) + 1}"
        node = RealNode(kind or any_kind(), tmp_path_factory.mktemp(name), name)
        made.append(node)
        if start:
            node.start()
        return node

    yield make
    for node in made:
        node.kill()


@pytest.fixture(scope="session")
def _shared_queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealQueue]:
    queue = RealQueue(tmp_path_factory.mktemp("queue"))
    queue.start()
    yield queue
    queue.kill()


@pytest.fixture
def redis_server(_shared_queue: RealQueue) -> RealQueue:
    """A running, empty queue server, shared by the session one test after the other; it may be killed and paused."""
    if _shared_queue.running:
        _shared_queue.resume()
    else:
        _shared_queue.start()
    _shared_queue.flush()
    return _shared_queue


@pytest.fixture
def redis_url(redis_server: RealQueue) -> str:
    return redis_server.url


@pytest.fixture
def queue_factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueueFactory]:
    """Queue servers of the test's own."""
    made: list[RealQueue] = []

    def make() -> RealQueue:
        made.append(RealQueue(tmp_path_factory.mktemp("queue")))
        made[-1].start()
        return made[-1]

    yield make
    for queue in made:
        queue.kill()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[RealPostgres]:
    server = RealPostgres()
    try:
        server.start()
        yield server
    finally:
        server.stop()
        server.remove()


@pytest.fixture
def postgres_url(postgres_server: RealPostgres) -> Iterator[str]:
    """SQLAlchemy URL of an empty database of the test's own."""
    name = postgres_server.create()
    yield postgres_server.url(name)
    postgres_server.drop(name)


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """A whole cluster, empty when the module begins; tests/support/shared.py says what a module can want of it."""
    return shared.get(wish_of(request.module), lambda: tmp_path_factory.mktemp("cluster") / "home")


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[Proxy]:
    """Between a client and the cluster's API."""
    proxy = Proxy("127.0.0.1", int(cluster.url.rpartition(":")[2]))
    yield proxy
    proxy.close()


_wishes: dict[Path, Wish] = {}
"""What the modules whose tests use the fixture `cluster` want of it."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules that can have the same cluster come one after the other, the largest such group first; what needs none
    comes last."""
    for item in items:
        if isinstance(item, pytest.Function) and "cluster" in item.fixturenames:
            _wishes[item.path] = wish_of(item.module)
    count = Counter(_wishes.values())

    def place(item: pytest.Item) -> tuple[int, str]:
        wish = _wishes.get(item.path)
        return (1, "") if wish is None else (-count[wish], str(wish))

    items.sort(key=place)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> Iterator[None]:
    """A cluster that the next test does not want is ended."""
    yield
    if nextitem is None or _wishes.get(nextitem.path) != shared.wish:
        shared.end()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """The last line says what was not tested for want of PostgreSQL, so that nobody takes a part for the whole."""
    yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    count = sum(1 for report in skipped if NO_POSTGRES in str(report.longrepr))
    if reporter and count:
        reporter.write_line(f"{count} tests were skipped because no PostgreSQL server is there", yellow=True)
