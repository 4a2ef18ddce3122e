"""When what is written to a client leaves for it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from api.server.client_socket import JOINED_BYTES, ClientSocket, Waits

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.fixture
def ends() -> Iterator[tuple[ClientSocket, socket.socket]]:
    """The server's end, and the client's, which sees each packet by itself."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setblocking(False)
    with ClientSocket(ours, Waits()) as server, theirs:
        yield server, theirs


def packets(client: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(client.recv(1 << 20))
        except BlockingIOError:
            return found


def test_a_held_head_and_a_small_body_are_one_packet(ends: tuple[ClientSocket, socket.socket]) -> None:
    server, client = ends
    server.hold()
    server.sendall(HEAD)
    assert packets(client) == []
    server.sendall(b"body")
    server.sendall(b"more")
    server.flush()
    assert packets(client) == [HEAD + b"body", b"more"]


def test_a_head_that_stands_alone_leaves_when_the_answer_ends(ends: tuple[ClientSocket, socket.socket]) -> None:
    server, client = ends
    server.hold()
    server.sendall(HEAD)
    server.flush()
    server.flush()
    server.sendall(b"the next answer, not held")
    assert packets(client) == [HEAD, b"the next answer, not held"]


def test_a_large_piece_is_not_copied_behind_the_head(ends: tuple[ClientSocket, socket.socket]) -> None:
    server, client = ends
    large = bytes(JOINED_BYTES + 1)
    server.hold()
    server.sendall(HEAD)
    server.sendall(large)
    assert packets(client) == [HEAD, large]


def test_what_is_not_held_leaves_at_once_even_before_a_hold(ends: tuple[ClientSocket, socket.socket]) -> None:
    server, client = ends
    server.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert packets(client) == [b"HTTP/1.1 100 Continue\r\n\r\n"]
