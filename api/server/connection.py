"""One client's connection: what has come of its request, and whether a thread can serve it without waiting."""

from __future__ import annotations

import enum
import socket
import time
from typing import Any

from gunicorn.http.body import ChunkedReader
from gunicorn.workers import gthread

from api.server.client_socket import ClientSocket, Waits
from api.server.request_head import RequestHead
from api.server.unreader import Incomplete, PacedUnreader

HEAD_SECONDS = 5.0
AHEAD_BYTES = 64 * 1024  # of a body, or all of a shorter one, are there before a thread takes it
_END_OF_CHUNKS = b"\r\n0\r\n\r\n"


class WaitingFor(enum.Enum):
    """What a connection waits for without a thread."""

    SILENT = "the first byte"
    HEAD = "the rest of the head"
    BODY = "the beginning of the body"
    TURN = "one of the threads that may wait for a body"
    CLOSING = "the client's end"


class Exchange:
    """One request on its connection, as the application sees it (`wsgi.input.exchange`)."""

    __slots__ = ("_request", "_unreader")

    def __init__(self, request: Any, unreader: PacedUnreader) -> None:
        self._request = request
        self._unreader = unreader

    def readinto(self, buffer: memoryview) -> int | None:
        """Bytes of a body of known length straight into the caller's memory; 0 at its end, or where the client ended.

        None: it has to be read. gunicorn's own way copies each byte many times.
        """
        body, reader = self._request.body, self._request.body.reader
        if isinstance(reader, ChunkedReader) or body.buf.tell():
            return None
        try:
            count = self._unreader.receive_into(buffer[: reader.length]) if reader.length else 0
        except BaseException:
            body.failed = True
            raise
        reader.length -= count
        return count

    def unread(self) -> bool:
        """Whether some of the body may still be on its way."""
        reader = self._request.body.reader
        left = reader.parser is not None if isinstance(reader, ChunkedReader) else reader.length > 0
        return left or self._unreader.expects_continue

    def close_unless_read(self) -> None:
        """Announce the end of the connection if some of the body was not read."""
        if self.unread():
            self._request.force_close()


class Connection(gthread.TConn):  # type: ignore[misc]
    """Belongs to the thread that serves it, else to the main thread. `idle`: seconds a body may pause."""

    def __init__(self, cfg: Any, sock: socket.socket, client: Any, server: Any, idle: float, waits: Waits) -> None:
        super().__init__(cfg, ClientSocket(sock, waits), client, server)
        super().init()
        self.parser.mesg_class = RequestHead
        self.sock.setblocking(False)
        self.unreader = self.parser.unreader = PacedUnreader(self.sock, idle)
        self.phase = WaitingFor.SILENT
        self.until = 0.0  # of this phase
        self.request: Any = None
        self.exchange: Exchange | None = None
        self.has_turn = False
        self.drained = 0
        self._head_until: float | None = None

    def arrived(self) -> bool:
        """Whether the request can be handed to the application: its head, and enough of its body. Else see `phase`."""
        if self.request is None and not self._parse():
            return False
        if self.unreader.expects_continue or self.unreader.expired or self.unreader.has(self.body_wanted()):
            return True
        self.phase = WaitingFor.BODY
        return False

    def _parse(self) -> bool:
        self.exchange = None
        self.unreader.begin_head()
        try:
            request = next(self.parser)
        except Incomplete:
            came = self.unreader.put_back()
            self.phase = WaitingFor.HEAD if came else WaitingFor.SILENT
            if self._head_until is None:
                self._head_until = time.monotonic() + HEAD_SECONDS
            self.until = self._head_until
            return False
        self._head_until = None
        self.unreader.begin_body(request._expected_100_continue)
        request._expected_100_continue = False  # the unreader sends it, when the body is wanted
        self.exchange = request.body.exchange = Exchange(request, self.unreader)
        self.request = request
        return True

    @property
    def path(self) -> str:
        """What is asked for, as far as it is known."""
        return "" if self.request is None else str(self.request.path)

    def body_wanted(self) -> int:
        reader = self.request.body.reader
        return 0 if isinstance(reader, ChunkedReader) else min(int(reader.length), AHEAD_BYTES)

    def must_wait(self) -> bool:
        """Whether a thread may have to wait for the rest of the body."""
        unreader = self.unreader
        if unreader.ended or unreader.expired:
            return False
        reader = self.request.body.reader
        if isinstance(reader, ChunkedReader):
            return not (b"\r\n" + unreader.buf.getvalue()).endswith(_END_OF_CHUNKS)
        return unreader.expects_continue or reader.length > unreader.buffered

    def say_goodbye(self) -> bool:
        """Send the end; whether that is all. Else what still comes must be read, or a reset overtakes the answer."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            return True
        return self.exchange is not None and not self.exchange.unread()

    def close(self, graceful: bool = False) -> None:
        self.sock.close()
