"""A node asked by those who have none of its credentials: another user of the machine, a page in the user's browser.

A page can send to every port of 127.0.0.1, so each one is asked that the node's process listens on, known or not.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import urllib3

from cli.cluster.home.certificate import key_and_certificate
from cli.cluster.home.servers import NodeKind
from common.blobstore.base import Deadline
from tests.conftest import NodeFactory
from tests.support.servers import RealNode
from tests.support.waiting import wait_until

LISTENED = {"minio": 1, "seaweedfs": 10}
"""Ports that a node has once all of it has started: MinIO's console is off."""
BLOB, NAME = b"sealed: nobody's business", "blobs/00/x"
PAGE = {"Origin": "http://stranger.example"}
PREFLIGHT = {**PAGE, "Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "x-any"}
SETTINGS = b"\x04"
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + SETTINGS + b"\0\0\0\0\0"
"""The first bytes of every gRPC client: HTTP/2's preface and an empty frame of settings, which is answered with one."""
LOOPBACK = {"0100007F": "127.0.0.1", "00000000000000000000000001000000": "[::1]"}
"""As /proc shows it, and as it stands in an address."""

READS = (
    *("/", "/boveda?list-type=2", f"/boveda/{NAME}", "/boveda?location"),  # S3
    *("/buckets/", "/buckets/boveda/blobs/00/", f"/buckets/boveda/{NAME}", f"/buckets/boveda/{NAME}?metadata=true"),
    *("/dir/assign", "/dir/lookup?volumeId={volume}", "/dir/status", "/vol/status", "/cluster/status"),
    *("/vol/grow?count=1", "/vol/vacuum?garbageThreshold=0.0001", "/collection/info?collection=boveda"),
    *("/status", "/{volume},01637037d6", "/?proxyChunkId={volume},01637037d6", "/stats/disk", "/stats/memory"),
    *("/ui/index.html", "/metrics", "/api/config", "/api/s3/buckets", "/minio/admin/v3/info", "/minio/v2/metrics/node"),
    *("/minio/bootstrap/v1/verify", "/debug/pprof/", "/login"),
)
WRITES = (
    *(("PUT", "/boveda/blobs/00/y"), ("PUT", "/stranger"), ("POST", "/?Action=ListUsers")),
    *(("POST", "/{volume},01637037d6"), ("POST", "/submit"), ("PUT", "/buckets/boveda/blobs/00/y")),
    *(("POST", "/.tus/buckets/boveda/blobs/00/y"), ("DELETE", f"/boveda/{NAME}"), ("POST", "/boveda?delete")),
    *(("DELETE", "/{volume},01637037d6"), ("DELETE", f"/buckets/boveda/{NAME}"), ("DELETE", "/boveda")),
    *(("DELETE", "/buckets/boveda?recursive=true"), ("POST", "/col/delete?collection=boveda")),
    ("DELETE", "/buckets/?recursive=true&ignoreRecursiveError=true"),
)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]

    @property
    def may_not_be_shared(self) -> bool:
        """Preflights, by which pages ask for leave, and what concerns the bucket.

        SeaweedFS lets every page read that it refused something else on its S3 port, and cannot be told not to.
        """
        return self.method == "OPTIONS" or self.path.startswith("/boveda")


@pytest.fixture(params=["minio", "seaweedfs"])
def node(request: pytest.FixtureRequest, node_factory: NodeFactory) -> RealNode:
    kind: NodeKind = request.param
    made = node_factory(kind=kind)
    wait_until(lambda: len(_listened(made)) >= LISTENED[kind], what="all of it listens")
    return made


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_strangers_read_write_and_delete_nothing_through_any_port_of_a_node(node: RealNode) -> None:
    store = node.store()
    store.put(NAME, BLOB, Deadline(5))
    given = [
        said for scheme in ("http", "https") for host in _hosts(node) for said in _given(node, f"{scheme}://{host}")
    ]
    assert given == []
    assert store.read(NAME, Deadline(5), len(BLOB)) == BLOB
    assert [blob.name for blob in store.list("", Deadline(5)).blobs] == [NAME]
    store.close()


def test_no_port_of_a_node_speaks_grpc_with_strangers(node: RealNode, tmp_path: Path) -> None:
    certificate = tmp_path / "strangers.pem"
    certificate.write_text(key_and_certificate("127.0.0.1"))
    own = ssl.create_default_context()
    own.check_hostname, own.verify_mode = False, ssl.CERT_NONE
    own.load_cert_chain(certificate)
    own.set_alpn_protocols(["h2"])
    speaking = [
        (port, context) for _, port in _listened(node) for context in (None, own) if _speaks_grpc(port, context)
    ]
    assert speaking == []


def test_a_node_listens_on_loopback_only(node: RealNode) -> None:
    assert {address for address, _ in _listened(node)} <= set(LOOPBACK)


def test_a_nodes_sockets_are_its_owners_and_lie_in_its_folder(node: RealNode) -> None:
    sockets = _sockets(node)
    assert [path for path in sockets if path.stat().st_mode & 0o077] == []
    # SeaweedFS has those of gRPC in /tmp, whatever it is told; they ask for its certificate.
    assert [path for path in sockets if path.parent != node.folder and "-grpc-" not in path.name] == []


def _given(node: RealNode, address: str) -> Iterator[str]:
    """What was answered there that no stranger should get."""
    (volume, *_) = [re.split("[_.]", path.name)[-2] for path in node.blobs.glob("*.dat")] or ["1"]
    with urllib3.PoolManager(retries=False, timeout=20, cert_reqs="CERT_NONE") as http:
        for request in _requests():
            url = address + request.path.format(volume=volume)
            body = b"stranger" if request.method in ("PUT", "POST") else None
            try:
                answer = http.request(request.method, url, body=body, headers=request.headers, redirect=False)
            except (urllib3.exceptions.ProtocolError, urllib3.exceptions.SSLError):
                return  # it speaks no HTTP, or not with everybody
            said = f"{request.method} {url} {request.headers}: {answer.status}"
            if answer.status < 400 and (answer.data or request.method in ("PUT", "POST", "DELETE")):
                yield f"{said} {answer.data[:60]!r}"
            elif "Access-Control-Allow-Origin" in answer.headers and request.may_not_be_shared:
                yield f"{said}, open to pages"


def _speaks_grpc(port: str, context: ssl.SSLContext | None) -> bool:
    """Whether it answers the first bytes of HTTP/2 with its own, in the clear or over TLS."""
    with (
        suppress(OSError),
        socket.create_connection(("127.0.0.1", int(port, 16)), timeout=3) as plain,
        context.wrap_socket(plain) if context else plain as connection,
    ):
        connection.sendall(HTTP2)
        return connection.recv(9)[3:4] == SETTINGS
    return False


def _requests() -> Iterator[Request]:
    for headers in ({}, PAGE):
        yield from (Request("GET", path, headers) for path in READS)
        yield from (Request(method, path, headers) for method, path in WRITES)
    yield from (Request("OPTIONS", path, PREFLIGHT) for path in dict.fromkeys((*READS, *(path for _, path in WRITES))))


def _hosts(node: RealNode) -> list[str]:
    return sorted(f"{LOOPBACK[address]}:{int(port, 16)}" for address, port in _listened(node))


def _listened(node: RealNode) -> set[tuple[str, str]]:
    """Address and port, in hexadecimal, of every socket on which the node's process takes TCP connections."""
    inodes = _inodes(node)
    rows = [row.split() for family in ("tcp", "tcp6") for row in _table(node, family)]
    return {
        (address, port) for row in rows if row[3] == "0A" and row[9] in inodes for address, port in [row[1].split(":")]
    }


def _sockets(node: RealNode) -> set[Path]:
    """The paths of its Unix sockets."""
    inodes = _inodes(node)
    rows = [row.split() for row in _table(node, "unix")]
    return {node.folder / row[7] for row in rows if len(row) > 7 and row[6] in inodes}


def _table(node: RealNode, family: str) -> list[str]:
    return Path(f"/proc/{node.pid}/net/{family}").read_text().splitlines()[1:]


def _inodes(node: RealNode) -> set[str]:
    links = [os.readlink(path) for path in Path(f"/proc/{node.pid}/fd").iterdir() if path.is_symlink()]
    return {link.removeprefix("socket:[").removesuffix("]") for link in links if link.startswith("socket:")}
