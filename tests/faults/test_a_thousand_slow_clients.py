"""A thousand clients that send or read a KiB a second keep nobody out, and nothing of theirs becomes visible."""

from __future__ import annotations

import os
import resource
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.waiting import wait_until

CLIENTS = 1000
PROMPT = 5.0  # seconds in which an ordinary request is answered
MIB = 1 << 20
GROWTH_BYTES_MAX = 300 * MIB  # of all gateway processes together
PUT = b"PUT /v1/buckets/archivos/objects/slow-%d HTTP/1.1\r\nHost: localhost\r\n"


class Slow:
    """Connections that send `piece` once a second each, from one thread, and remember what they are answered."""

    def __init__(self, port: int, beginnings: list[bytes], piece: bytes) -> None:
        self._beginnings = beginnings
        self._port = port
        self._piece = piece
        self._selector = selectors.DefaultSelector()
        self.answers: dict[socket.socket, bytes] = {}
        self._open: set[socket.socket] = set()
        self.begun = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def left(self) -> int:
        return len(self._open)

    def statuses(self) -> dict[bytes, int]:
        """How many were answered what; b"" for those that were only cut."""
        counts: dict[bytes, int] = {}
        for answer in self.answers.values():
            counts[answer[9:12]] = counts.get(answer[9:12], 0) + 1
        return counts

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        for sock in list(self._open):
            self._close(sock)

    def _run(self) -> None:
        for beginning in self._beginnings:
            sock = socket.create_connection(("127.0.0.1", self._port), timeout=60)
            sock.sendall(beginning)
            sock.setblocking(False)
            self._open.add(sock)
            self.answers[sock] = b""
            self._selector.register(sock, selectors.EVENT_READ)
        self.begun.set()
        due = time.monotonic()
        while not self._stop.is_set():
            for key, _ in self._selector.select(0.1):
                assert isinstance(key.fileobj, socket.socket)
                self._read(key.fileobj)
            if time.monotonic() >= due:
                due += 1.0
                for sock in list(self._open):
                    with suppress(OSError):
                        sock.send(self._piece)

    def _read(self, sock: socket.socket) -> None:
        try:
            data = sock.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.answers[sock] += data
        if not data:
            self._close(sock)

    def _close(self, sock: socket.socket) -> None:
        self._selector.unregister(sock)
        self._open.discard(sock)
        sock.close()


@pytest.fixture(autouse=True)
def files() -> Iterator[None]:
    """Each client is an open file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def gateways(cluster: Cluster) -> list[Path]:
    """The API's processes in /proc."""
    master = cluster.process("api")["pid"]
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return [Path("/proc") / child for child in children]


def memory(cluster: Cluster) -> int:
    pages = [int((process / "statm").read_text().split()[1]) for process in gateways(cluster)]
    return sum(pages) * resource.getpagesize()


def threads(cluster: Cluster) -> int:
    return max(len(os.listdir(process / "task")) for process in gateways(cluster))


def ordinary_requests(cluster: Cluster, slow: Slow, seconds: float) -> list[float]:
    """Small uploads and downloads until every slow client has its answer; how long each took."""
    took: list[float] = []
    until = time.monotonic() + seconds
    while slow.left or not slow.begun.is_set():
        assert time.monotonic() < until, f"{slow.left} slow clients are still there: {slow.statuses()}"
        key, body = f"ordinary-{os.urandom(6).hex()}", os.urandom(1000)
        began = time.monotonic()
        stored = cluster.put(key, body)
        between = time.monotonic()
        fetched = cluster.get(key)
        took += [between - began, time.monotonic() - between]
        assert (stored.status, fetched.status, fetched.data) == (201, 200, body), (stored.data, fetched.data)
        time.sleep(0.1)
    return took


def beginnings(kind: str) -> list[bytes]:
    length = b"Content-Length: 1000000\r\n"
    ends = {
        "heads": b"X-Meta-A: ",
        "bodies": length + b"\r\n",
        "bodies behind a fast beginning": length + b"\r\n" + bytes(100_000),
    }
    return [PUT % number + ends[kind] for number in range(CLIENTS)]


@pytest.mark.parametrize("kind", ["heads", "bodies", "bodies behind a fast beginning"])
def test_a_thousand_slow_senders_keep_nobody_out(cluster: Cluster, kind: str) -> None:
    cluster.put("before", b"x")
    before, had = memory(cluster), threads(cluster)
    slow = Slow(int(cluster.url.rpartition(":")[2]), beginnings(kind), b"x" if kind == "heads" else bytes(1024))
    try:
        slow.begun.wait(30)
        took = ordinary_requests(cluster, slow, 120)
        assert max(took) < PROMPT
        assert set(slow.statuses()) <= {b"408", b"503"}, slow.statuses()
        assert memory(cluster) - before < GROWTH_BYTES_MAX
        assert threads(cluster) <= had + 12, "the request threads come with the first requests, and no more than these"
    finally:
        slow.stop()
    listed = cluster.ask("GET", "/v1/buckets/archivos/objects?prefix=slow-").json()
    assert listed["objects"] == []


def test_slow_readers_are_cut_when_others_wait(cluster: Cluster) -> None:
    """Of a hundred at once: each keeps a thread for a moment, until it is seen to be slow."""
    cluster.put("large", os.urandom(32 * MIB))
    before = memory(cluster)
    port = int(cluster.url.rpartition(":")[2])
    readers = [socket.socket() for _ in range(100)]
    try:
        for sock in readers:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", port))
            sock.sendall(b"GET /v1/buckets/archivos/objects/large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until = time.monotonic() + 10
        took = []
        while time.monotonic() < until:
            began = time.monotonic()
            assert cluster.get("large", headers={"Range": "bytes=0-999"}).status == 206
            took.append(time.monotonic() - began)
            for sock in readers:
                with suppress(OSError):
                    sock.recv(1024, socket.MSG_DONTWAIT)
            time.sleep(0.5)
        assert max(took) < 2 * PROMPT
        assert memory(cluster) - before < GROWTH_BYTES_MAX
    finally:
        for sock in readers:
            sock.close()


def test_a_slow_and_steady_upload_goes_through_on_an_idle_store(cluster: Cluster) -> None:
    body = os.urandom(1 * MIB)
    port = int(cluster.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        head = b"PUT /v1/buckets/archivos/objects/steady HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        sock.sendall(head % len(body))
        for start in range(0, len(body), 16 * 1024):
            sock.sendall(body[start : start + 16 * 1024])
            time.sleep(0.25)
        assert sock.recv(100).startswith(b"HTTP/1.1 201")
    wait_until(lambda: cluster.get("steady").data == body, 10, "it is there")
