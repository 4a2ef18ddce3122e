"""A client that holds every answer of a route against what the documentation says of that route."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, request
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.http.openapi import describe

NOT_SHOWN = ("/v1/openapi.json", "/docs", "/problems/{slug}")


class DocumentedClient(FlaskClient):
    """Sees every answer; fails on a status, or a media type of an error, that is not documented."""

    def open(self, *args: Any, **keywords: Any) -> TestResponse:
        response = super().open(*args, **keywords)
        answered = self.application.extensions["answered"]
        seen, answered[:] = list(answered), []
        for route, method, status, media in seen:
            answers = _documentation(self.application)[route][method]["responses"]
            assert str(status) in answers, f"{method} {route} does not document {status}"
            if status >= 400:
                assert media in answers[str(status)]["content"], f"{method} {route}: an error of type {media}"
        return response


def watch(app: Flask) -> None:
    """Have the application's test clients look at every answer of a documented route."""
    answered = app.extensions["answered"] = []

    def note(response: Response) -> Response:
        if request.url_rule is not None and request.method != "OPTIONS":
            head_of_get = request.method == "HEAD" and "GET" in (request.url_rule.methods or ())
            method = "get" if head_of_get else request.method.lower()
            route = shown(request.url_rule.rule)
            if route not in NOT_SHOWN:
                answered.append((route, method, response.status_code, response.mimetype))
        return response

    app.after_request(note)
    app.test_client_class = DocumentedClient


def shown(rule: str) -> str:
    """A rule as OpenAPI writes it."""
    return rule.replace("<key:", "{").replace("<", "{").replace(">", "}")


_made: list[dict[str, Any]] = []  # it is the same of every application, and costs a second


def _documentation(app: Flask) -> dict[str, Any]:
    if not _made:
        _made.append(describe(app))
    paths: dict[str, Any] = _made[0]["paths"]
    return paths
