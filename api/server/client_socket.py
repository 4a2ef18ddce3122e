"""A client's socket, and the threads that wait for clients.

1. The socket never blocks. A thread that finds nothing to read, or no room to write, waits here, counted by `Waits`.
2. While it waits, its client's pace is measured: bytes sent, or bytes taken, which the kernel's queue tells of.
3. The head of an answer goes with what follows it: a small answer is one packet, and wakes its client once.
4. When threads are wanted and more than half of them wait, the slowest clients are cut (`Waits.cut_slowest`): their
   threads find that within SLICE_SECONDS and get a TimeoutError, as for a client below the least rate.
"""

from __future__ import annotations

import fcntl
import select
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

RATE_BYTES = 4 * 1024
SEND_SECONDS = 60.0  # over which the rate is averaged; the kernel moves an answer in large steps
SLICE_SECONDS = 0.1
GRACE_SECONDS = 0.5
JOINED_BYTES = 64 * 1024  # beside more than this, a call for the head alone is nothing


class Pace:
    """How fast a client sends or takes, over the time in which it was waited for."""

    __slots__ = ("_since", "_waited", "_window", "moved")

    def __init__(self, window: float) -> None:
        self._window = window
        self._waited = 0.0
        self._since: float | None = None
        self.moved = 0

    def begin(self) -> None:
        self._since = time.monotonic()

    def end(self) -> None:
        self._waited, self._since = self.waited(), None

    def waited(self) -> float:
        return self._waited if self._since is None else self._waited + time.monotonic() - self._since

    def rate(self) -> float:
        return self.moved / max(self.waited(), 0.001)

    def too_slow(self) -> bool:
        """Whether it was below RATE_BYTES a second over a window, when one is over; the next one begins then."""
        waited = self.waited()
        if waited < self._window:
            return False
        slow = self.moved < RATE_BYTES * waited
        self._waited, self.moved = 0.0, 0
        if self._since is not None:
            self._since = time.monotonic()
        return slow


class Waits:
    """The sockets for whose clients threads of this process wait now."""

    def __init__(self) -> None:
        self._paces: dict[ClientSocket, Pace] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._paces)

    def begin(self, sock: ClientSocket, pace: Pace) -> None:
        pace.begin()
        with self._lock:
            self._paces[sock] = pace

    def end(self, sock: ClientSocket, pace: Pace) -> None:
        with self._lock:
            del self._paces[sock]
        pace.end()

    def cut_slowest(self, most: int) -> int:
        """Cut all below the least rate and the slowest others until `most` are left; how many.

        Nobody who was waited for less than GRACE_SECONDS is cut.
        """
        with self._lock:
            slow = [(pace.rate(), sock) for sock, pace in self._paces.items() if pace.waited() >= GRACE_SECONDS]
            slow.sort(key=lambda item: item[0])
            below = sum(rate < RATE_BYTES for rate, _ in slow)
            victims = slow[: max(below, len(self._paces) - most)]
            for _, sock in victims:
                sock.cut = True
        return len(victims)


class ClientSocket(socket.socket):
    """Takes over an accepted socket."""

    def __init__(self, accepted: socket.socket, waits: Waits) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, accepted.detach())
        self.setblocking(False)
        self._waits = waits
        self._sending = Pace(SEND_SECONDS)
        self._sent = 0
        self._holding = False
        self._held = b""
        self.cut = False

    def readable(self, seconds: float) -> bool:
        """Whether there is something to read, the client's end included, within so many seconds."""
        poller = select.poll()
        poller.register(self, select.POLLIN)
        return bool(poller.poll(seconds * 1000))

    def wait_to_receive(self, pace: Pace, seconds: float) -> None:
        """Until there is something to read; TimeoutError after so many seconds, or when the client is cut."""
        until = time.monotonic() + seconds

        def check() -> None:
            if self.cut:
                raise TimeoutError("the body came too slowly while others waited for a thread; try again")
            if time.monotonic() >= until:
                raise TimeoutError("the body did not come in time")

        self._wait(select.POLLIN, pace, min(SLICE_SECONDS, seconds), check)

    def hold(self) -> None:
        """What is sent next, an answer's head, goes with what is sent after it, or with `flush`."""
        self._holding = True

    def flush(self) -> None:
        """Send what is held. What is not flushed is dropped with the connection."""
        self._holding = False
        held, self._held = self._held, b""
        if held:
            self._send_all(held)

    def reset(self) -> None:
        """End the connection amid an answer. After an orderly end some clients take what they got for the whole
        (Python's `http.client`, for one, read piece by piece); a reset is an error to all of them."""
        with suppress(OSError):
            self.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def sendall(self, data: Any, flags: int = 0) -> None:
        """TimeoutError if the client takes it too slowly, or is cut."""
        if self._holding:
            self._holding, self._held = False, bytes(data)
            return
        if self._held and len(data) <= JOINED_BYTES:
            data, self._held = self._held + data, b""
        self.flush()
        self._send_all(data)

    def _send_all(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            try:
                count = self.send(left)
            except BlockingIOError:
                self._wait_to_send()
            else:
                self._sent += count
                left = left[count:]

    def _wait_to_send(self) -> None:
        pace = self._sending
        taken = self._taken()

        def check() -> None:
            nonlocal taken
            now = self._taken()
            pace.moved += now - taken
            taken = now
            if self.cut or pace.too_slow():
                raise TimeoutError("the answer is taken too slowly")

        self._wait(select.POLLOUT, pace, SLICE_SECONDS, check)
        check()

    def _taken(self) -> int:
        """How many of the bytes sent the client's kernel has acknowledged."""
        try:
            (queued,) = struct.unpack("i", fcntl.ioctl(self, termios.TIOCOUTQ, b"\0\0\0\0"))
        except OSError:  # not on this system: then what the kernel took counts
            return self._sent
        return self._sent - int(queued)

    def _wait(self, event: int, pace: Pace, slice_seconds: float, check: Callable[[], None]) -> None:
        poller = select.poll()
        poller.register(self, event)
        self._waits.begin(self, pace)
        try:
            while not poller.poll(slice_seconds * 1000):
                check()
        finally:
            self._waits.end(self, pace)
