"""A TCP proxy that misbehaves on command: between Bóveda and a node, or between the catalogue and its database.

A command holds for connections that stand and for new ones, until the next. `forward` heals it.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

PIECE = 64 * 1024
LARGE = 8 * 1024  # no bit of shorter pieces is flipped: heads, listings, the identity
_RESET = struct.pack("ii", 1, 0)
_POLL = 0.02


@dataclass(frozen=True)
class _Fault:
    """What happens to the bytes. `after`: of the connection, in both directions, since the command was given."""

    hang: bool = False
    cut: bool = False
    after: int = 0
    mark: bytes = b""
    first: bytes = b""
    delay: float = 0.0
    rate: float = 0.0
    flip: bool = False
    flip_sent: bool = False
    status: int = 0


class Proxy:
    """Listens on a port of its own, which stays the same over every command.

    `connections`: taken so far. `sent`: bytes from clients so far. `asked`: pieces from clients with `watched` in them,
    since the last command. `marked`: set once `cut_at` has seen its mark (and, with `after`, the server has answered).
    """

    def __init__(self, host: str, port: int, watched: bytes = b"") -> None:
        self._target = host, port
        self._watched = watched
        self.asked = 0
        self.marked = threading.Event()
        self._fault = _Fault()
        self._pairs: set[_Pair] = set()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self.connections = 0
        self.sent = 0
        self.port = 0
        self._listen()

    # -- commands

    def forward(self) -> None:
        """As if it were not there."""
        self._set(_Fault())
        if self._listener is None:
            self._listen()

    def refuse(self) -> None:
        """Connections are cut, and new ones refused."""
        self._stop_listening()
        self._set(_Fault(cut=True))
        self._cut_all()

    def hang(self) -> None:
        """Connections are taken, and not a byte goes either way."""
        self._set(_Fault(hang=True))

    def cut(self, after: int = 0) -> None:
        """Every connection is reset once so many bytes went through it."""
        self._set(_Fault(cut=True, after=after))
        if not after:
            self._cut_all()

    def cut_at(self, mark: bytes, *, first: bytes = b"", hang: bool = False, after: bool = False) -> None:
        """Reset, or hang, every connection on which the client sends `mark`: before it goes on, or `after` it did.

        With `first`, only those on which the client has sent that since the command.
        """
        self._set(_Fault(cut=not hang, hang=hang, mark=mark, first=first, after=int(after)))

    def delay(self, seconds: float) -> None:
        """Each piece of an answer comes so much later."""
        self._set(_Fault(delay=seconds))

    def trickle(self, bytes_per_second: float) -> None:
        """Answers come at this rate, a few bytes at a time."""
        self._set(_Fault(rate=bytes_per_second))

    def flip(self) -> None:
        """One bit of every large piece of an answer is another."""
        self._set(_Fault(flip=True))

    def flip_sent(self) -> None:
        """One bit of every large piece from a client is another."""
        self._set(_Fault(flip_sent=True))

    def answer(self, status: int) -> None:
        """Every HTTP request is answered with this status instead."""
        self._set(_Fault(status=status))

    def close(self) -> None:
        self._stop_listening()
        self._set(_Fault(cut=True))
        self._cut_all()

    # -- inside

    @property
    def fault(self) -> _Fault:
        return self._fault

    def _set(self, fault: _Fault) -> None:
        with self._lock:
            self._fault = fault
            self.asked = 0
            self.marked.clear()

    def note(self, data: bytes) -> None:
        with self._lock:
            self.sent += len(data)
            self.asked += self._watched in data

    def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            listener.close()

    def _cut_all(self) -> None:
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            pair.reset()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                self.connections += 1
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target, timeout=5)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        pair = _Pair(self, client, server)
        with self._lock:
            self._pairs.add(pair)
        pair.run()

    def forget(self, pair: _Pair) -> None:
        with self._lock:
            self._pairs.discard(pair)


def _flipped(data: bytes) -> bytes:
    return data if len(data) < LARGE else data[:-1] + bytes([data[-1] ^ 1])


class _Pair:
    """One connection through the proxy, two threads."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._moved = 0
        self._since = proxy.fault
        self._lock = threading.Lock()
        self._over = False
        self._marked = False
        self._first_under: _Fault | None = None
        self._answered = threading.Event()

    def run(self) -> None:
        back = threading.Thread(target=self._pump, args=(self._server, self._client), daemon=True)
        back.start()
        self._pump(self._client, self._server)
        back.join()
        self._client.close()
        self._server.close()
        self._proxy.forget(self)

    def reset(self) -> None:
        self._over = True
        for end in (self._client, self._server):
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.shutdown(socket.SHUT_RDWR)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while not self._over and (data := source.recv(PIECE)):
                self._pass(data, source, target)
            with suppress(OSError):
                target.shutdown(socket.SHUT_WR)
        except OSError:
            self.reset()

    def _pass(self, data: bytes, source: socket.socket, target: socket.socket) -> None:
        asks = source is self._client
        fault = self._proxy.fault
        if asks:
            self._proxy.note(data)
        if fault.mark:
            self._at_mark(fault, data, target, asks)
            return
        self._wait_while_hung()
        fault = self._proxy.fault
        moved = self._count(fault, len(data))
        if fault.cut and moved + len(data) > fault.after:
            target.sendall(data[: max(0, fault.after - moved)])
            self.reset()
        elif fault.status and asks:
            self._answer(fault.status)
        elif asks:
            target.sendall(_flipped(data) if fault.flip_sent else data)
        else:
            self._back(fault, data, target)

    def _count(self, fault: _Fault, count: int) -> int:
        """How much went through before these bytes, in both directions, since the command."""
        with self._lock:
            if fault is not self._since:
                self._since, self._moved = fault, 0
            self._moved += count
            return self._moved - count

    def _back(self, fault: _Fault, data: bytes, target: socket.socket) -> None:
        if fault.delay:
            self._sleep(fault, fault.delay)
        if fault.flip:
            data = _flipped(data)
        if not fault.rate:
            target.sendall(data)
            return
        step = max(1, int(fault.rate * _POLL))
        for start in range(0, len(data), step):
            target.sendall(data[start : start + step])
            if self._proxy.fault is fault:
                time.sleep(_POLL)

    def _at_mark(self, fault: _Fault, data: bytes, target: socket.socket, asks: bool) -> None:
        if asks and fault.first in data:
            self._first_under = fault
        if not asks and self._marked:
            self._answered.set()  # and the client does not see it
        elif not asks or fault.mark not in data or self._first_under is not fault:
            target.sendall(data)
        else:
            self._marked = bool(fault.after)
            if fault.after:
                target.sendall(data)
                self._answered.wait(5)
            self._proxy.marked.set()
            if fault.cut:
                self.reset()
                return
            while self._proxy.fault is fault and not self._over:
                time.sleep(_POLL)
            if not fault.after:
                target.sendall(data)

    def _answer(self, status: int) -> None:
        head = f"HTTP/1.1 {status} Because\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        self._client.sendall(head.encode())
        with suppress(OSError):
            self._client.shutdown(socket.SHUT_WR)
            while self._client.recv(PIECE):  # what it still sends would otherwise reset the answer away
                continue
        self.reset()

    def _wait_while_hung(self) -> None:
        while self._proxy.fault.hang and not self._over:
            time.sleep(_POLL)

    def _sleep(self, fault: _Fault, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self._proxy.fault is fault and not self._over and time.monotonic() < end:
            time.sleep(_POLL)
