"""A real gunicorn with the real configuration and worker, over nodes in memory."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.servers import free_port
from tests.unit.api.world import prepare

ROOT = Path(__file__).parents[3]
IDLE_SECONDS = 1.5
MAX_OBJECT = 8 << 20
BLOB = 1 << 20


@dataclass
class Server:
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def send(self, data: bytes, *, end: bool = False) -> bytes:
        """Send bytes on a connection of their own; everything that comes back until the server closes it."""
        with self.connect() as sock:
            sock.sendall(data)
            if end:
                sock.shutdown(socket.SHUT_WR)
            return read_all(sock)

    def ask(self, method: str, path: str, headers: str = "", body: bytes = b"") -> bytes:
        """One whole request with Connection: close."""
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
        return self.send((head + headers + "\r\n").encode() + body)

    def left_over(self) -> set[str | None]:
        """The states of the versions whose blobs lie on nodes without being current; None: blobs without a row."""
        return set(json.loads(body_of(self.ask("GET", "/prueba/sobras"))).values())


def read_all(sock: socket.socket) -> bytes:
    pieces = []
    while piece := sock.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def start(home: Path) -> Server:
    prepare(home / "catalogue.db")
    port = free_port()
    environment = os.environ | {
        "BOVEDA_HOME": str(home),
        "BOVEDA_PORT": str(port),
        "BOVEDA_API_PROCESSES": "1",
        "BOVEDA_API_THREADS": "4",
        "BOVEDA_IDLE_TIMEOUT": str(IDLE_SECONDS),
        "BOVEDA_MAX_OBJECT_SIZE": str(MAX_OBJECT),
        "BOVEDA_BLOB_SIZE": str(BLOB),
        "PYTHONPATH": str(ROOT),
    }
    log = home / "api.log"
    command = [sys.executable, "-m", "gunicorn", "-c", "python:api.gunicorn_conf", "tests.integration.api.served:app"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=home, env=environment, stdout=output, stderr=output)
    server = Server(port, process, log)
    until = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(server.url + "/healthz", timeout=5)
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        else:
            return server


def stop(server: Server) -> int:
    if server.process.poll() is None:
        server.process.send_signal(signal.SIGTERM)
    return server.process.wait(timeout=40)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start(tmp_path_factory.mktemp("api"))
    yield server
    stop(server)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """For tests that end it."""
    server = start(tmp_path)
    yield server
    stop(server)
