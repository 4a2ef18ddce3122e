"""The answer to a GET or HEAD of an object: conditionals, ranges, headers, and the verified bytes."""

from __future__ import annotations

import errno
import secrets
from collections.abc import Iterator, Sequence

import structlog
from flask import Request, Response, request
from werkzeug.http import http_date

from api.fetch.fetch_object import Fetched
from api.http.conditionals import check_read, range_applies
from api.http.digests import as_repr_digest
from api.http.ranges import ByteRanges, Range, content_range
from api.http.ranges import parse as parse_ranges
from api.http.stored_headers import as_headers
from api.services import services
from common.errors import BovedaError, NotModified
from common.model.versions import Protection, Version

log = structlog.get_logger(__name__)

ASK_AGAIN = "no-cache"
"""Where nothing else was stored. Without a word of it a browser may show an old content for a tenth of its age (RFC
9111, 4.2.2); with it it asks, and gets 304 while nothing changed."""

OF_EACH_PART = ("Content-Type", "Content-Encoding", "Content-Language")


class Selection:
    """Judges the conditionals and the Range for the version that is found; asked again if the read starts over."""

    def __init__(self, request: Request, now: float) -> None:
        self._request = request
        self._now = now
        self.version: Version | None = None
        self.ranges: Sequence[Range] | None = None  # None: the whole

    def __call__(self, version: Version) -> Sequence[Range]:
        request = self._request
        self.version, self.ranges = version, None
        check_read(request, version)
        if request.method == "HEAD":
            return ()
        text = request.environ.get("HTTP_RANGE")
        if text is not None and range_applies(request, version, self._now):
            self.ranges = parse_ranges(text, version.size)
        if self.ranges is not None:
            return self.ranges
        return ((0, version.size),) if version.size else ()


def download(bucket: str, key: str, extra: Sequence[tuple[str, str]] = ()) -> Response:
    """The answer to a GET or HEAD of an object. `extra` headers replace stored ones of the same name."""
    parts = services()
    selection = Selection(request, parts.catalogue.now() if "HTTP_IF_RANGE" in request.environ else 0.0)
    try:
        fetched = parts.fetch(bucket, key, selection)
    except NotModified:
        assert selection.version is not None
        return _not_modified(selection.version)
    version, ranges = fetched.version, selection.ranges
    body = pieces(fetched)
    response = Response(body, 200 if ranges is None else 206, direct_passthrough=True)
    response.call_on_close(getattr(fetched.chunks, "close", lambda: None))
    headers = response.headers
    headers.remove("Content-Type")
    headers.extend(as_headers(version.headers))
    headers.extend(_validators(version))
    headers.setdefault("Cache-Control", ASK_AGAIN)
    if ranges is None:
        headers["Content-Length"] = str(version.size)
    elif len(ranges) == 1:
        headers["Content-Length"] = str(ranges[0][1])
        headers["Content-Range"] = content_range(ranges[0], version.size)
    else:
        _as_multipart(response, body, ranges, version.size)
    if version.sha256 is not None:
        headers["Repr-Digest"] = as_repr_digest(version.sha256)
    headers["X-Copies"] = x_copies(fetched.protection)
    # What was stored may be a page: it must not run as one of this address.
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Content-Security-Policy"] = "sandbox"
    for name, value in extra:
        headers[name] = value
    return response


def _as_multipart(response: Response, body: Iterator[bytes], ranges: Sequence[Range], size: int) -> None:
    """What describes the bytes goes into each part: the body as a whole is of another type, and not encoded."""
    headers = response.headers
    described = [(name, headers.pop(name)) for name in OF_EACH_PART if name in headers]
    parts = ByteRanges(ranges, size, described, secrets.token_hex(16))
    response.response = parts.frame(body)
    headers["Content-Type"] = parts.content_type
    headers["Content-Length"] = str(len(parts))


def _not_modified(version: Version) -> Response:
    """What a cache needs to go on with what it has (RFC 9110, 15.4.5)."""
    response = Response(status=304, headers=_validators(version))
    response.headers["Cache-Control"] = version.headers.cache_control or ASK_AGAIN
    return response


def pieces(fetched: Fetched) -> Iterator[bytes]:
    """The verified bytes. What fails after the first of them can only cut the connection: the client sees fewer."""
    try:
        yield from fetched.chunks
    except BovedaError as error:
        log.warning("download_cut", version=fetched.version.id, kind=type(error).__name__, detail=error.detail)
        raise ConnectionResetError(errno.ECONNRESET, "download cut") from None


def _validators(version: Version) -> list[tuple[str, str]]:
    return [("ETag", version.etag), ("Last-Modified", http_date(version.created_at)), ("Accept-Ranges", "bytes")]


def x_copies(protection: Protection) -> str:
    return f"{protection.stored}/{protection.wanted}"
