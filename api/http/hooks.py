"""What happens to every request: an id, the guard, the names of the path; and to every answer: id, counts, framing.

This is on the path of the smallest request: nothing here may cost more than a few microseconds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import structlog
from flask import Flask, Request, Response, g, request
from flask.ctx import _AppCtxGlobals
from prometheus_client import Counter, Histogram

from api.http.auth import Guard
from api.http.routing import decode_names

log = structlog.get_logger(__name__)

REQUESTS = Counter("boveda_http_requests_total", "Requests answered", ["route", "method", "status"])
SECONDS = Histogram(
    "boveda_http_request_seconds",
    "From the request's headers to the answer's",
    ["route", "method"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
)

_METHODS = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"})
_counted: dict[tuple[str, str, int], tuple[Callable[[], None], Callable[[float], None]]] = {}


def install(app: Flask, guard: Guard) -> None:
    def begin() -> None:
        asked, own = _current()
        own.started = time.perf_counter()
        own.request_id = request_id = os.urandom(12).hex()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        token = own.token = guard.authenticate(asked)
        if asked.view_args:
            decode_names(asked.view_args)
        if token is not None:
            guard.authorise(asked, token)

    app.before_request(begin)
    app.after_request(_end)


def _end(response: Response) -> Response:
    asked, own = _current()
    response.headers["X-Request-Id"] = own.get("request_id") or os.urandom(12).hex()
    status = response.status_code
    _count(asked, status, own.get("started"))
    if status >= 400:
        _close_unless_read(asked)
    client = asked.environ.get("gunicorn.socket")
    if client is not None:
        client.hold()
    return response


def _current() -> tuple[Request, _AppCtxGlobals]:
    """What hides behind Flask's proxies: each use of those costs a microsecond."""
    return request._get_current_object(), g._get_current_object()  # type: ignore[attr-defined]


def _count(asked: Request, status: int, started: float | None) -> None:
    route = asked.endpoint or "none"
    method = asked.method if asked.method in _METHODS else "other"
    key = (route, method, status)
    counted = _counted.get(key)
    if counted is None:
        counted = REQUESTS.labels(route, method, str(status)).inc, SECONDS.labels(route, method).observe
        _counted[key] = counted
    counted[0]()
    if started is not None:
        counted[1](time.perf_counter() - started)


def _close_unless_read(asked: Request) -> None:
    """An error before the end of the body: the rest of it must not be taken for the next request (see
    api/server/worker)."""
    exchange = getattr(asked.environ.get("wsgi.input"), "exchange", None)
    if exchange is not None:
        exchange.close_unless_read()
