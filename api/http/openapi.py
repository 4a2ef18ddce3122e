"""The machine-readable form of the contract, made by spectree from what the views say of themselves.

spectree only describes here. It would answer errors in a shape of its own and read streamed bodies whole, so the views
are not wrapped in it: stand-ins with their documentation are, in an application that serves nothing.

The statuses of errors come from the table in `api/http/problems`: those that every route can answer, those of every
route that takes a body, and the `raises` of the view.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from flask import Flask
from pydantic import BaseModel
from werkzeug.routing import Rule

from api.http.auth import OPEN
from api.http.problems import PROBLEM, SPANISH_DOOR, TABLE
from api.http.schemas import Fallo, Problem
from api.http.stored_headers import STORED
from common import errors

Shape = type[BaseModel] | Literal["binary", "form", "text", "offset"] | None
View = TypeVar("View", bound=Callable[..., Any])

_MEDIA = {  # an object has the type that it was stored with
    "binary": ("application/octet-stream", "*/*"),
    "form": ("multipart/form-data",),
    "text": ("text/plain",),
    "offset": ("application/offset+octet-stream",),
}
_BINARY = {"type": "string", "format": "binary"}
_SCHEMAS: Mapping[str, dict[str, Any]] = {
    "binary": _BINARY,
    "form": {"type": "object", "required": ["archivo"], "properties": {"archivo": _BINARY}},
    "text": {"type": "string"},
    "offset": _BINARY,
}
GUARD_HEADERS = ("If-Match", "If-None-Match", "If-Unmodified-Since")
OBJECT_HEADERS = (*STORED, "X-Meta-*", "Content-MD5", "Repr-Digest", *GUARD_HEADERS, "X-Write-Copies")
READ_HEADERS = ("Range", "If-Range", *GUARD_HEADERS, "If-Modified-Since")
CHECKSUM_MISMATCH = 460  # of tus; spectree takes only statuses of HTTP's own
_ABOUT_HEADERS = {"X-Meta-*": "any number of them; each is stored, and returned with the object"}

Kind = type[errors.BovedaError]
_ALWAYS: tuple[Kind, ...] = (
    errors.Malformed,
    errors.Forbidden,
    errors.NotFound,
    errors.NotAllowed,
    errors.OutcomeUnknown,
    errors.CatalogueUnavailable,
)
_BODY: tuple[Kind, ...] = (errors.BodyCut, errors.BodyTimeout, errors.TooLarge)
UPLOAD: tuple[Kind, ...] = (
    errors.PreconditionFailed,
    errors.DigestMismatch,
    errors.NotEnoughNodes,
    errors.KeysUnavailable,
    errors.UploadSuperseded,
)
DOWNLOAD: tuple[Kind, ...] = (
    errors.PreconditionFailed,
    errors.RangeNotSatisfiable,
    errors.ObjectDamaged,
    errors.CopiesUnreachable,
    errors.KeysUnavailable,
)
DOWNLOADED: Mapping[int, Shape] = {200: "binary", 206: "binary", 304: None}


@dataclass(frozen=True, slots=True)
class Documentation:
    summary: str
    tag: str
    answers: Mapping[int, Shape]
    body: Shape
    query: type[BaseModel] | None
    headers: tuple[str, ...] = field(default=())
    raises: tuple[Kind, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Route:
    """A documented view at its address. `spanish`: errors have the short shape; `open`: no token is asked for."""

    documentation: Documentation
    spanish: bool
    open: bool

    def errors(self) -> Mapping[int, str]:
        """What each status of an error means here."""
        kinds = list(_ALWAYS if self.open else (*_ALWAYS, errors.Unauthenticated))
        if self.documentation.body is not None:
            kinds += _BODY
        kinds += self.documentation.raises
        titles: dict[int, list[str]] = {500: ["Internal error"]}
        for row in (TABLE[kind] for kind in kinds):
            titles.setdefault(row.status, []).append(row.title)
        return {status: "; ".join(dict.fromkeys(found)) for status, found in sorted(titles.items())}

    def answers(self) -> Iterator[tuple[int, Shape]]:
        yield from self.documentation.answers.items()
        for status in self.errors():
            yield status, Fallo if self.spanish else Problem


def documented(
    summary: str,
    *,
    tag: str,
    answers: Mapping[int, Shape],
    body: Shape = None,
    query: type[BaseModel] | None = None,
    headers: tuple[str, ...] = (),
    raises: tuple[Kind, ...] = (),
) -> Callable[[View], View]:
    """Say what a view takes and answers; the view itself is left alone. `raises`: errors of the table, beyond those
    that every route answers."""

    def attach(view: View) -> View:
        view.documentation = Documentation(summary, tag, answers, body, query, headers, raises)  # type: ignore[attr-defined]
        return view

    return attach


def describe(app: Flask) -> dict[str, Any]:
    """The OpenAPI document of an application's documented views."""
    from spectree import SpecTree  # here: it loads 9 MB of scripts, which only who reads the docs should pay for

    spec = SpecTree("flask", mode="strict", title="Bóveda", version="v1", annotations=False)
    shown = Flask("openapi")
    shown.url_map.converters.update(app.url_map.converters)
    views: dict[tuple[str, str], Route] = {}
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        documentation = getattr(view, "documentation", None)
        if documentation is None:
            continue
        methods = shown_methods(rule)
        route = Route(documentation, rule.rule.startswith(SPANISH_DOOR), rule.endpoint in OPEN)
        # spectree leaves HEAD out: a view of its own for it is shown it as a GET.
        stands_for = {"GET"} if methods == {"HEAD"} else methods
        shown.add_url_rule(rule.rule, rule.endpoint, _stand_in(spec, view, route), methods=stands_for)
        path = rule.rule.replace("<key:", "{").replace("<", "{").replace(">", "}")
        views |= {(path, method.lower()): route for method in methods}
    with shown.app_context():
        document: dict[str, Any] = spec.spec
    for (path, method), route in views.items():
        if method == "head":
            document["paths"][path]["head"] = document["paths"][path].pop("get")
        _complete(document["paths"][path][method], route)
    document.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{}, {"token": []}]  # none on a loopback address
    return document


def shown_methods(rule: Rule) -> set[str]:
    """Those that somebody wrote a view for: Flask adds HEAD to every GET, and OPTIONS to everything."""
    methods = (rule.methods or set()) - {"OPTIONS"}
    return methods - {"HEAD"} if "GET" in methods else methods


def _stand_in(spec: Any, view: Callable[..., Any], route: Route) -> Callable[..., Any]:
    from spectree import Response

    documentation = route.documentation

    def stand_in() -> None:
        raise NotImplementedError

    stand_in.__name__ = view.__name__
    stand_in.__doc__ = f"{documentation.summary}\n\n{view.__doc__ or ''}"
    models = {
        f"HTTP_{status}": shape if isinstance(shape, type) else None
        for status, shape in route.answers()
        if status != CHECKSUM_MISMATCH
    }
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


def _complete(operation: dict[str, Any], route: Route) -> None:
    """What spectree has no word for: bodies that are bytes, headers, and the media type of errors."""
    documentation, meanings = route.documentation, route.errors()
    if isinstance(documentation.body, str):
        operation["requestBody"] = {"required": True, "content": _content(documentation.body)}
    if CHECKSUM_MISMATCH in meanings:
        operation["responses"][str(CHECKSUM_MISMATCH)] = deepcopy(operation["responses"]["400"])
    for status, shape in route.answers():
        answer = operation["responses"][str(status)]
        if isinstance(shape, str):
            answer["content"] = _content(shape)
        elif shape is Problem:
            answer["content"] = {PROBLEM: answer["content"]["application/json"]}
        answer["description"] = meanings.get(status, answer["description"])
    operation.setdefault("parameters", []).extend(
        {"name": name, "in": "header", "required": False, "schema": {"type": "string"}}
        | ({"description": _ABOUT_HEADERS[name]} if name in _ABOUT_HEADERS else {})
        for name in documentation.headers
    )


def _content(shape: str) -> dict[str, Any]:
    return {media: {"schema": _SCHEMAS[shape]} for media in _MEDIA[shape]}
