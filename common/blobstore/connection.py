"""One connected socket whose every call is bounded by the deadline of the request under way.

A library's read timeout starts anew with each piece received, so a node that trickles never trips it. Here the
socket's timeout is set, before each call, to what is left.
"""

from __future__ import annotations

import select
import socket
import ssl
from contextlib import suppress
from typing import cast

from common.blobstore.base import CONNECT_SECONDS, Bytes, Deadline
from common.errors import NodeError, NodeTimeout

PIECE = 256 * 1024  # a node that stops reading is noticed between two of them
READ = 32 * 1024  # a small blob comes with its head in one call


class ConnectionLost(NodeError):
    """The connection ended. `answered`: after the first byte of the answer."""


class NodeConnection:
    """A socket with the bytes received ahead of what was asked for."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._ahead = memoryview(b"")
        self._deadline = Deadline(0)
        self._patient = False
        self._answered = False
        self.fresh = True
        self.idle_since = 0.0

    def quiet(self) -> bool:
        """Nothing to read: neither the end of the stream nor bytes nobody asked for."""
        return not self._ahead and not self._poll.poll(0)

    def send(self, head: bytes, body: memoryview | None, deadline: Deadline) -> None:
        """Send a request. The first byte's limit holds only where the node gets no body that it has to store first."""
        self._deadline, self._patient, self._answered = deadline, body is not None, False
        if body is None or len(body) <= PIECE:
            self._send(head if body is None else head + body)
            return
        self._send(head)
        for start in range(0, len(body), PIECE):
            self._send(body[start : start + PIECE])

    def until(self, mark: bytes, limit: int) -> bytes:
        """Bytes up to `mark`, which is dropped. NodeError if it does not come within `limit` bytes."""
        data = bytearray(self._ahead)
        while (end := data.find(mark)) < 0:
            if len(data) > limit:
                raise NodeError("the answer is malformed (a line or head is too long)")
            piece = memoryview(bytearray(READ))
            data += piece[: self._receive(piece)]
        self._ahead = memoryview(data)[end + len(mark) :]
        return bytes(memoryview(data)[:end])

    def readinto(self, buffer: memoryview) -> None:
        """Fill the buffer entirely, after what came ahead straight from the socket."""
        filled = min(len(self._ahead), len(buffer))
        buffer[:filled] = self._ahead[:filled]
        self._ahead = self._ahead[filled:]
        while filled < len(buffer):
            filled += self._receive(buffer[filled:])

    def close(self) -> None:
        self._sock.close()

    def _send(self, data: Bytes) -> None:
        self._sock.settimeout(self._deadline.remaining())
        try:
            self._sock.sendall(data)
        except TimeoutError:
            raise NodeTimeout("the node stopped taking data") from None
        except OSError as error:
            raise ConnectionLost(f"the connection broke ({words(error)})", answered=False) from None

    def _receive(self, buffer: memoryview) -> int:
        began = self._answered or self._patient
        try:
            count = None
            while count is None:
                self._sock.settimeout(self._deadline.patience(began))
                with suppress(TimeoutError):  # `patience` says when it was long enough
                    count = self._sock.recv_into(buffer)
        except OSError as error:
            raise ConnectionLost(f"the connection broke ({words(error)})", self._answered) from None
        if count == 0:
            raise ConnectionLost("the answer ended too early", self._answered)
        if not self._answered:
            self._answered = True
            self._deadline.begun()
        return count


def connect(host: str, port: int, tls: ssl.SSLContext | None, deadline: Deadline) -> NodeConnection:
    """Connect within 0.5 s, handshake included. The look-up of a name is the resolver's and not bounded."""
    failure: Exception = OSError("no address")
    try:
        limit = Deadline(min(CONNECT_SECONDS, deadline.remaining()))
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(limit.remaining())
                sock.connect(cast(str, address))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.settimeout(limit.remaining())
                return NodeConnection(tls.wrap_socket(sock, server_hostname=host) if tls else sock)
            except (OSError, NodeTimeout) as error:
                sock.close()
                failure = error
    except OSError as error:  # from the look-up
        failure = error
    if isinstance(failure, TimeoutError | NodeTimeout):
        raise NodeTimeout("the node took too long to connect to")
    raise NodeError(f"cannot connect to the node ({words(failure)})")


def words(error: Exception) -> str:
    """What went wrong in the operating system's words, which name no path and no secret."""
    return getattr(error, "strerror", None) or type(error).__name__
