"""HTTP/1.1 to one node, as much of it as S3 needs.

1. take an idle connection (one the node closed meanwhile is thrown away), or connect;
2. send head and body; a node may refuse before it took all of the body, so its answer is looked for even then;
3. read the head, then exactly the announced body; a head or body that is malformed or too long is an error;
4. give the connection back only when the answer was read to its end; otherwise close it.

A connection that was idle and ends before the first byte of an answer was closed by the node at that moment: the
request is sent once more on a fresh one. Every request made here is idempotent.

Written out instead of taken from `http.client`, whose parsing of heads (as e-mail) is half the cost of a small read.
"""

from __future__ import annotations

import re
import ssl
import time
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from urllib.parse import urlsplit

from common.blobstore.base import Bytes, Deadline
from common.blobstore.connection import ConnectionLost, NodeConnection, connect
from common.errors import ConfigurationError, NodeError

IDLE_MAX = 16  # connections kept; a process has 8 threads and a few probes
IDLE_SECONDS = 20.0  # shorter than what servers and proxies usually allow
HEAD_MAX = 64 * 1024
_STATUS = re.compile(r"HTTP/1\.([01]) ([1-5]\d\d)(?: |$)")
_LENGTH = re.compile(r"[0-9]{1,15}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?")


class Answer:
    """An open answer; a context manager that gives its connection back or closes it. Implements BlobReader.

    `size`: bytes of its body, -1 where it is not announced. `headers`: by lower-case name.
    """

    def __init__(self, transport: Transport, connection: NodeConnection, method: str) -> None:
        self._transport = transport
        self._connection = connection
        self.status, self._keeps, self.headers = _head(connection)
        self._chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
        self.size = self._announced(method)
        self._rest = self.size

    def readinto(self, buffer: memoryview) -> None:
        if len(buffer) > self._rest:
            raise NodeError("the answer ended too early")
        self._connection.readinto(buffer)
        self._rest -= len(buffer)

    def chunks(self, size: int) -> Iterator[bytes]:
        while self._rest > 0:
            yield self._take(min(size, self._rest))

    def body(self, limit: int) -> bytes:
        """All of it, if it is at most `limit` bytes; nothing if it is delimited only by the connection's end."""
        if self._chunked and self.size < 0:
            return self._dechunk(limit)
        if self.size > limit:
            raise NodeError("the answer is longer than it may be")
        return self._take(self._rest) if self._rest > 0 else b""

    def _take(self, count: int) -> bytes:
        buffer = bytearray(count)
        self.readinto(memoryview(buffer))
        return bytes(buffer)

    def _announced(self, method: str) -> int:
        if method == "HEAD" or self.status in (204, 304):
            return 0
        length = self.headers.get("content-length", "")
        return int(length) if _LENGTH.fullmatch(length) and not self._chunked else -1

    def _dechunk(self, limit: int) -> bytes:
        data = bytearray()
        while True:
            found = _CHUNK.fullmatch(self._connection.until(b"\r\n", HEAD_MAX))
            if not found:
                raise NodeError("the answer is malformed (a chunk)")
            start, count = len(data), int(found[1], 16)
            if start + count > limit:
                raise NodeError("the answer is longer than it may be")
            if count == 0:
                break
            data += bytes(count)
            self._connection.readinto(memoryview(data)[start:])
            if self._connection.until(b"\r\n", 0):
                raise NodeError("the answer is malformed (a chunk)")
        while self._connection.until(b"\r\n", HEAD_MAX):  # trailers
            continue
        self._rest = 0
        return bytes(data)

    def __enter__(self) -> Answer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rest == 0 and self._keeps:
            self._transport.give_back(self._connection)
        else:
            self._connection.close()


class Transport:
    """Requests to one endpoint over a few kept connections. Safe across threads, not across forks.

    Raises NodeTimeout and NodeError only.
    """

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ConfigurationError("a node's endpoint must be http://host:port or https://host:port")
        self.authority = parts.netloc.rpartition("@")[2]
        self._host, self._port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._idle: deque[NodeConnection] = deque()

    def request(
        self, method: str, target: str, deadline: Deadline, body: Bytes | None = None, headers: str = ""
    ) -> Answer:
        """Send a request and return the open answer. `headers`: further lines, each ended by CRLF."""
        data = None if body is None else memoryview(body).cast("B")
        length = "" if data is None else f"Content-Length: {len(data)}\r\n"
        head = f"{method} {target} HTTP/1.1\r\nHost: {self.authority}\r\n{length}{headers}\r\n".encode("ascii")
        connection = self._take() or self._connect(deadline)
        try:
            return self._exchange(connection, method, head, data, deadline)
        except ConnectionLost as cut:
            if connection.fresh or cut.answered:
                raise
        return self._exchange(self._connect(deadline), method, head, data, deadline)

    def give_back(self, connection: NodeConnection) -> None:
        """Keep a connection whose answer was read to its end."""
        connection.fresh = False
        connection.idle_since = time.monotonic()
        if len(self._idle) < IDLE_MAX:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close the idle connections."""
        while (connection := self._pop()) is not None:
            connection.close()

    def _exchange(
        self, connection: NodeConnection, method: str, head: bytes, body: memoryview | None, deadline: Deadline
    ) -> Answer:
        broken: ConnectionLost | None = None
        try:
            try:
                connection.send(head, body, deadline)
            except ConnectionLost as cut:
                broken = cut
            return Answer(self, connection, method)
        except BaseException as error:
            connection.close()
            if broken is not None and isinstance(error, ConnectionLost):
                raise broken from None
            raise

    def _take(self) -> NodeConnection | None:
        oldest = time.monotonic() - IDLE_SECONDS
        while (connection := self._pop()) is not None:
            if connection.idle_since > oldest and connection.quiet():
                return connection
            connection.close()
        return None

    def _pop(self) -> NodeConnection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _connect(self, deadline: Deadline) -> NodeConnection:
        return connect(self._host, self._port, self._tls, deadline)


def _head(connection: NodeConnection) -> tuple[int, bool, dict[str, str]]:
    """Status, whether the connection stays open, headers; interim (1xx) answers are passed over."""
    while True:
        first, *lines = connection.until(b"\r\n\r\n", HEAD_MAX).decode("latin-1").split("\r\n")
        found = _STATUS.match(first)
        if not found:
            raise NodeError("not an HTTP answer")
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise NodeError("the answer is malformed (a header)")
            headers[name.lower()] = value.strip()
        status = int(found[2])
        if status >= 200:
            return status, found[1] == "1" and "close" not in headers.get("connection", "").lower(), headers
