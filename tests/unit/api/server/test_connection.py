"""A body straight from the socket into the caller's memory, and never a byte of what comes behind it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest
from gunicorn.config import Config

from api.server.client_socket import Waits
from api.server.connection import AHEAD_BYTES, Connection, Exchange

HEAD = b"PUT / HTTP/1.1\r\nHost: localhost\r\n"
Pair = tuple[socket.socket, Connection]


@pytest.fixture
def pair() -> Iterator[Pair]:
    client, server = socket.socketpair()
    conn = Connection(Config(), server, ("127.0.0.1", 1), ("127.0.0.1", 2), 0.3, Waits())
    yield client, conn
    client.close()
    conn.close()


def sent(client: socket.socket, data: bytes) -> threading.Thread:
    thread = threading.Thread(target=client.sendall, args=(data,))
    thread.start()
    return thread


def begun(conn: Connection) -> Exchange:
    """The next request, as far as it has to have come."""
    conn.request = None
    while not conn.arrived():
        conn.sock.readable(0.05)
    assert conn.exchange is not None
    return conn.exchange


def test_a_body_comes_whole_and_what_follows_it_is_the_next_request(pair: Pair) -> None:
    client, conn = pair
    body = os.urandom(3 * AHEAD_BYTES + 17)
    following = b"GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n"
    sending = sent(client, HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body + following)
    exchange = begun(conn)
    got, memory = bytearray(), memoryview(bytearray(1 << 20))
    while count := exchange.readinto(memory):
        got += memory[:count]
    sending.join()
    assert got == body
    assert not exchange.unread()
    begun(conn)
    assert conn.request.path == "/next"


def test_no_more_is_taken_than_there_is_room_for(pair: Pair) -> None:
    client, conn = pair
    body = os.urandom(1000)
    client.sendall(HEAD + b"Content-Length: 1000\r\n\r\n" + body)
    exchange = begun(conn)
    memory = memoryview(bytearray(300))
    got = b"".join(bytes(memory[: exchange.readinto(memory)]) for _ in range(4))
    assert got == body
    assert exchange.readinto(memory) == 0


def test_a_client_that_ends_or_stalls_midway_is_told_apart(pair: Pair) -> None:
    client, conn = pair
    client.sendall(HEAD + b"Content-Length: 200000\r\n\r\n" + bytes(AHEAD_BYTES))
    exchange = begun(conn)
    memory = memoryview(bytearray(AHEAD_BYTES))
    assert exchange.readinto(memory) == AHEAD_BYTES
    with pytest.raises(TimeoutError):
        exchange.readinto(memory)
    assert conn.request.body.failed
    client.shutdown(socket.SHUT_WR)
    assert exchange.readinto(memory) == 0
    assert exchange.unread()


def test_a_client_that_waits_to_be_told_is_told(pair: Pair) -> None:
    client, conn = pair
    client.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    exchange = begun(conn)
    memory = memoryview(bytearray(10))
    with pytest.raises(TimeoutError):
        exchange.readinto(memory)
    assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(b"hello")
    assert exchange.readinto(memory) == 5


def test_a_chunked_body_and_one_begun_otherwise_have_to_be_read(pair: Pair) -> None:
    client, conn = pair
    client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    exchange = begun(conn)
    memory = memoryview(bytearray(10))
    assert exchange.readinto(memory) is None
    assert conn.request.body.read(10) == b"hello"
    client.sendall(HEAD + b"Content-Length: 9\r\n\r\none\ntwo\n\n")
    exchange = begun(conn)
    assert conn.request.body.readline() == b"one\n"
    assert exchange.readinto(memory) is None
    assert conn.request.body.read(10) == b"two\n\n"
