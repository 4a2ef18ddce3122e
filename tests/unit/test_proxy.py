"""The proxy of the fault tests does to bytes what it is told, on connections that stand and on new ones."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.support.proxy import LARGE, Proxy


def _echo(listener: socket.socket) -> None:
    def serve(sock: socket.socket) -> None:
        with sock, suppress(OSError):
            while data := sock.recv(65536):
                sock.sendall(data)

    with suppress(OSError):
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_echo, args=(listener,), daemon=True).start()
    proxy = Proxy("127.0.0.1", listener.getsockname()[1])
    yield proxy
    proxy.close()
    listener.close()


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


def exchange(sock: socket.socket, data: bytes, seconds: float = 5) -> bytes:
    """What comes back, up to the end of the stream."""
    sock.settimeout(seconds)
    got = b""
    with suppress(ConnectionError):
        sock.sendall(data)
        while len(got) < len(data) and (piece := sock.recv(65536)):
            got += piece
    return got


def test_it_forwards_and_keeps_its_port_over_a_refusal(proxy: Proxy) -> None:
    standing = connect(proxy)
    assert exchange(standing, b"a") == b"a"
    proxy.refuse()
    with pytest.raises(ConnectionError):
        connect(proxy)
    assert exchange(standing, b"b") == b""
    proxy.forward()
    assert exchange(connect(proxy), b"c") == b"c"
    assert proxy.connections == 2


def test_a_hang_lets_nothing_through_until_it_ends(proxy: Proxy) -> None:
    standing = connect(proxy)
    assert exchange(standing, b"a") == b"a"
    proxy.hang()
    for sock in (standing, connect(proxy)):
        with pytest.raises(TimeoutError):
            exchange(sock, b"b", 0.2)
    proxy.forward()
    assert standing.recv(1) == b"b"


def test_a_cut_comes_after_so_many_bytes(proxy: Proxy) -> None:
    sock = connect(proxy)
    assert exchange(sock, b"warm") == b"warm"
    proxy.cut(after=15)
    assert exchange(sock, b"0123456789") == b"01234"
    assert exchange(connect(proxy), b"01234") == b"01234"


def test_answers_are_delayed_trickled_flipped_or_replaced(proxy: Proxy) -> None:
    sock, began = connect(proxy), time.monotonic()
    proxy.delay(0.3)
    assert exchange(sock, b"a") == b"a"
    assert time.monotonic() - began > 0.3
    proxy.trickle(1000)
    began = time.monotonic()
    assert exchange(sock, bytes(300)) == bytes(300)
    assert time.monotonic() - began > 0.2
    proxy.flip()
    assert exchange(sock, b"short") == b"short"
    assert exchange(sock, bytes(LARGE)) != bytes(LARGE)
    proxy.flip_sent()
    assert exchange(sock, b"short") == b"short"
    assert exchange(sock, bytes(LARGE)) != bytes(LARGE)
    proxy.answer(503)
    assert exchange(sock, b"GET / HTTP/1.1\r\n\r\n" + bytes(200)).startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize("after", [False, True])
def test_a_connection_is_cut_at_a_mark_and_its_answer_is_not_seen(proxy: Proxy, after: bool) -> None:
    proxy.cut_at(b"COMMIT", after=after)
    sock = connect(proxy)
    assert exchange(sock, b"BEGIN") == b"BEGIN"
    assert exchange(sock, b"COMMIT") == b""


def test_a_mark_counts_only_on_a_connection_that_first_sent_something_else(proxy: Proxy) -> None:
    plain, announced = connect(proxy), connect(proxy)
    proxy.cut_at(b"mark", first=b"first")
    assert exchange(plain, b"mark") == b"mark"
    assert not proxy.marked.is_set()
    assert exchange(announced, b"first") == b"first"
    assert exchange(announced, b"mark") == b""
    assert proxy.marked.is_set()
    assert exchange(plain, b"mark") == b"mark"
