"""Objects over HTTP: PUT, GET, HEAD, DELETE, the listing, and the copies of one."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Sequence
from typing import Annotated

import structlog
from flask import Blueprint, Request, Response, request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from werkzeug.http import http_date

from api.bodies import RequestBody, announced_length, read_query
from api.conditionals import check_read, guards, range_applies
from api.digests import as_repr_digest, content_md5, repr_digest
from api.documents import answer, copy_document, nothing, object_document
from api.fetch_object import Fetched
from api.openapi import OBJECT_HEADERS, READ_HEADERS, documented
from api.ranges import parse as parse_range
from api.receiving import Expected
from api.routing import object_path
from api.schemas import CopiesDocument, Listing, ObjectDocument
from api.services import services
from api.stored_headers import as_headers, headers_of
from common.errors import BovedaError, Malformed, NotAllowed, NotModified
from common.objects import Protection, Version

log = structlog.get_logger(__name__)
blueprint = Blueprint("objects", __name__)

OBJECT = "/v1/buckets/<bucket>/objects/<key:key>"
PIECE_BYTES = 256 * 1024
_NUMBER = re.compile(r"\d{1,9}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@blueprint.put(OBJECT)
@documented(
    "Store an object",
    tag="objects",
    body="binary",
    headers=OBJECT_HEADERS,
    answers={201: ObjectDocument, 200: ObjectDocument},
)
def put_object(bucket: str, key: str) -> Response:
    """The body is the object. Visible as a whole when this answers 201 (new) or 200 (replaced), else not at all."""
    if "HTTP_CONTENT_RANGE" in request.environ:
        raise Malformed("Content-Range", "a part of an object cannot be put (RFC 9110, 14.5)")
    parts = services()
    body = RequestBody(request, parts.settings.max_object_size)
    stored = parts.store(
        bucket,
        key,
        body,
        headers_of(request),
        preconditions=guards(request),
        write_copies=_write_copies(request),
        expected=expected(request),
    )
    return answer(
        object_document(stored.version, stored.protection),
        200 if stored.replaced else 201,
        {"ETag": stored.version.etag, "Location": object_path(bucket, key), "X-Copies": x_copies(stored.protection)},
    )


@blueprint.get(OBJECT)
@documented(
    "Read an object, or one range of it",
    tag="objects",
    headers=READ_HEADERS,
    answers={200: "binary", 206: "binary", 304: None, 412: None, 416: None},
)
def get_object(bucket: str, key: str) -> Response:
    """HEAD answers the same headers and reads no node."""
    return download(bucket, key)


@blueprint.delete(OBJECT)
@documented("Delete an object", tag="objects", answers={204: None})
def delete_object(bucket: str, key: str) -> Response:
    services().delete(bucket, key, guards(request))
    return nothing()


# -- upload


def expected(request: Request) -> Expected:
    """What the client announced of the body."""
    return Expected(
        length=announced_length(request),
        md5=content_md5(request.environ.get("HTTP_CONTENT_MD5")),
        sha256=repr_digest(request.environ.get("HTTP_REPR_DIGEST")),
    )


def _write_copies(request: Request) -> int | None:
    text = request.environ.get("HTTP_X_WRITE_COPIES")
    if text is None:
        return None
    if not _NUMBER.fullmatch(text):
        raise Malformed("X-Write-Copies", "must be a number")
    if int(text) < 1:
        raise NotAllowed("X-Write-Copies", "must be at least 1")
    return int(text)


# -- download


class Selection:
    """Judges the conditionals and the Range for the version that is found; asked again if the read starts over."""

    def __init__(self, request: Request, now: float) -> None:
        self._request = request
        self._now = now
        self.version: Version | None = None
        self.part: tuple[int, int] | None = None

    def __call__(self, version: Version) -> Sequence[tuple[int, int]]:
        request = self._request
        self.version, self.part = version, None
        check_read(request, version)
        if request.method == "HEAD":
            return ()
        text = request.environ.get("HTTP_RANGE")
        if text is not None and range_applies(request, version, self._now):
            self.part = parse_range(text, version.size)
        part = self.part or (0, version.size)
        return (part,) if part[1] else ()


def download(bucket: str, key: str, extra: Sequence[tuple[str, str]] = ()) -> Response:
    """The answer to a GET or HEAD of an object. `extra` headers replace stored ones of the same name."""
    parts = services()
    selection = Selection(request, parts.catalogue.now() if "HTTP_IF_RANGE" in request.environ else 0.0)
    try:
        fetched = parts.fetch(bucket, key, selection)
    except NotModified:
        assert selection.version is not None
        return _not_modified(selection.version)
    version, part = fetched.version, selection.part
    response = Response(pieces(fetched), 200 if part is None else 206, direct_passthrough=True)
    response.call_on_close(getattr(fetched.chunks, "close", lambda: None))
    headers = response.headers
    headers.remove("Content-Type")
    headers.extend(as_headers(version.headers))
    headers.extend(_validators(version))
    headers["Content-Length"] = str(version.size if part is None else part[1])
    if part is not None:
        headers["Content-Range"] = f"bytes {part[0]}-{part[0] + part[1] - 1}/{version.size}"
    if version.sha256 is not None:
        headers["Repr-Digest"] = as_repr_digest(version.sha256)
    headers["X-Copies"] = x_copies(fetched.protection)
    # What was stored may be a page: it must not run as one of this address.
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Content-Security-Policy"] = "sandbox"
    for name, value in extra:
        headers[name] = value
    return response


def _not_modified(version: Version) -> Response:
    """What a cache needs to go on with what it has (RFC 9110, 15.4.5)."""
    response = Response(status=304, headers=_validators(version))
    if version.headers.cache_control is not None:
        response.headers["Cache-Control"] = version.headers.cache_control
    return response


def pieces(fetched: Fetched) -> Iterator[bytes]:
    """The verified bytes. What fails after the first of them can only cut the connection: the client sees fewer."""
    try:
        for chunk in fetched.chunks:
            if len(chunk) <= PIECE_BYTES:
                yield chunk
            else:
                for start in range(0, len(chunk), PIECE_BYTES):
                    yield chunk[start : start + PIECE_BYTES]
    except BovedaError as error:
        log.warning("download_cut", version=fetched.version.id, kind=type(error).__name__, detail=error.detail)
        raise ConnectionResetError(errno.ECONNRESET, "download cut") from None


def _validators(version: Version) -> list[tuple[str, str]]:
    return [("ETag", version.etag), ("Last-Modified", http_date(version.created_at)), ("Accept-Ranges", "bytes")]


def x_copies(protection: Protection) -> str:
    return f"{protection.stored}/{protection.wanted}"


# -- listing and copies


def _plain(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("must not contain control characters")
    return text


Text = Annotated[str, Field(max_length=1024), AfterValidator(_plain)]


class ListQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    prefix: Text = ""
    delimiter: Text = ""
    after: Text = ""
    limit: int = Field(1000, ge=1, le=1000)


@blueprint.get("/v1/buckets/<bucket>/objects")
@documented("List objects in byte order of keys", tag="objects", query=ListQuery, answers={200: Listing})
def list_objects(bucket: str) -> Response:
    query = read_query(request, ListQuery)
    page = services().catalogue.objects.list(bucket, query.prefix, query.delimiter, query.after, query.limit)
    objects = [object_document(version, protection) for version, protection in page.objects]
    return answer({"objects": objects, "prefixes": list(page.prefixes), "next": page.next})


@blueprint.get("/v1/buckets/<bucket>/copies/<key:key>")
@documented("Where the copies of an object are", tag="objects", answers={200: CopiesDocument})
def list_copies(bucket: str, key: str) -> Response:
    parts = services()
    found, copies = parts.catalogue.objects.copies(bucket, key)
    nodes = parts.nodes.all()
    return answer(
        {
            "object": object_document(found.version, found.protection),
            "copies": [copy_document(copy, nodes) for copy in copies],
        }
    )
