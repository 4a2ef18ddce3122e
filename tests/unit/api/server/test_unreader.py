"""The limits on reading a client's socket, with the times made short."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from api.server import unreader
from api.server.client_socket import ClientSocket, Waits
from api.server.unreader import PacedUnreader

Pair = tuple[socket.socket, PacedUnreader]


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    monkeypatch.setattr(unreader, "RATE_SECONDS", 0.3)
    client, server = socket.socketpair()
    sock = ClientSocket(server, Waits())
    yield client, PacedUnreader(sock, idle=0.2)
    client.close()
    sock.close()


def drip(client: socket.socket, piece: bytes, pause: float, seconds: float) -> threading.Thread:
    def run() -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            client.sendall(piece)
            time.sleep(pause)
        client.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def read_to_the_end(reading: PacedUnreader) -> int:
    received = 0
    while data := reading.chunk(1 << 16):
        received += len(data)
    return received


def test_body_that_pauses_longer_than_the_limit_times_out(pair: Pair) -> None:
    client, reading = pair
    reading.begin_body(expects_continue=False)
    client.sendall(b"x")
    assert reading.chunk() == b"x"
    with pytest.raises(TimeoutError):
        reading.chunk()


def test_body_below_the_least_rate_times_out_though_it_never_pauses_long(pair: Pair) -> None:
    client, reading = pair
    reading.begin_body(expects_continue=False)
    dripping = drip(client, b"x", pause=0.02, seconds=0.8)
    with pytest.raises(TimeoutError):
        read_to_the_end(reading)
    dripping.join()


def test_body_above_the_least_rate_is_read_to_its_end(pair: Pair) -> None:
    client, reading = pair
    reading.begin_body(expects_continue=False)
    dripping = drip(client, bytes(4096), pause=0.02, seconds=0.8)
    assert read_to_the_end(reading) > 0
    dripping.join()


def test_time_in_which_the_client_was_not_waited_for_does_not_count(pair: Pair) -> None:
    client, reading = pair
    reading.begin_body(expects_continue=False)
    for _ in range(4):
        client.sendall(b"x")
        time.sleep(0.1)  # a slow node, not a slow client: what was sent waits in the socket
        assert reading.chunk() == b"x"


def test_100_continue_is_sent_when_the_body_is_wanted_and_once(pair: Pair) -> None:
    client, reading = pair
    reading.begin_body(expects_continue=True)
    client.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.recv(100)
    client.sendall(b"body")
    reading.chunk()
    client.sendall(b"more")
    reading.chunk()
    assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
