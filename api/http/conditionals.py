"""Conditional requests (RFC 9110, 13), in their order of precedence."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime

from flask import Request

from common.errors import Malformed, NotModified
from common.model.versions import Preconditions, Version

_TAG = re.compile(r'\s*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*(?:,|$)')


def guards(request: Request) -> Preconditions:
    """The conditionals that guard a change; the catalogue judges them inside the commit."""
    environ = request.environ
    match = environ.get("HTTP_IF_MATCH")
    none_match = environ.get("HTTP_IF_NONE_MATCH")
    since = environ.get("HTTP_IF_UNMODIFIED_SINCE")
    if match is none_match is since is None:
        return Preconditions()
    return Preconditions(
        if_match=None if match is None else _tags("If-Match", match, weak=False),
        if_none_match=None if none_match is None else _tags("If-None-Match", none_match, weak=True),
        if_unmodified_since=None if since is None else http_date(since),
    )


def check_read(request: Request, version: Version) -> None:
    """PreconditionFailed or NotModified as the five conditionals of a GET or HEAD demand."""
    environ = request.environ
    held = guards(request)
    Preconditions(held.if_match, None, held.if_unmodified_since).check(version.id, version.created_at)
    if held.if_none_match is not None:
        if held.if_none_match == ("*",) or version.id in held.if_none_match:
            raise NotModified("the version is one of If-None-Match")
    elif (text := environ.get("HTTP_IF_MODIFIED_SINCE")) is not None:
        since = http_date(text)
        if since is not None and int(version.created_at) <= since:
            raise NotModified("the object was not modified after If-Modified-Since")


def range_applies(request: Request, version: Version, now: float) -> bool:
    """Whether If-Range, where it is sent, lets the Range count: a strong tag, or the exact date of a past second."""
    text = request.environ.get("HTTP_IF_RANGE")
    if text is None:
        return True
    if text.startswith(('"', "W/")):
        return bool(text == version.etag)
    when = http_date(text)
    return when is not None and when == int(version.created_at) and now - version.created_at >= 1


def http_date(text: str) -> float | None:
    """Seconds since the epoch; None for what is no HTTP-date, which RFC 9110 says to ignore."""
    try:
        when = parsedate_to_datetime(text)
        return (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _tags(field: str, text: str, *, weak: bool) -> tuple[str, ...]:
    """The version ids of a list of entity-tags, or ("*",). Weak tags count only where `weak` comparison is meant."""
    if text.strip() == "*":
        return ("*",)
    tags = []
    at = 0
    while at < len(text):
        found = _TAG.match(text, at)
        if found is None:
            raise Malformed(field, 'must be * or a list of quoted entity-tags like "0190…"')
        if weak or not found[1]:
            tags.append(found[2])
        at = found.end()
    return tuple(tags)
