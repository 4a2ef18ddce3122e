"""Proxies between a running cluster and its nodes.

The catalogue's rows are what tells every process where a node is, so a row that names the proxy is all it takes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from common.catalogue.sql import open_catalogue
from common.model.nodes import NodeSpec
from tests.support.cluster import Cluster
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until


@contextmanager
def proxies(cluster: Cluster, *names: str) -> Iterator[dict[str, Proxy]]:
    """A proxy before each of these nodes; all processes of the cluster go through it. At the end they do not."""
    rows = {row["name"]: row for row in cluster.processes("node") if row["name"] in names}
    made = {name: Proxy(*_address(row["endpoint"]), watched=b"/blobs/") for name, row in rows.items()}
    try:
        _move(cluster, rows, {name: proxy.port for name, proxy in made.items()})
        yield made
    finally:
        for proxy in made.values():
            proxy.forward()
        _move(cluster, rows, {name: _address(row["endpoint"])[1] for name, row in rows.items()})
        for proxy in made.values():
            proxy.close()


def _address(endpoint: str) -> tuple[str, int]:
    parts = urlsplit(endpoint)
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port


def _move(cluster: Cluster, rows: dict[str, dict[str, Any]], ports: dict[str, int]) -> None:
    specs = [NodeSpec(name, f"http://127.0.0.1:{ports[name]}", row["bucket"], name) for name, row in rows.items()]
    catalogue = open_catalogue(f"sqlite:///{cluster.home}/catalogue.db")
    try:
        catalogue.nodes.register(specs)
    finally:
        catalogue.close()
    for port in ports.values():
        wait_until(lambda port=port: all(_talks_to(pid, port) for pid in _talkers(cluster)), 20, "all go that way")  # type: ignore[misc]
    wait_until(lambda: all(cluster.states()[name] == "up" for name in rows), 20, "the nodes are up")


def _talkers(cluster: Cluster) -> list[int]:
    """The processes that talk to nodes: the API's under their master, and the workers."""
    master = cluster.process("api")["pid"]
    return children(master) + [row["pid"] for row in cluster.processes("worker")]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _talks_to(pid: int, port: int) -> bool:
    """Whether a process has an open connection to this port. Its probes keep one."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {row[9] for row in rows if row[2].endswith(f":{port:04X}") and row[3] == "01"}
    return any(
        _target(link).removeprefix("socket:[").rstrip("]") in inodes for link in Path(f"/proc/{pid}/fd").iterdir()
    )


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except FileNotFoundError:
        return ""  # closed meanwhile
