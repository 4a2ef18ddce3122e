"""Reading a client's socket under limits, and the last words to one that broke them.

A head is read as far as it has come: a thread never waits for the rest of it (`api/server/lobby.py` does). A body may
pause for the idle limit and must keep RATE_BYTES a second, averaged over RATE_SECONDS in which it was waited for. `100
Continue` is sent when the body is first wanted.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket

from gunicorn.http.errors import LimitRequestHeaders
from gunicorn.http.unreader import SocketUnreader

from api.http.problems import ProblemType, document
from api.server.client_socket import ClientSocket, Pace

RATE_SECONDS = 30.0
PATIENCE_SECONDS = 0.005  # most clients that have begun go on at once: cheaper than another way through the poller
HEAD_BYTES_MAX = 64 * 1024


class Incomplete(Exception):
    """The head has not come whole yet."""


class PacedUnreader(SocketUnreader):  # type: ignore[misc]
    """Reads the socket under limits. `idle` seconds without a byte, or a body below the rate, raise TimeoutError."""

    def __init__(self, sock: ClientSocket, idle: float) -> None:
        super().__init__(sock)
        self.idle = idle
        self.expects_continue = False
        self.draining = False
        self.expired = False
        self.ended = False
        self.pace = Pace(RATE_SECONDS)
        self._head: bytearray | None = None
        self._patient = True

    # -- a head

    def begin_head(self) -> None:
        """Read a head, from its first byte on: at first, and again each time after it was Incomplete."""
        self._patient = self._head is None
        self.draining = False  # of the body before
        self._head = bytearray(self.buf.getvalue())

    def put_back(self) -> int:
        """What came of an Incomplete head is kept for the next time; how much that is."""
        assert self._head is not None
        self.buf = io.BytesIO()
        self.buf.write(self._head)
        return len(self._head)

    def begin_body(self, expects_continue: bool) -> None:
        self._head = None
        self._patient = True
        self.expects_continue = expects_continue
        self.draining = self.expired = False
        self.pace = Pace(RATE_SECONDS)

    # -- what has come already

    @property
    def buffered(self) -> int:
        return self.buf.getbuffer().nbytes

    def has(self, wanted: int) -> bool:
        """Whether so many bytes are buffered, after reading what has come; also at the end of what the client sends."""
        while (missing := wanted - self.buffered) > 0 and not self.ended:
            data = self._come(missing)
            if data is None:
                return False
            self._append(data)
        return True

    def fill(self, most: int) -> None:
        """Buffer what has come, if anything. Never waits."""
        with contextlib.suppress(BlockingIOError):
            self._append(self.sock.recv(most))

    def _append(self, data: bytes) -> None:
        self.ended = not data
        self.buf.seek(0, os.SEEK_END)
        self.buf.write(data)
        self.pace.moved += len(data)

    def _come(self, most: int) -> bytes | None:
        """None if nothing has."""
        for _ in range(2):
            with contextlib.suppress(BlockingIOError):
                return bytes(self.sock.recv(most))
            if not self._patient:
                return None
            self._patient = False
            self.sock.readable(PATIENCE_SECONDS)
        return None

    # -- as gunicorn's parsers read

    def chunk(self, size_hint: int | None = None) -> bytes:
        if self.draining:
            return bytes(super().chunk(size_hint))
        if self._head is not None:
            return self._head_chunk()
        return self._body_chunk(size_hint)

    def _head_chunk(self) -> bytes:
        assert self._head is not None
        if len(self._head) >= HEAD_BYTES_MAX:
            raise LimitRequestHeaders("the head is too large")
        data = self._come(self.mxchunk)
        if data is None:
            raise Incomplete
        self._head += data
        return data

    def _body_chunk(self, size_hint: int | None) -> bytes:
        self._begin_wanting()
        try:
            data = bytes(super().chunk(size_hint))
        except BlockingIOError:
            self.sock.wait_to_receive(self.pace, self.idle)
            data = bytes(super().chunk(size_hint))
        self._came(len(data))
        return data

    def receive_into(self, buffer: memoryview) -> int:
        """As much of the body as has come, at least a byte; 0 at the end of what the client sends."""
        if self.buffered:
            data = self.read(min(self.buffered, len(buffer)))
            buffer[: len(data)] = data
            return len(data)
        self._begin_wanting()
        try:
            count: int = self.sock.recv_into(buffer)
        except BlockingIOError:
            self.sock.wait_to_receive(self.pace, self.idle)
            count = self.sock.recv_into(buffer)
        self._came(count)
        return count

    def _begin_wanting(self) -> None:
        if self.expired:
            raise TimeoutError("the body did not come, or came too slowly")
        if self.expects_continue:
            self.expects_continue = False
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _came(self, count: int) -> None:
        self.pace.moved += count
        if self.pace.too_slow() and count:
            raise TimeoutError("the body came too slowly")


def refuse(sock: socket.socket, path: str, answer: ProblemType, detail: str, headers: str = "") -> None:
    """Write an error's document straight to the socket, as far as it takes it; the connection is to be closed then."""
    request_id = os.urandom(12).hex()
    kind, text = document(path, answer, detail, request_id)
    body = text.encode()
    head = (
        f"HTTP/1.1 {answer.status} {answer.title}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        f"{headers}X-Request-Id: {request_id}\r\nConnection: close\r\n\r\n"
    )
    with contextlib.suppress(OSError):
        sock.send(head.encode("latin-1") + body)
