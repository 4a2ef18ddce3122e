"""A node is lost in the middle of a download of 1 GiB (scenario 14): the client gets the same bytes, and no error."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import urllib3

from tests.faults.between import children, proxies
from tests.support.cluster import Cluster
from tests.support.nodes import DirectNode
from tests.support.waiting import wait_until

MIB = 1 << 20
SIZE = 1024 * MIB
BLOB = 8 * MIB
KEY = "long"
QUEUED = 64 * 1024  # more than the head of an answer: a blob's bytes wait to be read
DAMAGED_BLOBS = 6


def pieces() -> Iterator[bytes]:
    """The content, a MiB at a time, no two alike."""
    noise = random.Random(14).randbytes(2 * MIB)
    for number in range(SIZE // MIB):
        start = number * 4099 % MIB
        yield noise[start : start + MIB]


@pytest.fixture(scope="module")
def stored(cluster: Cluster) -> None:
    """The object with all its copies; of unknown length when it was sent."""
    assert cluster.put(KEY, pieces()).status == 201  # type: ignore[arg-type]
    cluster.wait_converged(120)
    assert {copy["state"] for copy in cluster.copies(KEY)} == {"stored"}


class Download:
    """Compared as it comes."""

    def __init__(self, cluster: Cluster) -> None:
        self._answer: urllib3.BaseHTTPResponse = cluster.get(KEY, preload_content=False)
        self._right = pieces()
        self.count = 0

    def read_to(self, end: int) -> None:
        while self.count < end:
            right = next(self._right)
            assert self._answer.read(MIB) == right, f"after {self.count} bytes"
            self.count += len(right)

    def read_on(self) -> None:
        self.read_to(self.count + MIB)

    def read_rest(self) -> None:
        self.read_to(SIZE)
        assert self._answer.read(1) == b""
        self._answer.close()


def serving(cluster: Cluster, ports: dict[str, int], download: Download) -> str:
    """The node whose answer waits to be read by the API, which waits for the client. Its port, or its proxy's."""
    processes = children(cluster.process("api")["pid"])

    def found() -> list[str]:
        gateways = {link for pid in processes for link in sockets(pid)}
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        full = {row[2] for row in rows if row[9] in gateways and int(row[4].partition(":")[2], 16) > QUEUED}
        return [name for name, port in ports.items() if any(remote.endswith(f":{port:04X}") for remote in full)]

    # Where it waits with the last chunk of a blob, no node has anything to send.
    for _ in range(BLOB // MIB):
        until = time.monotonic() + 1
        while time.monotonic() < until:
            if len(names := found()) == 1:
                return names[0]
            time.sleep(0.05)
        download.read_on()
    raise AssertionError("no node ever had something to send")


def sockets(pid: int) -> set[str]:
    """Inodes."""
    links = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            links.add(os.readlink(link))
    return {link.removeprefix("socket:[").rstrip("]") for link in links if link.startswith("socket:[")}


Loss = Callable[[Cluster, str], AbstractContextManager[None]]


@contextmanager
def killed(cluster: Cluster, name: str) -> Iterator[None]:
    cluster.act("kill", name)
    yield
    cluster.act("start", name)


@contextmanager
def hung(cluster: Cluster, name: str) -> Iterator[None]:
    cluster.signal(name, signal.SIGSTOP)
    try:
        yield
    finally:
        cluster.signal(name, signal.SIGCONT)


@contextmanager
def damaged(cluster: Cluster, _name: str) -> Iterator[None]:
    """A byte of each copy but one of the blobs that are next; the good ones lie on all nodes in turn."""
    names = list(dict.fromkeys(copy["blob_key"] for copy in cluster.copies(KEY)))
    nodes = list(cluster.nodes().values())
    right: list[tuple[DirectNode, str, bytes]] = []
    for number, blob in enumerate(names[SIZE // BLOB // 2 + 1 :][:DAMAGED_BLOBS]):
        good = nodes[number % len(nodes)]
        right += [(node, blob, node.flip(blob, BLOB // 2)) for node in nodes if node is not good]
    yield
    wait_until(lambda: any(node.names("quarantine/") for node in nodes), 30, "the damage was met")
    cluster.wait_converged()
    for node, blob, data in right:  # a copy that nobody read is as it was damaged
        if node.read(blob) != data:
            node.write(blob, data)


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("lost", [killed, hung, damaged])
def test_a_download_of_a_gibibyte_goes_on_when_the_node_that_serves_it_is(cluster: Cluster, lost: Loss) -> None:
    download = Download(cluster)
    download.read_to(SIZE // 2)
    ports = {row["name"]: urlsplit(row["endpoint"]).port or 0 for row in cluster.processes("node")}
    name = serving(cluster, ports, download)
    with lost(cluster, name):
        download.read_rest()
    wait_until(lambda: cluster.states()[name] == "up", 30, f"{name} is up")
    cluster.wait_converged()


@pytest.mark.usefixtures("stored")
def test_a_download_of_a_gibibyte_goes_on_when_its_connection_to_a_node_is_cut(cluster: Cluster) -> None:
    with proxies(cluster, "node1", "node2", "node3") as way:
        download = Download(cluster)
        download.read_to(SIZE // 2)
        proxy = way[serving(cluster, {name: proxy.port for name, proxy in way.items()}, download)]
        proxy.cut()
        download.read_to(SIZE // 2 + 4 * BLOB)
        proxy.forward()
        download.read_rest()
