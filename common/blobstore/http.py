"""HTTP/1.1 to one node, with a deadline that holds: the socket's timeout is set to what is left before every call.

A library's read timeout starts anew with each piece received, so a node that trickles never trips it. Here:

1. take an idle connection (one the node closed meanwhile is thrown away), or connect within 0.5 s;
2. send head and body, large bodies in pieces, so that a node that stops reading trips the deadline;
3. read the head, then exactly the announced body; whatever is more or endless is an error;
4. give the connection back only when the answer was read to its end; otherwise close it.

A connection that was idle and fails before the first byte of an answer was closed by the node at that moment: the
request is sent once more on a fresh one. Every request made here is idempotent.
"""

from __future__ import annotations

import io
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterator
from http.client import HTTPException, HTTPMessage, HTTPResponse
from types import TracebackType
from typing import cast
from urllib.parse import urlsplit

from common.blobstore.base import CONNECT_SECONDS, Bytes, Deadline
from common.errors import ConfigurationError, NodeError, NodeTimeout

IDLE_MAX = 16  # connections kept; a process has 8 threads and a few probes
IDLE_SECONDS = 20.0  # shorter than what servers and proxies usually allow
PIECE = 256 * 1024
READ_BUFFER = 32 * 1024  # a small blob with its head comes in one call


class Cut(NodeError):
    """The connection ended. `answered`: after the first byte of the answer."""

    def __init__(self, detail: str, answered: bool) -> None:
        super().__init__(detail)
        self.answered = answered


class Connection:
    """One connected socket; `deadline` is that of the request under way."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self.idle_since = 0.0
        self.fresh = True

    def usable(self, now: float) -> bool:
        """Not idle for too long, and nothing to read: neither the end of the stream nor bytes nobody asked for."""
        return now - self.idle_since < IDLE_SECONDS and not self._poll.poll(0)

    def send(self, head: bytes, body: memoryview, deadline: Deadline) -> None:
        small = len(body) <= PIECE
        self._send(memoryview(head + body if small else head), deadline)
        for start in range(0, 0 if small else len(body), PIECE):
            self._send(body[start : start + PIECE], deadline)

    def _send(self, data: memoryview, deadline: Deadline) -> None:
        self._sock.settimeout(deadline.remaining())
        try:
            self._sock.sendall(data)
        except TimeoutError:
            raise NodeTimeout("the node stopped taking data") from None
        except OSError as error:
            raise Cut(f"the connection broke while sending ({_words(error)})", answered=False) from None

    def receive(self, method: str, deadline: Deadline, has_body: bool) -> HTTPResponse:
        """The answer's head. The first byte's limit holds only where the node got no body to store first."""
        source = _Source(self._sock, deadline, deadline.at if has_body else deadline.first_byte_at)
        response = HTTPResponse(cast(socket.socket, source), method=method)
        try:
            response.begin()
        except HTTPException as error:
            raise Cut(f"not an HTTP answer ({_words(error)})", answered=source.begun) from None
        return response

    def close(self) -> None:
        self._sock.close()


class _Source(io.RawIOBase):
    """What HTTPResponse reads from: the socket, its timeout set before each recv."""

    def __init__(self, sock: socket.socket, deadline: Deadline, first_byte_at: float) -> None:
        self._sock = sock
        self._deadline = deadline
        self._first_byte_at = first_byte_at
        self.begun = False

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self, READ_BUFFER)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        at = self._deadline.at if self.begun else self._first_byte_at
        left = at - time.monotonic()
        try:
            if left <= 0:
                raise TimeoutError
            self._sock.settimeout(left)
            count = self._sock.recv_into(buffer)
        except TimeoutError:
            raise NodeTimeout("the node did not answer in time") from None
        except OSError as error:
            raise Cut(f"the connection broke ({_words(error)})", self.begun) from None
        self.begun = self.begun or count > 0
        return count


class Answer:
    """An open answer; a context manager that gives its connection back or closes it. Implements BlobReader."""

    def __init__(self, transport: Transport, connection: Connection, response: HTTPResponse) -> None:
        self._transport = transport
        self._connection = connection
        self._response = response
        self.status = response.status
        self.headers: HTTPMessage = response.headers
        self.size = response.length if response.length is not None else -1
        self._left = self.size

    def readinto(self, buffer: memoryview) -> None:
        filled = 0
        while filled < len(buffer):
            try:
                count = self._response.readinto(buffer[filled:])
            except HTTPException as error:
                raise NodeError(f"the answer is malformed ({_words(error)})") from None
            if count == 0:
                raise NodeError("the answer ended too early")
            filled += count
            self._left -= count

    def chunks(self, size: int) -> Iterator[bytes]:
        while self._left > 0:
            chunk = bytearray(min(size, self._left))
            self.readinto(memoryview(chunk))
            yield bytes(chunk)

    def body(self, limit: int) -> bytes:
        """All of it, if it is at most `limit` bytes."""
        if self.size > limit:
            raise NodeError("the answer is longer than it may be")
        try:
            data = self._response.read(limit + 1) if self.size else self._response.read()
        except HTTPException as error:
            raise NodeError(f"the answer is malformed ({_words(error)})") from None
        if len(data) > limit:
            raise NodeError("the answer is longer than it may be")
        if len(data) < self.size:
            raise NodeError("the answer ended too early")
        return data

    def __enter__(self) -> Answer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ended = self._response.isclosed() or self._response.length == 0
        self._response.close()
        if ended and not self._response.will_close:
            self._transport.give_back(self._connection)
        else:
            self._connection.close()


class Transport:
    """Requests to one endpoint over a few kept connections. Safe across threads, not across forks.

    Raises NodeTimeout and NodeError only. The name look-up of a host that is not an address is the resolver's and
    not bounded by the deadline.
    """

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ConfigurationError("a node's endpoint must be http://host:port or https://host:port")
        self.scheme = parts.scheme
        self.authority = parts.netloc.rpartition("@")[2]
        self._address = (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._idle: deque[Connection] = deque()

    def request(
        self,
        method: str,
        target: str,
        deadline: Deadline,
        body: Bytes | None = None,
        headers: str = "",
    ) -> Answer:
        """Send a request and return the open answer. `headers`: further lines, each ended by CRLF."""
        data = memoryview(b"") if body is None else memoryview(body).cast("B")
        length = "" if body is None else f"Content-Length: {len(data)}\r\n"
        head = f"{method} {target} HTTP/1.1\r\nHost: {self.authority}\r\n{length}{headers}\r\n".encode("ascii")
        connection = self._take() or self._connect(deadline)
        try:
            return self._exchange(connection, method, head, data, deadline)
        except Cut as cut:
            if connection.fresh or cut.answered:
                raise
        return self._exchange(self._connect(deadline), method, head, data, deadline)

    def give_back(self, connection: Connection) -> None:
        connection.fresh = False
        connection.idle_since = time.monotonic()
        if len(self._idle) < IDLE_MAX:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        while (connection := self._pop()) is not None:
            connection.close()

    def _exchange(
        self, connection: Connection, method: str, head: bytes, body: memoryview, deadline: Deadline
    ) -> Answer:
        try:
            broken: Cut | None = None
            try:
                connection.send(head, body, deadline)
            except Cut as cut:  # it may have refused before it took the body, and said why
                broken = cut
            try:
                return Answer(self, connection, connection.receive(method, deadline, len(body) > 0))
            except Cut as cut:
                raise broken or cut from None
        except BaseException:
            connection.close()
            raise

    def _take(self) -> Connection | None:
        now = time.monotonic()
        while (connection := self._pop()) is not None:
            if connection.usable(now):
                return connection
            connection.close()
        return None

    def _pop(self) -> Connection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _connect(self, deadline: Deadline) -> Connection:
        limit = Deadline(min(CONNECT_SECONDS, deadline.remaining()))
        failure: Exception = OSError("no address")
        try:
            for family, kind, protocol, _, address in socket.getaddrinfo(*self._address, type=socket.SOCK_STREAM):
                sock = socket.socket(family, kind, protocol)
                try:
                    return Connection(self._open(sock, address, limit))
                except (OSError, NodeTimeout) as error:
                    sock.close()
                    failure = error
        except OSError as error:  # the look-up of the name
            failure = error
        if isinstance(failure, TimeoutError | NodeTimeout):
            raise NodeTimeout("the node took too long to connect to") from None
        raise NodeError(f"cannot connect to the node ({_words(failure)})") from None

    def _open(self, sock: socket.socket, address: object, limit: Deadline) -> socket.socket:
        sock.settimeout(limit.remaining())
        sock.connect(cast(str, address))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is None:
            return sock
        sock.settimeout(limit.remaining())
        return self._tls.wrap_socket(sock, server_hostname=self._address[0])


def _words(error: Exception) -> str:
    """What went wrong in the operating system's words, which name no path and no secret."""
    return getattr(error, "strerror", None) or type(error).__name__
