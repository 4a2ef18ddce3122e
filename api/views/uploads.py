"""Resumable uploads over HTTP: tus 1.0 with creation, creation-with-upload, termination, expiration and checksum."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate

from flask import Blueprint, Response, g, request

from api.http import tus
from api.http.answers import nothing
from api.http.bodies import RequestBody, announced_length, write_copies
from api.http.conditionals import guards
from api.http.openapi import GUARD_HEADERS, documented
from api.http.routing import object_path
from api.http.stored_headers import check_text, metadata_of, stored_headers
from api.services import services
from common import errors
from common.catalogue.uploads import Resumable
from common.model.names import check_bucket_name, check_key

blueprint = Blueprint("uploads", __name__)

UPLOADS = "/v1/uploads"
UPLOAD = f"{UPLOADS}/<upload_id>"
_ALWAYS = (errors.UnsupportedVersion,)
_SENT = ("Tus-Resumable", "Upload-Checksum")
_RECEIVING = (
    errors.Conflict,
    errors.UploadGone,
    errors.UnsupportedMedia,
    errors.ChecksumMismatch,
    errors.PreconditionFailed,
    errors.NotEnoughNodes,
    errors.KeysUnavailable,
)


@blueprint.before_request
def check_version() -> None:
    if request.method != "OPTIONS":
        tus.check_version(request.environ.get("HTTP_TUS_RESUMABLE"))


@blueprint.after_request
def tell_version(response: Response) -> Response:
    response.headers["Tus-Resumable"] = tus.VERSION
    if response.status_code == 412 and request.environ.get("HTTP_TUS_RESUMABLE") != tus.VERSION:
        response.headers["Tus-Version"] = tus.VERSION
    return response


@blueprint.route(UPLOADS, methods=["OPTIONS"])
@blueprint.route(UPLOAD, methods=["OPTIONS"])
def options(upload_id: str = "") -> Response:
    """The same for all uploads; of one, nothing is told."""
    response = nothing()
    response.headers["Tus-Version"] = tus.VERSION
    response.headers["Tus-Extension"] = tus.EXTENSIONS
    response.headers["Tus-Max-Size"] = str(services().settings.max_object_size)
    response.headers["Tus-Checksum-Algorithm"] = ",".join(tus.ALGORITHMS)
    return response


@blueprint.route(UPLOADS, methods=["POST"], provide_automatic_options=False)
@documented(
    "Begin a resumable upload (tus 1.0)",
    tag="uploads",
    body="offset",
    headers=("Upload-Length", "Upload-Metadata", "X-Write-Copies", "X-Meta-*", *GUARD_HEADERS, *_SENT),
    answers={201: None},
    raises=(*_ALWAYS, *_RECEIVING),
)
def begin() -> Response:
    """Upload-Metadata names `bucket` and `key`, and may name `content_type`. `Location` is where the bytes go; the
    first of them may come along, in a body of type application/offset+octet-stream."""
    parts = services()
    environ = request.environ
    if "HTTP_UPLOAD_DEFER_LENGTH" in environ or "HTTP_UPLOAD_CONCAT" in environ:
        raise errors.Malformed("Upload-Length", "must be known: deferred lengths and concatenation are not offered")
    length = tus.number("Upload-Length", environ.get("HTTP_UPLOAD_LENGTH"))
    given = environ.get("HTTP_UPLOAD_METADATA")
    metadata = tus.metadata(given)
    bucket, key = _names(metadata)
    parts.guard.check_bucket(g.token, bucket)
    announced = announced_length(request)
    checksum = tus.checksum(environ.get("HTTP_UPLOAD_CHECKSUM"))
    if announced != 0:
        tus.check_type(environ.get("CONTENT_TYPE"))
    if announced is not None and announced > length:
        raise errors.TooLarge("the body has more than the Upload-Length")
    content_type = tus.text_of(metadata, "content_type", "filetype")
    values = {} if not content_type else {"content_type": check_text("Upload-Metadata", content_type)}
    upload = parts.uploads.create(
        bucket,
        key,
        length,
        stored_headers(values, metadata_of(request)),
        preconditions=guards(request),
        write_copies=write_copies(request),
        given=given,
    )
    received = announced != 0 or length == 0
    if received:
        body = RequestBody(request, parts.settings.max_object_size)
        upload = parts.uploads.append_first(upload, body, announced, checksum)
    response = _answer(Response(status=201), upload, offset=received)
    response.headers.remove("Content-Type")
    response.headers["Location"] = f"{UPLOADS}/{upload.id}"
    return response


@blueprint.route(UPLOAD, methods=["HEAD"], provide_automatic_options=False)
@documented(
    "Where a resumable upload stands",
    tag="uploads",
    headers=_SENT[:1],
    answers={200: None},
    raises=(*_ALWAYS, errors.UploadGone, errors.PreconditionFailed, errors.UploadLocked),
)
def standing(upload_id: str) -> Response:
    """With all bytes there, the object is: if only the commit was left to be done, it is done here. While nodes, keys
    or catalogue are away: 423 with `Retry-After`, at which tus clients ask again and go on."""
    try:
        upload = services().uploads.look(_mine(upload_id))
    except errors.Unavailable as error:
        raise errors.UploadLocked(error.detail, error.retry_after) from error
    response = _answer(Response(status=200), upload)
    response.headers.remove("Content-Type")
    response.headers["Cache-Control"] = "no-store"
    response.headers["Upload-Length"] = str(upload.length)
    if upload.terms["given"] is not None:
        response.headers["Upload-Metadata"] = upload.terms["given"]
    return response


@blueprint.route(UPLOAD, methods=["PATCH"], provide_automatic_options=False)
@documented(
    "Send bytes of a resumable upload",
    tag="uploads",
    body="offset",
    headers=("Upload-Offset", *_SENT),
    answers={204: None},
    raises=(*_ALWAYS, *_RECEIVING),
)
def send(upload_id: str) -> Response:
    """With its last byte the object is there; `ETag` and `Content-Location` are those of the object then."""
    parts = services()
    environ = request.environ
    tus.check_type(environ.get("CONTENT_TYPE"))
    offset = tus.number("Upload-Offset", environ.get("HTTP_UPLOAD_OFFSET"))
    checksum = tus.checksum(environ.get("HTTP_UPLOAD_CHECKSUM"))
    body = RequestBody(request, parts.settings.max_object_size)
    return _answer(nothing(), parts.uploads.append(_mine(upload_id), offset, body, body.length, checksum))


@blueprint.route(UPLOAD, methods=["DELETE"], provide_automatic_options=False)
@documented(
    "End a resumable upload",
    tag="uploads",
    headers=_SENT[:1],
    answers={204: None},
    raises=(*_ALWAYS, errors.UploadGone),
)
def end(upload_id: str) -> Response:
    """Its bytes are given up; of a finished one only this address goes, the object stays."""
    services().uploads.end(_mine(upload_id))
    return nothing()


@blueprint.route(UPLOAD, methods=["POST"], provide_automatic_options=False)
@documented(
    "The same for clients that cannot send PATCH, HEAD or DELETE",
    tag="uploads",
    body="offset",
    headers=("X-HTTP-Method-Override", "Upload-Offset", *_SENT),
    answers={200: None, 204: None},
    raises=(*_ALWAYS, *_RECEIVING),
)
def override(upload_id: str) -> Response:
    """`X-HTTP-Method-Override` says which is meant."""
    views = {"PATCH": send, "DELETE": end, "HEAD": standing}
    view = views.get(request.environ.get("HTTP_X_HTTP_METHOD_OVERRIDE", ""))
    if view is None:
        raise errors.Malformed("X-HTTP-Method-Override", f"must be one of {', '.join(views)}")
    return view(upload_id)


def _names(metadata: Mapping[str, bytes]) -> tuple[str, str]:
    """`filename`, which common clients send by themselves, stands in for a key that is not named."""
    bucket, key = tus.text_of(metadata, "bucket"), tus.text_of(metadata, "key", "filename")
    if bucket is None or key is None:
        raise errors.Malformed("Upload-Metadata", "must name the bucket and the key (or the filename) of the object")
    return check_bucket_name(bucket), check_key(key)


def _mine(upload_id: str) -> str:
    """The id, if this token may touch uploads into that bucket."""
    if g.token is not None and g.token.buckets is not None:
        services().guard.check_bucket(g.token, services().catalogue.uploads.find(upload_id).bucket.name)
    return upload_id


def _answer(response: Response, upload: Resumable, *, offset: bool = True) -> Response:
    if offset:
        response.headers["Upload-Offset"] = str(upload.offset)
    if upload.finished:
        response.headers["ETag"] = f'"{upload.version_id}"'
        response.headers["Content-Location"] = object_path(upload.bucket.name, upload.key)
    elif upload.expires_at is not None:
        response.headers["Upload-Expires"] = formatdate(upload.expires_at, usegmt=True)
    return response
