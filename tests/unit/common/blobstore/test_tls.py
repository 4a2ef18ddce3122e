"""Nodes behind https: the certificate is checked, and deadlines hold there too."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from common.blobstore.base import Deadline
from common.blobstore.s3_store import S3Store
from common.errors import NodeError, NodeTimeout
from common.model.nodes import NodeSpec
from tests.support.servers import tool
from tests.unit.common.blobstore.rawserver import RawServer, Script, answer, request, serving

LIMIT = 16 << 20  # bytes that a read may give


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 signed by itself, with its key in the same file."""
    openssl = tool("openssl")
    path = tmp_path_factory.mktemp("tls") / "node.pem"
    subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    argv = (openssl, "req", "-x509", *key, *subject, "-keyout", str(path) + ".key", "-out", str(path))
    subprocess.run(argv, check=True, capture_output=True)
    return path


def over_tls(certificate: Path, script: Script) -> Script:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, f"{certificate}.key")

    def wrapped(sock: socket.socket, number: int) -> None:
        with context.wrap_socket(sock, server_side=True) as secured:
            script(secured, number)

    return wrapped


def echo(sock: socket.socket, _number: int) -> None:
    """Keep what was put, give it back to each read."""
    kept = b""
    while data := request(sock):
        if data.startswith(b"PUT"):
            kept = data.partition(b"\r\n\r\n")[2]
        sock.sendall(answer(kept if data.startswith(b"GET") else b""))


def store(server: RawServer) -> S3Store:
    return S3Store(NodeSpec("n", server.endpoint.replace("http:", "https:"), "bucket", "n"), "access", "secret")


def test_blobs_go_through_and_the_connection_is_kept(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving(over_tls(certificate, echo)) as server:
        node = store(server)
        for data in (b"", b"small", bytes(range(256)) * 4096):
            node.put("x", data, Deadline(5))
            assert node.read("x", Deadline(5), LIMIT) == data
        assert server.connections == 1


def test_a_certificate_nobody_vouches_for_is_refused(certificate: Path) -> None:
    with serving(over_tls(certificate, echo)) as server, pytest.raises(NodeError, match="connect"):
        store(server).read("x", Deadline(5), LIMIT)


def test_a_handshake_that_does_not_come_ends_the_attempt_to_connect() -> None:
    def silent(sock: socket.socket, _number: int) -> None:
        while sock.recv(65536):
            continue

    with serving(silent) as server:
        started = time.monotonic()
        with pytest.raises(NodeTimeout):
            store(server).read("x", Deadline(5), LIMIT)
        assert time.monotonic() - started < 1


def test_deadlines_hold(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    def trickle(sock: socket.socket, _number: int) -> None:
        request(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            sock.sendall(b"x")
            time.sleep(0.02)

    with serving(over_tls(certificate, trickle)) as server:
        started = time.monotonic()
        with pytest.raises(NodeTimeout):
            store(server).read("x", Deadline(0.5), LIMIT)
        assert time.monotonic() - started < 1
