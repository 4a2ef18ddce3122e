"""Answers that are a JSON document, or nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping

from flask import Response

Document = dict[str, object]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # json.dumps would build one each time


def answer(document: Mapping[str, object], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    response = Response(_encode(document), status, content_type="application/json")
    if headers:
        response.headers.update(headers)
    return response


def nothing() -> Response:
    """204, without the media type that Flask would give to nothing."""
    response = Response(status=204)
    response.headers.remove("Content-Type")
    return response
