"""The threaded worker with four threads and clients that are slow in every way: they keep nobody else out."""

from __future__ import annotations

import os
import select
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from gunicorn.config import Config

from api.server import client_socket, connection, lobby, unreader, worker
from api.server.worker import Log, Worker
from tests.support.waiting import wait_until

THREADS = 4
BIG = 32 << 20
PROMPT = 3.0  # seconds in which an ordinary request is answered, however many slow clients there are
HOST = b"Host: localhost\r\n"


def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """Counts what it is sent, sends a lot, or says where it was asked."""
    if environ["PATH_INFO"] == "/big":
        start("200 OK", [("Content-Length", str(BIG))])
        return (bytes(1 << 18) for _ in range(BIG >> 18))
    if environ["REQUEST_METHOD"] == "ECHO":
        path = environ["PATH_INFO"].encode("latin-1")
        start("200 OK", [("Content-Length", str(len(path)))])
        return [path]
    body = environ["wsgi.input"]
    count = 0
    status = "200 OK"
    try:
        while data := body.read(1 << 16):
            count += len(data)
    except TimeoutError as error:
        status = f"408 {error}"
        body.exchange.close_unless_read()
    start(status, [("Content-Length", str(len(str(count))))])
    return [str(count).encode()]


class Loaded:
    """What gunicorn asks for the application."""

    def wsgi(self) -> object:
        return application


class Server:
    """A worker whose main loop runs on a thread of the test; with a listener, one of several on it."""

    def __init__(self, connections: int, listener: socket.socket | None = None) -> None:
        config = Config()
        settings = {"threads": THREADS, "worker_connections": connections, "workers": 2 if listener else 1}
        for name, value in {**settings, "sendfile": False}.items():
            config.set(name, value)
        self.listener = listener.dup() if listener else listening()
        self.port = self.listener.getsockname()[1]
        self.worker = Worker(0, os.getppid(), [self.listener], Loaded(), 30, config, Log(config))
        self.worker.idle_seconds = 1.0
        self.worker.tpool = self.worker.get_thread_pool()
        self.worker.poller = selectors.DefaultSelector()
        self.worker.method_queue.init()
        self.worker.load_wsgi()
        self.thread = threading.Thread(target=self.worker.run)
        self.thread.start()

    def stop(self) -> None:
        self.worker.handle_exit(None, None)
        self.thread.join(20)
        assert not self.thread.is_alive()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def ask(self, data: bytes = b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n") -> bytes:
        with self.connect() as sock:
            sock.sendall(data)
            return read_all(sock)

    def slow(self, count: int, first: bytes) -> list[socket.socket]:
        clients = [self.connect() for _ in range(count)]
        for sock in clients:
            sock.sendall(first)
        return clients


def listening() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as gunicorn's own are
    return listener


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Server]:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 1.0)
    monkeypatch.setattr(unreader, "RATE_SECONDS", 1.0)
    monkeypatch.setattr(client_socket, "SEND_SECONDS", 1.0)
    monkeypatch.setattr(lobby, "TURN_SECONDS", 1.5)
    server = Server(getattr(request, "param", 1000))
    yield server
    server.stop()


def read_all(sock: socket.socket) -> bytes:
    pieces = []
    while piece := sock.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def put(length: int, sent: int, extra: bytes = b"") -> bytes:
    return b"PUT / HTTP/1.1\r\n" + HOST + extra + b"Content-Length: %d\r\n\r\n" % length + bytes(sent)


def trickle(clients: list[socket.socket], seconds: float, piece: bytes = b"x") -> None:
    """A little of each of them, until they are closed or the time is over."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for sock in clients:
            try:
                sock.sendall(piece)
            except OSError:
                return
        time.sleep(0.05)


def prompt(server: Server, seconds: float = 1.5) -> None:
    """Ordinary requests are answered promptly all the time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for request in (
            b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n",
            put(5, 5, b"Connection: close\r\n"),
        ):
            began = time.monotonic()
            assert server.ask(request).startswith(b"HTTP/1.1 200")
            assert time.monotonic() - began < PROMPT
        time.sleep(0.05)


def statuses(clients: list[socket.socket]) -> set[bytes]:
    found = set()
    for sock in clients:
        with sock:
            last = read_all(sock).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
            found.add(last[9:12])
    return found


def test_heads_that_come_a_byte_at_a_time_hold_no_thread_and_get_408(server: Server) -> None:
    clients = server.slow(200, b"GET / HTTP/1.1\r\nX-A: ")
    trickling = threading.Thread(target=trickle, args=(clients, 2.5))
    trickling.start()
    prompt(server)
    trickling.join()
    assert statuses(clients) == {b"408"}


@pytest.mark.parametrize("length", [1000, 100_000_000])
def test_bodies_that_come_a_byte_at_a_time_hold_no_thread_and_get_408(server: Server, length: int) -> None:
    clients = server.slow(200, put(length, 1))
    trickling = threading.Thread(target=trickle, args=(clients, 2.5))
    trickling.start()
    prompt(server, 2.0)
    trickling.join()
    assert statuses(clients) == {b"408"}


@pytest.mark.parametrize(
    "first",
    [
        put(100_000_000, 200_000),
        put(100_000_000, 0, b"Expect: 100-continue\r\n"),
        b"PUT / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
    ids=["fast at first", "100-continue", "chunked"],
)
def test_bodies_that_become_slow_keep_nobody_out_and_get_408_or_503(server: Server, first: bytes) -> None:
    server.worker.idle_seconds = 2.0
    clients = server.slow(40, first)
    prompt(server)
    found = statuses(clients)
    assert found <= {b"408", b"503"}
    assert b"408" in found


def test_the_slowest_body_is_cut_for_an_upload_that_waits(server: Server) -> None:
    server.worker.idle_seconds = 60.0
    *steady, stalled = clients = server.slow(THREADS - 1, put(2_000_000, 100_000))
    trickling = threading.Thread(target=trickle, args=(steady, 2.0, bytes(5000)))
    trickling.start()
    time.sleep(0.7)  # until all have their turns; if not yet, the upload waits for nobody
    began = time.monotonic()
    assert server.ask(put(1_000_000, 1_000_000, b"Connection: close\r\n")).startswith(b"HTTP/1.1 200")
    assert time.monotonic() - began < PROMPT
    assert stalled.recv(100).startswith(b"HTTP/1.1 408")
    trickling.join()
    for sock in steady:
        sock.sendall(bytes(2_000_000))
        assert sock.recv(100).startswith(b"HTTP/1.1 200")
    for sock in clients:
        sock.close()


def test_a_slow_and_steady_body_is_taken_while_nobody_waits(server: Server) -> None:
    with server.connect() as sock:
        sock.sendall(put(200_000, 0))
        for _ in range(20):
            sock.sendall(bytes(10_000))
            time.sleep(0.15)
        assert sock.recv(100).startswith(b"HTTP/1.1 200")


def test_slow_and_steady_bodies_go_on_while_a_thread_is_left_for_the_others(server: Server) -> None:
    clients = server.slow(THREADS - 1, put(400_000, 100_000))
    for _ in range(10):
        for sock in clients:
            sock.sendall(bytes(30_000))
        assert server.ask().startswith(b"HTTP/1.1 200")
        time.sleep(0.2)
    for sock in clients:
        with sock:
            assert sock.recv(100).startswith(b"HTTP/1.1 200")


def test_answers_that_nobody_reads_are_cut_for_others(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_socket, "SEND_SECONDS", 60.0)
    clients = server.slow(12, b"GET /big HTTP/1.1\r\n" + HOST + b"\r\n")
    time.sleep(0.3)  # until they have their threads; if not yet, they come before the next
    began = time.monotonic()
    assert server.ask().startswith(b"HTTP/1.1 200")
    assert time.monotonic() - began < 6
    for sock in clients:
        sock.close()


def test_an_answer_that_is_read_slowly_and_steadily_comes_whole_and_one_that_is_not_read_is_cut(server: Server) -> None:
    steady, stalled = server.slow(2, b"GET /big HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    with steady, stalled:
        count = 0
        while piece := steady.recv(1 << 18):
            count += len(piece)
            time.sleep(0.03)
        assert count > BIG
        wait_until(lambda: not server.worker.waits, what="nobody is waited for")
        with pytest.raises(ConnectionResetError):  # or it would take what it got for whole
            read_all(stalled)


@pytest.mark.parametrize("server", [60], indirect=True)
def test_at_the_limit_of_connections_the_silent_make_room(server: Server) -> None:
    clients = server.slow(100, b"")
    prompt(server, 1.0)
    for sock in clients:
        sock.close()


@pytest.mark.parametrize("piece", [1, 7, 10_000])
def test_a_request_in_pieces_is_the_same_request(server: Server, piece: int) -> None:
    request = put(30, 30) + put(0, 0) + put(20, 20, b"Connection: close\r\n")
    with server.connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(request), piece):
            sock.sendall(request[start : start + piece])
            time.sleep(0.001)
        answers = read_all(sock)
    assert [part[-2:].strip() for part in answers.split(b"HTTP/1.1 200")[1:]] == [b"30", b"0", b"20"]


def test_a_head_without_an_end_is_refused_before_it_fills_the_memory(server: Server) -> None:
    with server.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n" + b"X-A: %s\r\n" % bytes([97]) * 4000)
        for _ in range(20):
            try:
                sock.sendall(b"X-B: %s\r\n" % (b"b" * 8000))
            except OSError:
                break
        assert sock.recv(100).startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize(
    ("target", "path"), [("/descargar/año.txt".encode(), "/descargar/año.txt"), (b"/\xf1?a=\xf1", "/\udcf1")]
)
def test_a_target_as_curl_sends_it_is_taken_as_if_it_were_encoded(server: Server, target: bytes, path: str) -> None:
    answer = server.ask(b"ECHO " + target + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    assert answer.partition(b"\r\n\r\n")[2] == path.encode(errors="surrogateescape")


@pytest.mark.parametrize("name", [b"X-Meta-foo_bar", b"x_meta_foo"])
def test_a_header_to_be_stored_that_would_be_lost_is_refused_by_name(server: Server, name: bytes) -> None:
    answer = server.ask(b"GET / HTTP/1.1\r\n" + HOST + name + b": 1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")
    assert name in answer
    assert server.ask(b"GET / HTTP/1.1\r\n" + HOST + b"X_Other: 1\r\nConnection: close\r\n\r\n")[9:12] == b"200"


def test_trailers_may_have_underscores_and_no_more_bytes_than_a_head(server: Server) -> None:
    server.worker.idle_seconds = 60.0
    chunked = b"PUT / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\nx\r\n0\r\n"
    assert server.ask(chunked + b"X-Meta-a_b: 1\r\n\r\n").startswith(b"HTTP/1.1 200")
    with server.connect() as sock:
        sock.settimeout(5)
        sock.sendall(chunked + b"X-A: " + bytes([97]) * unreader.HEAD_BYTES_MAX)
        assert sock.recv(100).startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize("server", [60], indirect=True)
def test_what_the_worker_itself_answers_at_the_spanish_door_has_its_shape(server: Server) -> None:
    server.worker.idle_seconds = 60.0
    clients = server.slow(100, b"POST /cargar" + put(1000, 1)[5:])
    refused, _, _ = select.select(clients, [], [], 10)
    answer = read_all(refused[0])
    assert answer.startswith(b"HTTP/1.1 503")
    assert answer.partition(b"\r\n\r\n")[2].decode() == '{"error": "inténtelo de nuevo"}'
    for sock in clients:
        sock.close()


def ask_again(sock: socket.socket) -> None:
    sock.sendall(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
    answer = b""
    while not answer.endswith(b"\r\n\r\n0"):
        piece = sock.recv(1 << 16)
        assert piece, answer
        answer += piece


def test_a_thread_stays_with_a_client_that_goes_on_at_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    enqueue = server.worker.enqueue_req

    def noted(conn: connection.Connection) -> None:
        asked.append(conn)
        enqueue(conn)

    monkeypatch.setattr(server.worker, "enqueue_req", noted)
    with server.connect() as sock:
        for _ in range(50):
            ask_again(sock)
    assert len(asked) < 25, "each of them went over the main thread"


def test_clients_that_never_stop_asking_leave_the_threads_to_others_in_turn(server: Server) -> None:
    ending = threading.Event()
    counts = [0] * (THREADS + 3)

    def chat(number: int) -> None:
        with server.connect() as sock:
            while not ending.is_set():
                ask_again(sock)
                counts[number] += 1

    clients = [threading.Thread(target=chat, args=(number,)) for number in range(len(counts))]
    for client in clients:
        client.start()
    prompt(server)
    ending.set()
    for client in clients:
        client.join(10)
    assert min(counts) > max(counts) / 10, counts


def test_who_has_taken_a_connection_leaves_the_next_to_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LEAVE_SECONDS", 60.0)
    monkeypatch.setattr(worker, "LEAVE_SECONDS_MOST", 60.0)
    with listening() as listener:
        servers = [Server(1000, listener) for _ in range(4)]
        clients = [servers[0].connect() for _ in range(4)]
        for sock in clients:
            ask_again(sock)
        shares = [server.worker.nr_conns for server in servers]
        for sock in clients:
            sock.close()
        for server in servers:
            server.stop()
    assert shares == [1, 1, 1, 1]


def test_who_is_alone_takes_each_connection_at_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LEAVE_SECONDS", 60.0)
    monkeypatch.setattr(worker, "LEAVE_SECONDS_MOST", 60.0)
    for _ in range(3):
        assert server.ask().startswith(b"HTTP/1.1 200")
