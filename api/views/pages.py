"""The contract as OpenAPI, a page to try it that needs no network, and what each type of problem means."""

from __future__ import annotations

import json
from functools import cache

from flask import Blueprint, Flask, Response, current_app

from api.http.answers import answer
from api.http.openapi import describe
from api.http.problems import ALL, TABLE
from common.errors import NotFound

blueprint = Blueprint("pages", __name__)


@blueprint.get("/v1/openapi.json")
def openapi() -> Response:
    return Response(_document(current_app._get_current_object()), content_type="application/json")  # type: ignore[attr-defined]


@blueprint.get("/docs")
def docs() -> Response:
    return Response(_page(), content_type="text/html; charset=utf-8")


@blueprint.get("/problems/<slug>")
def problem(slug: str) -> Response:
    row = next((row for row in ALL if row.slug == slug), None)
    if row is None:
        raise NotFound("there is no such type of problem")
    error = next((error for error, of_error in TABLE.items() if of_error is row), None)
    text = ((error and error.__doc__) or row.title).strip().splitlines()[0]
    return answer({"type": f"/problems/{slug}", "title": row.title, "status": row.status, "description": text})


@cache
def _document(app: Flask) -> str:
    return json.dumps(describe(app), ensure_ascii=False)


@cache
def _page() -> str:
    from spectree.page import PAGE_TEMPLATES  # with spectree[offline]: the scripts are inside the page

    return PAGE_TEMPLATES["swagger"].format(spec_url="/v1/openapi.json")
