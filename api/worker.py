"""gunicorn's threaded worker, with limits on how long a client may keep a thread.

gunicorn's `timeout` bounds neither a stalled body nor half-sent headers. Here every read of the socket has a limit
(`pacing`), and `100 Continue` is sent when the body is first wanted, so that a refusal comes before the body does. A
connection is closed on the thread that served it, with its end sent first and what still comes read away for a
moment: otherwise the client's kernel may throw the answer away.
"""

from __future__ import annotations

import errno
import select
import socket
from typing import Any

import structlog
from gunicorn import glogging
from gunicorn.http import errors as http_errors
from gunicorn.http.body import ChunkedReader
from gunicorn.workers import gthread

from api.errors import Answer
from api.pacing import SEND_SECONDS, PacedUnreader, drain, refuse

log = structlog.get_logger(__name__)

FIRST_BYTE_SECONDS = 0.1

_REFUSALS: tuple[tuple[type[Exception], Answer], ...] = (
    (http_errors.LimitRequestLine, Answer(414, "uri-too-long", "URI Too Long")),
    (http_errors.LimitRequestHeaders, Answer(431, "headers-too-large", "Request Header Fields Too Large")),
    (http_errors.UnsupportedTransferCoding, Answer(501, "transfer-coding", "Unsupported Transfer-Encoding")),
    (http_errors.ExpectationFailed, Answer(417, "expectation-failed", "Expectation Failed")),
    (http_errors.ParseException, Answer(400, "malformed", "Malformed request")),
)
_INTERNAL = Answer(500, "internal", "Internal error")


class Exchange:
    """One request on its connection, as the application sees it (`wsgi.input.exchange`)."""

    __slots__ = ("_request", "_unreader")

    def __init__(self, request: Any, unreader: PacedUnreader) -> None:
        self._request = request
        self._unreader = unreader

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
    """A client's connection. `idle`: seconds a body may pause."""

    def __init__(self, cfg: Any, sock: socket.socket, client: Any, server: Any, idle: float) -> None:
        super().__init__(cfg, sock, client, server)
        self.data_ready: bool
        self.idle = idle
        self.exchange: Exchange | None = None

    def init(self) -> None:
        """Called before each request on the connection, on the thread that serves it."""
        if not self.initialized:
            super().init()
            self.parser.unreader = PacedUnreader(self.sock, self.idle)
        self.sock.settimeout(SEND_SECONDS)
        self.exchange = None
        self.parser.unreader.begin_head()

    def wait_for_data(self, timeout: float) -> bool:
        """A client that only connects waits on the poller, not on a thread."""
        if not self.data_ready:
            poller = select.poll()
            poller.register(self.sock, select.POLLIN)
            self.data_ready = bool(poller.poll(min(timeout, FIRST_BYTE_SECONDS) * 1000))
        return self.data_ready

    def close(self, graceful: bool = False) -> None:
        """Idempotent, and never waits: `say_goodbye` did that on a thread."""
        self.sock.close()

    def say_goodbye(self) -> None:
        """Send the end, then read away what still comes, so that no reset overtakes the answer."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
            if self.exchange is None or self.exchange.unread():
                drain(self.sock)
        except OSError:
            return
        finally:
            self.sock.close()


class Worker(gthread.ThreadWorker):  # type: ignore[misc]
    """`idle_seconds` is set from the settings when the process starts."""

    idle_seconds = 20.0

    def accept(self, listener: socket.socket) -> None:
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        self.nr_conns += 1
        self.enqueue_req(Connection(self.cfg, sock, client, listener.getsockname(), self.idle_seconds))

    def handle(self, conn: Connection) -> object:
        outcome = super().handle(conn)
        if not outcome:
            conn.say_goodbye()
        return outcome

    def handle_request(self, req: Any, conn: Connection) -> bool:
        unreader = conn.parser.unreader
        unreader.begin_body(req._expected_100_continue)
        req._expected_100_continue = False  # the unreader sends it, when the body is wanted
        conn.exchange = req.body.exchange = Exchange(req, unreader)
        try:
            return bool(super().handle_request(req, conn))
        except TimeoutError:
            log.info("client_stalled")
            return False

    def _keepalive_after(self, conn: Connection, keepalive: bool) -> bool:
        """Whether the next request may follow: a short rest of a body is read away, a missing one is not awaited."""
        if not keepalive or conn.exchange is None or not conn.exchange.unread():
            return keepalive
        unreader = conn.parser.unreader
        if unreader.expects_continue:
            return False
        unreader.draining = True
        return bool(super()._keepalive_after(conn, keepalive))

    def _cap_keepalive(self, deadline: float) -> None:
        """The worker is stopping: connections that have said nothing yet are not waited for either."""
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, deadline)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answer what never reached the application. The log names the kind, not the line: it may hold names."""
        answer = next((answer for kind, answer in _REFUSALS if isinstance(exc, kind)), _INTERNAL)
        if isinstance(exc, http_errors.InvalidResponseHeader | http_errors.InvalidResponseHeaderName):
            answer = _INTERNAL
        if answer is _INTERNAL:
            log.error("request_failed", kind=type(exc).__name__, exc_info=exc)
        refuse(client, answer, "the request cannot be understood" if answer.status < 500 else answer.title)


class Log(glogging.Logger):  # type: ignore[misc]
    """gunicorn's own events, through the process's logging."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True
