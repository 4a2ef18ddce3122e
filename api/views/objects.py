"""Objects over HTTP: PUT, GET, HEAD, DELETE, the listing, and the copies of one."""

from __future__ import annotations

import re
from typing import Annotated

import structlog
from flask import Blueprint, Request, Response, request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.http.answers import answer, nothing
from api.http.bodies import RequestBody, announced_length, read_query, write_copies
from api.http.conditionals import guards
from api.http.digests import content_md5, repr_digest
from api.http.openapi import DOWNLOAD, DOWNLOADED, GUARD_HEADERS, OBJECT_HEADERS, READ_HEADERS, UPLOAD, documented
from api.http.routing import object_path
from api.http.schemas import CopiesDocument, ObjectDocument, ObjectList
from api.http.stored_headers import headers_of
from api.services import services
from api.store.receiving import Expected
from api.views.documents import copy_document, object_document
from api.views.downloads import download, x_copies
from common.errors import Malformed, PreconditionFailed

log = structlog.get_logger(__name__)
blueprint = Blueprint("objects", __name__)

OBJECT = "/v1/buckets/<bucket>/objects/<key:key>"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@blueprint.put(OBJECT)
@documented(
    "Store an object",
    tag="objects",
    body="binary",
    headers=OBJECT_HEADERS,
    answers={201: ObjectDocument, 200: ObjectDocument},
    raises=UPLOAD,
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
        write_copies=write_copies(request),
        expected=expected(request),
    )
    return answer(
        object_document(stored.version, stored.protection),
        200 if stored.replaced else 201,
        {"ETag": stored.version.etag, "Location": object_path(bucket, key), "X-Copies": x_copies(stored.protection)},
    )


@blueprint.get(OBJECT)
@documented(
    "Read an object, or ranges of it",
    tag="objects",
    headers=READ_HEADERS,
    answers=DOWNLOADED,
    raises=DOWNLOAD,
)
def get_object(bucket: str, key: str) -> Response:
    """HEAD answers the same headers and reads no node. Several ranges come as multipart/byteranges; more than 16 or
    overlapping ones, and other units, have the whole sent."""
    return download(bucket, key)


@blueprint.delete(OBJECT)
@documented("Delete an object", tag="objects", headers=GUARD_HEADERS, answers={204: None}, raises=(PreconditionFailed,))
def delete_object(bucket: str, key: str) -> Response:
    services().catalogue.objects.delete(bucket, key, guards(request))
    return nothing()


# -- upload


def expected(request: Request) -> Expected:
    """What the client announced of the body."""
    return Expected(
        length=announced_length(request),
        md5=content_md5(request.environ.get("HTTP_CONTENT_MD5")),
        sha256=repr_digest(request.environ.get("HTTP_REPR_DIGEST")),
    )


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
@documented("List objects in byte order of keys", tag="objects", query=ListQuery, answers={200: ObjectList})
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
