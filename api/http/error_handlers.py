"""Errors of a request become answers, by the table in `problems`.

Nothing of the inside is shown: errors that are not in the table answer 500 with a fixed sentence, and are logged
with the request's id.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.http import HTTP_STATUS_CODES

from api.http.problems import INTERNAL, METHOD_NOT_ALLOWED, ProblemType, answer_of, document
from common import errors

log = structlog.get_logger(__name__)

_NOTHING_HERE = "no hay nada en esta dirección"


def install(app: Flask) -> None:
    app.register_error_handler(errors.BovedaError, _boveda)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unexpected)


def _boveda(error: errors.BovedaError) -> Response:
    answer = answer_of(error)
    if answer is INTERNAL:
        return _unexpected(error)
    extra: dict[str, object] = {}
    headers: dict[str, str] = {}
    match error:
        case errors.Malformed() | errors.NotAllowed():
            extra["field"] = error.field
        case errors.RangeNotSatisfiable():
            headers["Content-Range"] = f"bytes */{error.size}"
        case errors.Unavailable():
            headers["Retry-After"] = str(error.retry_after)
        case errors.Unauthenticated():
            headers["WWW-Authenticate"] = 'Bearer realm="boveda"'
    if answer.status >= 500:
        log.warning("request_refused", kind=type(error).__name__, status=answer.status)
    return respond(answer, error.detail, extra, headers)


def _http(error: HTTPException) -> Response:
    status = error.code or 500
    title = HTTP_STATUS_CODES.get(status, "Error")
    headers = {}
    answer = ProblemType(status, title.lower().replace(" ", "-"), title, _NOTHING_HERE if status == 404 else None)
    if isinstance(error, MethodNotAllowed):
        answer = METHOD_NOT_ALLOWED
        headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
    detail = "there is nothing at this address" if status == 404 else title
    return respond(answer, detail, {}, headers)


def _unexpected(error: Exception) -> Response:
    log.error("request_failed", kind=type(error).__name__, exc_info=error)
    return respond(INTERNAL, "something went wrong inside; the log has it under this request_id", {}, {})


def respond(answer: ProblemType, detail: str, extra: Mapping[str, object], headers: Mapping[str, str]) -> Response:
    kind, body = document(request.path, answer, detail, g.get("request_id"), extra)
    response = Response(body, answer.status, content_type=kind)
    response.headers.update(headers)
    return response
