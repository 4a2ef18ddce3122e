"""Connections that no thread serves: a slow client waits here, on the poller, and keeps nothing but its buffer.

1. A head, and the first AHEAD_BYTES of a body, are gathered as they come; then a thread is asked for (`readable`).
2. Whoever is late is told so: heads after HEAD_SECONDS, bodies by the idle limit and the least rate (`sweep`).
3. A request whose body may have to be waited for needs one of the turns, fewer than there are threads: the others stay
   free for what can be served at once. While slow clients keep all turns, one waits TURN_SECONDS and is refused then.
4. A connection that ends is read away for a moment: otherwise the client's kernel may throw the answer away.
5. At the limit of connections, the slowest of these are closed for new ones (`make_room`).

All of it runs on the worker's main thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from api.http.problems import BUSY, HEAD_LATE, ProblemType
from api.server.connection import Connection, WaitingFor
from api.server.unreader import HEAD_BYTES_MAX, refuse

TURN_SECONDS = 30.0
CLOSE_SECONDS = 2.0
CLOSE_BYTES = 64 << 20
CLOSE_STEP = 256 * 1024
HEAD_STEP = 8 * 1024  # a head without an end is looked at each time it has grown by so much: it may be refused already

RETRY = "Retry-After: 5\r\n"


class Lobby:
    """`watch` and `unwatch` are the poller's; `ask` gives a connection to a thread, `gone` is told of closed ones."""

    def __init__(
        self,
        watch: Callable[[Connection, Callable[[Connection], None]], None],
        unwatch: Callable[[Connection], None],
        ask: Callable[[Connection], None],
        gone: Callable[[Connection], None],
    ) -> None:
        self._watch = watch
        self._unwatch = unwatch
        self._ask = ask
        self._gone = gone
        self._waiting: dict[Connection, float] = {}  # since when
        self.turns: deque[Connection] = deque()

    def __len__(self) -> int:
        return len(self._waiting) + len(self.turns)

    def take(self, conn: Connection, silent_seconds: float) -> None:
        """A thread could not go on with it."""
        now = time.monotonic()
        if conn.phase is WaitingFor.TURN:
            conn.until = now + TURN_SECONDS
            self.turns.append(conn)
            return
        if conn.phase is WaitingFor.SILENT:
            conn.until = now + silent_seconds
        elif conn.phase is WaitingFor.BODY:
            conn.until = now + conn.unreader.idle
            conn.unreader.pace.begin()
        self._wait(conn, now)

    def close(self, conn: Connection) -> None:
        """Its end was sent; what still comes is read away."""
        conn.phase, conn.until = WaitingFor.CLOSING, time.monotonic() + CLOSE_SECONDS
        self._wait(conn, time.monotonic())

    def hurry(self, silent_seconds: float) -> None:
        """The process is to end: who has said nothing yet is not waited for long."""
        until = time.monotonic() + silent_seconds
        for conn in self._waiting:
            if conn.phase is WaitingFor.SILENT:
                conn.until = min(conn.until, until)

    def readable(self, conn: Connection) -> None:
        if conn not in self._waiting:
            return  # closed by what came before it from the same look at the poller
        if conn.phase is WaitingFor.CLOSING:
            self._read_away(conn)
        elif self._gathered(conn):
            self._leave(conn)
            self._ask(conn)

    def sweep(self, pressed: bool) -> None:
        """`pressed`: slow clients keep threads that others wait for."""
        now = time.monotonic()
        for conn in [conn for conn in self._waiting if self._late(conn, now)]:
            self._leave(conn)
            if conn.phase is WaitingFor.BODY:
                conn.unreader.expired = True  # the application answers, in the words of its door
                self._ask(conn)
            elif conn.phase is WaitingFor.HEAD:
                self._refuse(conn, HEAD_LATE, "the headers did not come in time")
            else:
                self._drop(conn)
        while pressed and self.turns and self.turns[0].until <= now:
            self._refuse(self.turns.popleft(), BUSY, "other clients' slow bodies keep the threads; try again")

    def make_room(self, count: int) -> None:
        """Close the slowest, to take others in their place."""
        now = time.monotonic()
        slowest = sorted(self._waiting, key=lambda conn: self._pace(conn, now))[:count]
        for conn in slowest:
            self._leave(conn)
        slowest += [self.turns.popleft() for _ in range(min(count - len(slowest), len(self.turns)))]
        for conn in slowest:
            if conn.phase not in (WaitingFor.SILENT, WaitingFor.CLOSING):
                refuse(conn.sock, conn.path, BUSY, "too many connections, and this one is slow; try again", RETRY)
            self._drop(conn)

    def _pace(self, conn: Connection, now: float) -> float:
        if conn.phase is WaitingFor.CLOSING:
            return -1.0
        return conn.unreader.buffered / (now - self._waiting[conn] + 1.0)

    def _wait(self, conn: Connection, now: float) -> None:
        self._waiting[conn] = now
        self._watch(conn, self.readable)

    def _leave(self, conn: Connection) -> None:
        del self._waiting[conn]
        self._unwatch(conn)
        if conn.phase is WaitingFor.BODY:
            conn.unreader.pace.end()

    def _gathered(self, conn: Connection) -> bool:
        """Read what has come; whether a thread has something to do now. A client's end or reset is its business too."""
        unreader = conn.unreader
        head = conn.phase is not WaitingFor.BODY
        wanted = HEAD_BYTES_MAX if head else conn.body_wanted()
        before = unreader.buffered
        try:
            unreader.fill(wanted - before if wanted > before else 1)
        except OSError:
            return True
        if unreader.ended:
            return True
        after = unreader.buffered
        if not head:
            conn.until = time.monotonic() + unreader.idle
            return after >= wanted
        tail = unreader.buf.getvalue()[max(0, before - 3) :]
        return conn.phase is WaitingFor.SILENT or b"\r\n\r\n" in tail or before // HEAD_STEP != after // HEAD_STEP

    def _late(self, conn: Connection, now: float) -> bool:
        if now >= conn.until:
            return True
        return conn.phase is WaitingFor.BODY and conn.unreader.pace.too_slow()

    def _read_away(self, conn: Connection) -> None:
        try:
            data = conn.sock.recv(CLOSE_STEP)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        conn.drained += len(data)
        if not data or conn.drained >= CLOSE_BYTES:
            self._leave(conn)
            self._drop(conn)

    def _refuse(self, conn: Connection, answer: ProblemType, detail: str) -> None:
        refuse(conn.sock, conn.path, answer, detail, RETRY if answer is BUSY else "")
        conn.say_goodbye()
        self.close(conn)

    def _drop(self, conn: Connection) -> None:
        conn.close()
        self._gone(conn)
