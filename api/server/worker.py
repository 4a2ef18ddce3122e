"""gunicorn's threaded worker, with limits on how long a client may keep a thread.

gunicorn's `timeout` bounds neither a stalled body nor half-sent headers. Here:

1. A thread looks at a new connection; it serves what has come whole, or its beginning if the rest must be waited for.
2. Everything else goes back to the main thread, which gathers it without a thread (`api/server/lobby.py`).
3. Every wait of a thread for its client has a limit (`api/server/unreader.py`, `api/server/client_socket.py`). While
   requests wait for threads and more than half of these wait for clients, the slowest clients are cut.
4. An answer that breaks off in the middle ends in a reset: an orderly end would be taken for a complete answer. Any
   other connection that ends has its end sent first, and what still comes is read away for a moment.
5. A thread that has answered stays with its client for a moment, unless others wait for a thread: most clients that go
   on do so at once, and the way over the main thread's poller costs more than reading a small object.
6. Who has just taken a connection leaves the next one to the other processes for a moment, longer the more its threads
   have to do: otherwise the first to wake takes all that come at once, and the others have nothing to do.
"""

from __future__ import annotations

import enum
import errno
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import structlog
from gunicorn import glogging
from gunicorn.http import errors as http_errors
from gunicorn.workers import gthread

from api.http.problems import (
    EXPECTATION_FAILED,
    HEAD_TOO_LARGE,
    INTERNAL,
    TABLE,
    TARGET_TOO_LONG,
    TRANSFER_CODING,
    ProblemType,
)
from api.server.client_socket import ClientSocket, Waits
from api.server.connection import Connection, WaitingFor
from api.server.lobby import Lobby
from api.server.request_head import UnusableHeader
from api.server.unreader import refuse
from common.errors import Malformed

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 0.1
REST_SECONDS = 0.5  # for the rest of a body that the application did not want
SPARE_CONNECTIONS = 8
STAY_SECONDS = 0.01
LEAVE_SECONDS = 0.001  # for each connection that the threads have
LEAVE_SECONDS_MOST = 0.005
_GONE = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN)

_REFUSALS: tuple[tuple[type[Exception], ProblemType], ...] = (
    (http_errors.LimitRequestLine, TARGET_TOO_LONG),
    (http_errors.LimitRequestHeaders, HEAD_TOO_LARGE),
    (http_errors.UnsupportedTransferCoding, TRANSFER_CODING),
    (http_errors.ExpectationFailed, EXPECTATION_FAILED),
    (http_errors.ParseException, TABLE[Malformed]),
)


class NextStep(enum.Enum):
    """What becomes of a connection when a thread has looked at it."""

    LATER = "something is missing yet"
    NEXT = "the next request may come"
    LINGER = "its end is sent, the client's is awaited"
    END = "it is over"


class Worker(gthread.ThreadWorker):  # type: ignore[misc]
    """`idle_seconds` is set from the settings when the process starts."""

    idle_seconds = 20.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        threads = self.cfg.threads
        self.waits = Waits()
        self._turns = threading.Semaphore(max(1, threads - max(1, threads // 4)))
        self._lobby = Lobby(self._watch, self._unwatch, self.enqueue_req, self._gone)
        self._asked = 0  # connections that threads have, or are to have
        self._swept = 0.0
        self._left_until = 0.0  # until when new connections are the other processes'

    def run(self) -> None:
        self.wsgi: Any = _resetting(self.wsgi)
        super().run()

    # -- the main thread

    def accept(self, listener: socket.socket) -> None:
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        self.nr_conns += 1
        conn = Connection(self.cfg, sock, client, listener.getsockname(), self.idle_seconds, self.waits)
        self.enqueue_req(conn)
        if self.cfg.workers > 1:
            self._left_until = time.monotonic() + min(self._asked * LEAVE_SECONDS, LEAVE_SECONDS_MOST)
            self.set_accept_enabled(False)

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled and time.monotonic() >= self._left_until)

    def enqueue_req(self, conn: Connection) -> None:
        self._asked += 1
        super().enqueue_req(conn)

    def finish_request(self, conn: Connection, future: Any) -> None:
        self._asked -= 1
        failed = future.cancelled() or future.exception() is not None
        outcome = NextStep.END if failed else future.result()
        if outcome is NextStep.LATER:
            self._lobby.take(conn, self.cfg.keepalive if self.alive else gthread.STOP_KEEPALIVE_LINGER)
        elif outcome is NextStep.NEXT:
            super().finish_request(conn, future)
        elif outcome is NextStep.LINGER:
            self._lobby.close(conn)
        else:
            conn.close()
            self._gone(conn)
        self._give_turns()

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        if self._lobby or self.waits:
            timeout = min(timeout, SWEEP_SECONDS)
        left = self._left_until - time.monotonic()
        super().wait_for_and_dispatch_events(min(timeout, left) if left > 0 else timeout)
        now = time.monotonic()
        if now - self._swept >= SWEEP_SECONDS:
            self._swept = now
            self._relieve()

    def _relieve(self) -> None:
        """Cut who is too slow, and whoever keeps others out."""
        most = self.cfg.threads // 2
        pressed = len(self.waits) > most and (self._asked > self.cfg.threads or bool(self._lobby.turns))
        if pressed and (count := self.waits.cut_slowest(most)):
            log.info("slow_clients_cut", count=count)
        self._lobby.sweep(pressed)
        self._give_turns()
        excess = self.nr_conns - (self.worker_connections - SPARE_CONNECTIONS)
        if excess > 0:
            self._lobby.make_room(excess)

    def _give_turns(self) -> None:
        turns = self._lobby.turns
        while turns and self._turns.acquire(blocking=False):
            conn = turns.popleft()
            conn.has_turn = True
            self.enqueue_req(conn)

    def _watch(self, conn: Connection, readable: Callable[[Connection], None]) -> None:
        self.poller.register(conn.sock, selectors.EVENT_READ, lambda _sock: readable(conn))

    def _unwatch(self, conn: Connection) -> None:
        self.poller.unregister(conn.sock)

    def _gone(self, _conn: Connection) -> None:
        self.nr_conns -= 1

    def _cap_keepalive(self, deadline: float) -> None:
        """The worker is stopping: connections that have said nothing yet are not waited for either."""
        super()._cap_keepalive(deadline)
        self._lobby.hurry(gthread.STOP_KEEPALIVE_LINGER)

    # -- its threads

    def handle(self, conn: Connection) -> NextStep:
        while True:
            outcome = self._handle_one(conn)
            if outcome is not NextStep.NEXT or not self._goes_on(conn):
                return outcome

    def _goes_on(self, conn: Connection) -> bool:
        """Whether the client's next request begins within a moment that nobody else needs this thread for."""
        if not self.alive or self._asked > self.cfg.threads:
            return False
        return conn.unreader.buffered > 0 or conn.sock.readable(STAY_SECONDS)

    def _handle_one(self, conn: Connection) -> NextStep:
        try:
            outcome = self._serve(conn)
        except (http_errors.NoMoreData, StopIteration):
            outcome = NextStep.END
        except OSError as error:
            outcome = NextStep.END
            if error.errno not in _GONE:
                log.error("client_socket_failed", exc_info=error)
        except Exception as error:  # noqa: BLE001 - the edge of a request: it is answered and logged
            outcome = NextStep.END
            self.handle_error(conn.request, conn.sock, conn.client, error)
        finally:
            if conn.has_turn:
                conn.has_turn = False
                self._turns.release()
        if outcome is NextStep.END and not conn.say_goodbye():
            return NextStep.LINGER
        return outcome

    def _serve(self, conn: Connection) -> NextStep:
        if not conn.arrived():
            return NextStep.LATER
        if conn.must_wait() and not conn.has_turn:
            conn.has_turn = self._turns.acquire(blocking=False)
            if not conn.has_turn:
                conn.phase = WaitingFor.TURN
                return NextStep.LATER
        keep = self.handle_request(conn.request, conn) and self._rest_is_read(conn)
        conn.request = None
        return NextStep.NEXT if keep else NextStep.END

    def handle_request(self, req: Any, conn: Connection) -> bool:
        try:
            keep = bool(super().handle_request(req, conn))
            conn.sock.flush()
            return keep
        except TimeoutError:
            log.info("client_stalled")
            conn.sock.reset()
            return False

    def _rest_is_read(self, conn: Connection) -> bool:
        """Whether the next request may follow: a short rest of a body is read away, a missing one is not awaited."""
        if conn.exchange is None or not conn.exchange.unread():
            return True
        if conn.unreader.expects_continue:
            return False
        conn.unreader.draining = True
        return bool(conn.parser.finish_body(deadline=time.monotonic() + REST_SECONDS))

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answer what never reached the application. The log names the kind, not the line: it may hold names."""
        answer = next((answer for kind, answer in _REFUSALS if isinstance(exc, kind)), INTERNAL)
        if isinstance(exc, http_errors.InvalidResponseHeader | http_errors.InvalidResponseHeaderName):
            answer = INTERNAL
        if answer is INTERNAL:
            log.error("request_failed", kind=type(exc).__name__, exc_info=exc)
        detail = answer.title if answer.status >= 500 else "the request cannot be understood"
        if isinstance(exc, UnusableHeader):
            detail = str(exc)
        refuse(client, "" if req is None else str(req.path), answer, detail)


def _resetting(application: Any) -> Any:
    """The WSGI application, with the connection reset when an answer of it breaks off in the middle."""

    def call(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        return _whole_or_reset(application(environ, start_response), environ["gunicorn.socket"])

    return call


def _whole_or_reset(answer: Any, client: ClientSocket) -> Iterator[bytes]:
    try:
        yield from answer
    except GeneratorExit:
        raise
    except BaseException:
        client.reset()
        raise
    finally:
        if hasattr(answer, "close"):
            answer.close()


class Log(glogging.Logger):  # type: ignore[misc]
    """gunicorn's own events, through the process's logging."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True
