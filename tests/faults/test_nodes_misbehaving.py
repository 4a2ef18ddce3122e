"""A node refuses, hangs, breaks off, crawls, lies or fails (scenarios 1, 2, 4, 10): clients get right bytes, and soon.

Every process of the cluster goes to each node through a proxy that misbehaves on command.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.between import children, proxies
from tests.faults.history import History
from tests.support.cluster import Cluster
from tests.support.proxy import Proxy
from tests.support.running_time import running_time
from tests.support.shared import wish
from tests.support.waiting import wait_until

CLUSTER = wish(quick=False)
pytestmark = pytest.mark.alone

LONGEST = 3.0
"""Seconds that a request of up to 8 MiB may take while one node is in trouble."""
CLIENTS = 10
"""More than one process of the API has threads."""

FAULTS: dict[str, Callable[[Proxy], None]] = {
    "refuses": Proxy.refuse,
    "hangs": Proxy.hang,
    "breaks off in the middle": lambda proxy: proxy.cut(after=9000),
    "answers late": lambda proxy: proxy.delay(2.5),
    "crawls": lambda proxy: proxy.trickle(2000),
    "answers 500": lambda proxy: proxy.answer(500),
    "answers 503": lambda proxy: proxy.answer(503),
    "changes a bit of what it sends": Proxy.flip,
    "gets another bit than was sent to it": Proxy.flip_sent,
}


@pytest.fixture(scope="module")
def way(cluster: Cluster) -> Iterator[dict[str, Proxy]]:
    with proxies(cluster, "node1", "node2", "node3") as made:
        yield made


@pytest.fixture(scope="module")
def before(cluster: Cluster, way: dict[str, Proxy]) -> History:
    """Objects with all their copies before anything happens: small ones, one of three chunks, one of two blobs."""
    history = History(cluster, "before")
    history.upload_many(8)
    assert history.upload(3 << 20)
    assert history.upload(9 << 20)
    cluster.wait_converged()
    return history


@pytest.mark.parametrize("fault", FAULTS)
def test_clients_do_not_notice_one_node_that(
    cluster: Cluster, way: dict[str, Proxy], before: History, fault: str
) -> None:
    name = list(way)[list(FAULTS).index(fault) % 3]
    before.slowest = 0
    # A blob whose only copy is on a node that lies looks lost; so that it is not, another node has it too.
    meanwhile = History(cluster, f"{name}-{fault.replace(' ', '-')}", 2 if FAULTS[fault] is Proxy.flip else 1)
    FAULTS[fault](way[name])
    try:
        assert before.wrong() == []
        meanwhile.upload_many(8)
        assert meanwhile.upload(3 << 20)
        # Of what only the sick node took so far, a download may have to wait; it is never wrong, and never gone.
        assert [found for found in meanwhile.wrong() if ": 503 " not in found] == []
        assert (meanwhile.refused, way[name].asked > 0) == ([], fault != "refuses")
    finally:
        way[name].forward()
    assert max(before.slowest, meanwhile.slowest) < LONGEST
    wait_until(lambda: cluster.states()[name] == "up", 20, f"{name} is up")
    cluster.wait_converged()
    assert meanwhile.wrong() == []
    assert meanwhile.wrong_on(cluster.nodes()) == []
    assert before.wrong_on(cluster.nodes()) == []


def test_fewer_nodes_than_write_copies_refuse_an_upload_and_nothing_of_it_is_seen(
    cluster: Cluster, way: dict[str, Proxy]
) -> None:
    assert cluster.put("asks-for-two", b"the first").status == 201
    cluster.wait_converged()
    first = cluster.blobs("asks-for-two")
    for name in ("node1", "node3"):
        way[name].answer(503)
    try:
        refused = cluster.put("asks-for-two", b"the second", headers={"X-Write-Copies": "2"})
        assert refused.status == 503
        assert refused.headers["Retry-After"]
        new = cluster.put("asks-for-two-anew", b"x", headers={"X-Write-Copies": "2"})
        assert (new.status, cluster.get("asks-for-two-anew").status) == (503, 404)
        listed = cluster.ask("GET", "/v1/buckets/archivos/objects?prefix=asks-for").json()["objects"]
        assert [found["key"] for found in listed] == ["asks-for-two"]
        assert cluster.get("asks-for-two").data == b"the first"
    finally:
        for proxy in way.values():
            proxy.forward()
    wait_until(lambda: set(cluster.states().values()) == {"up"}, 20, "all nodes are up")
    assert cluster.blobs("asks-for-two") == first
    assert all(first <= node.names() for node in cluster.nodes().values())


def test_a_node_that_hangs_takes_neither_the_threads_nor_the_memory_of_the_gateways(
    cluster: Cluster, way: dict[str, Proxy]
) -> None:
    history = History(cluster, "crowd")
    used = memory(cluster)
    way["node2"].hang()
    try:
        with ThreadPoolExecutor(CLIENTS) as clients:
            uploads = [clients.submit(history.upload, 6 << 20) for _ in range(32)]
            while not all(upload.done() for upload in uploads):
                began = running_time().now()
                assert cluster.ask("GET", "/healthz").status == 200
                assert running_time().now() - began < LONGEST
        assert history.refused == []
    finally:
        way["node2"].forward()
    assert memory(cluster) - used < 400 << 20
    wait_until(lambda: cluster.states()["node2"] == "up", 20, "node2 is up")
    cluster.wait_converged()
    assert history.wrong() == []


def memory(cluster: Cluster) -> int:
    """Resident bytes of the API's processes."""
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in children(cluster.process("api")["pid"])]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")
