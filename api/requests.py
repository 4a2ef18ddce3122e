"""What happens to every request: an id, the guard, the names of the path; and to every answer: id, counts, framing.

This is on the path of the smallest request: nothing here may cost more than a few microseconds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import structlog
from flask import Flask, Response, g, request
from prometheus_client import Counter, Histogram

from api.auth import Guard
from api.routing import decode_names

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
        g.started = time.perf_counter()
        g.request_id = request_id = os.urandom(12).hex()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        token = g.token = guard.authenticate(request)
        if request.view_args:
            decode_names(request.view_args)
        if token is not None:
            guard.authorise(request, token)

    app.before_request(begin)
    app.after_request(_end)


def _end(response: Response) -> Response:
    request_id = g.get("request_id") or os.urandom(12).hex()
    response.headers["X-Request-Id"] = request_id
    _count(response.status_code)
    if response.status_code >= 400:
        _close_unless_read()
    return response


def _count(status: int) -> None:
    route = request.endpoint or "none"
    method = request.method if request.method in _METHODS else "other"
    key = (route, method, status)
    counted = _counted.get(key)
    if counted is None:
        counted = REQUESTS.labels(route, method, str(status)).inc, SECONDS.labels(route, method).observe
        _counted[key] = counted
    counted[0]()
    counted[1](time.perf_counter() - g.get("started", time.perf_counter()))


def _close_unless_read() -> None:
    """An error before the end of the body: the rest of it must not be taken for the next request (see api/worker)."""
    exchange = getattr(request.environ.get("wsgi.input"), "exchange", None)
    if exchange is not None:
        exchange.close_unless_read()
