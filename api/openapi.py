"""The machine-readable form of the contract, made by spectree from what the views say of themselves.

spectree only describes here. It would answer errors in a shape of its own and read streamed bodies whole, so the views
are not wrapped in it: stand-ins with their documentation are, in an application that serves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from flask import Flask
from pydantic import BaseModel

from api.schemas import Problem

Shape = type[BaseModel] | Literal["binary", "form", "text"] | None
View = TypeVar("View", bound=Callable[..., Any])

_MEDIA = {"binary": "application/octet-stream", "form": "multipart/form-data", "text": "text/plain"}
_BINARY = {"type": "string", "format": "binary"}
_SCHEMAS: Mapping[str, dict[str, Any]] = {
    "binary": _BINARY,
    "form": {"type": "object", "required": ["archivo"], "properties": {"archivo": _BINARY}},
    "text": {"type": "string"},
}
OBJECT_HEADERS = (
    "Content-MD5",
    "Repr-Digest",
    "If-Match",
    "If-None-Match",
    "If-Unmodified-Since",
    "X-Write-Copies",
)
READ_HEADERS = ("Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")


@dataclass(frozen=True, slots=True)
class Documentation:
    summary: str
    tag: str
    answers: Mapping[int, Shape]
    body: Shape
    query: type[BaseModel] | None
    headers: tuple[str, ...] = field(default=())


def documented(
    summary: str,
    *,
    tag: str,
    answers: Mapping[int, Shape],
    body: Shape = None,
    query: type[BaseModel] | None = None,
    headers: tuple[str, ...] = (),
) -> Callable[[View], View]:
    """Say what a view takes and answers; the view itself is left alone."""

    def attach(view: View) -> View:
        view.documentation = Documentation(summary, tag, answers, body, query, headers)  # type: ignore[attr-defined]
        return view

    return attach


def describe(app: Flask) -> dict[str, Any]:
    """The OpenAPI document of an application's documented views."""
    from spectree import SpecTree  # here: it loads 9 MB of scripts, which only who reads the docs should pay for

    spec = SpecTree("flask", mode="strict", title="Bóveda", version="v1", annotations=False)
    shown = Flask("openapi")
    shown.url_map.converters.update(app.url_map.converters)
    views: dict[tuple[str, str], Documentation] = {}
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        documentation = getattr(view, "documentation", None)
        if documentation is None:
            continue
        methods = (rule.methods or set()) - {"HEAD", "OPTIONS"}
        shown.add_url_rule(rule.rule, rule.endpoint, _stand_in(spec, view, documentation), methods=methods)
        path = rule.rule.replace("<key:", "{").replace("<", "{").replace(">", "}")
        views |= {(path, method.lower()): documentation for method in methods}
    with shown.app_context():
        document: dict[str, Any] = spec.spec
    for (path, method), documentation in views.items():
        _complete(document["paths"][path][method], documentation)
    document.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{}, {"token": []}]  # none on a loopback address
    return document


def _stand_in(spec: Any, view: Callable[..., Any], documentation: Documentation) -> Callable[..., Any]:
    from spectree import Response

    def stand_in() -> None:
        raise NotImplementedError

    stand_in.__name__ = view.__name__
    stand_in.__doc__ = f"{documentation.summary}\n\n{view.__doc__ or ''}"
    models = {f"HTTP_{status}": shape if isinstance(shape, type) else None for status, shape in _answers(documentation)}
    body = documentation.body if isinstance(documentation.body, type) else None
    decorate = spec.validate(
        query=documentation.query,
        json=body,
        resp=Response(**models),
        tags=[documentation.tag],
        skip_validation=True,
        operation_id=view.__name__,
    )
    decorated: Callable[..., Any] = decorate(stand_in)
    return decorated


def _answers(documentation: Documentation) -> list[tuple[int, Shape]]:
    errors: dict[int, Shape] = {400: Problem, 404: Problem, 422: Problem, 503: Problem}
    return list((errors | dict(documentation.answers)).items())


def _complete(operation: dict[str, Any], documentation: Documentation) -> None:
    """What spectree has no word for: bodies that are bytes, headers, and the media type of errors."""
    if isinstance(documentation.body, str):
        operation["requestBody"] = {"required": True, "content": _content(documentation.body)}
    for status, shape in _answers(documentation):
        answer = operation["responses"][str(status)]
        if isinstance(shape, str):
            answer["content"] = _content(shape)
        elif shape is Problem:
            answer["content"] = {"application/problem+json": answer["content"]["application/json"]}
    operation.setdefault("parameters", []).extend(
        {"name": name, "in": "header", "required": False, "schema": {"type": "string"}}
        for name in documentation.headers
    )


def _content(shape: str) -> dict[str, Any]:
    return {_MEDIA[shape]: {"schema": _SCHEMAS[shape]}}
