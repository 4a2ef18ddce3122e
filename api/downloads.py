"""The answer to a GET or HEAD of an object: conditionals, range, headers, and the verified bytes."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence

import structlog
from flask import Request, Response, request
from werkzeug.http import http_date

from api.conditionals import check_read, range_applies
from api.digests import as_repr_digest
from api.fetch_object import Fetched
from api.ranges import parse as parse_range
from api.services import services
from api.stored_headers import as_headers
from common.errors import BovedaError, NotModified
from common.objects import Protection, Version

log = structlog.get_logger(__name__)

PIECE_BYTES = 256 * 1024  # a client has SEND_SECONDS of api/worker for each


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
