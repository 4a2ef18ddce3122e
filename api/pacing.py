"""Reading a client's socket under limits, and the last words to one that broke them.

Headers must be there within HEAD_SECONDS; a body may pause for the idle limit and must keep RATE_BYTES a second,
averaged over RATE_SECONDS in which it was waited for. `100 Continue` is sent when the body is first wanted.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time

from gunicorn.http.errors import NoMoreData
from gunicorn.http.unreader import SocketUnreader

from api.errors import PROBLEM, Answer, problem

HEAD_SECONDS = 5.0
SEND_SECONDS = 60.0
RATE_BYTES = 4 * 1024
RATE_SECONDS = 30.0
CLOSE_SECONDS = 2.0
CLOSE_BYTES = 64 << 20

_HEAD_TIMEOUT = Answer(408, "headers-timeout", "Request Timeout")


class PacedUnreader(SocketUnreader):  # type: ignore[misc]
    """Reads the socket under limits. `idle` seconds without a byte, or a body below the rate, raise TimeoutError."""

    def __init__(self, sock: socket.socket, idle: float) -> None:
        super().__init__(sock)
        self._idle = idle
        self._head_until: float | None = None
        self.expects_continue = False
        self.draining = False
        self._waited = 0.0
        self._came = 0

    def begin_head(self) -> None:
        """A request begins: its headers have HEAD_SECONDS from now."""
        self._head_until = time.monotonic() + HEAD_SECONDS

    def begin_body(self, expects_continue: bool) -> None:
        self._head_until = None
        self.expects_continue = expects_continue
        self.draining = False
        self._waited, self._came = 0.0, 0

    def chunk(self, size_hint: int | None = None) -> bytes:
        if self.draining:
            return bytes(super().chunk(size_hint))
        if self._head_until is not None:
            return self._head_chunk(size_hint)
        return self._body_chunk(size_hint)

    def _head_chunk(self, size_hint: int | None) -> bytes:
        assert self._head_until is not None
        left = self._head_until - time.monotonic()
        try:
            self.sock.settimeout(max(left, 0.001))
            return bytes(super().chunk(size_hint))
        except TimeoutError:
            refuse(self.sock, _HEAD_TIMEOUT, "the headers did not come in time")
            raise NoMoreData() from None
        finally:
            self.sock.settimeout(SEND_SECONDS)

    def _body_chunk(self, size_hint: int | None) -> bytes:
        if self.expects_continue:
            self.expects_continue = False
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        began = time.monotonic()
        self.sock.settimeout(self._idle)
        try:
            data = bytes(super().chunk(size_hint))
        finally:
            self.sock.settimeout(SEND_SECONDS)
        self._waited += time.monotonic() - began
        self._came += len(data)
        if self._waited >= RATE_SECONDS:
            if data and self._came < RATE_BYTES * self._waited:
                raise TimeoutError("the body comes too slowly")
            self._waited, self._came = 0.0, 0
        return data


def refuse(sock: socket.socket, answer: Answer, detail: str) -> None:
    """Write a problem document straight to the socket; the connection is to be closed then."""
    request_id = os.urandom(12).hex()
    body = json.dumps(problem(answer, detail, request_id)).encode()
    head = (
        f"HTTP/1.1 {answer.status} {answer.title}\r\nContent-Type: {PROBLEM}\r\nContent-Length: {len(body)}\r\n"
        f"X-Request-Id: {request_id}\r\nConnection: close\r\n\r\n"
    )
    with contextlib.suppress(OSError):
        sock.settimeout(CLOSE_SECONDS)
        sock.sendall(head.encode("latin-1") + body)


def drain(sock: socket.socket) -> None:
    until = time.monotonic() + CLOSE_SECONDS
    drained = 0
    while drained < CLOSE_BYTES and (left := until - time.monotonic()) > 0:
        sock.settimeout(left)
        data = sock.recv(1 << 18)
        if not data:
            return
        drained += len(data)
