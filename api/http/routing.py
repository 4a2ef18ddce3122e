"""Addresses as they were sent: routes match the raw path, and names are percent-decoded exactly once, strictly.

WSGI hands over a path that is already decoded, which loses the difference between `a/b` and `a%2Fb` and turns bytes
that are no UTF-8 into U+FFFD. So the raw path is put in its place before routing, and `decode_name` does the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_to_bytes

from flask import Flask, Request
from flask.sessions import NullSession, SessionInterface
from werkzeug.routing import BaseConverter, MapAdapter

from common.errors import Malformed
from common.model.names import check_bucket_name, check_key

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class KeyConverter(BaseConverter):
    """Everything up to the end of the path, slashes, empty segments and all; even nothing, to be refused by name."""

    regex = ".*"
    part_isolating = False


class NoSessions(SessionInterface):
    """There are none; looking for their cookie costs every request."""

    def open_session(self, app: Flask, request: Request) -> NullSession:
        return _NO_SESSION

    def is_null_session(self, obj: object) -> bool:
        return True


_NO_SESSION = NullSession()


class RawFlask(Flask):
    """Flask that routes on the raw path, for any Host (the guard judges that), and without sessions."""

    session_interface = NoSessions()

    def __init__(self, name: str) -> None:
        super().__init__(name, static_folder=None)
        self.url_map.merge_slashes = False
        self.url_map.converters["key"] = KeyConverter

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """No view or hook here is a coroutine; Flask would look at each of them for each request."""
        return func

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        if request is None:
            return None
        environ = request.environ
        return MapAdapter(
            self.url_map,
            server_name="",
            script_name="/",
            subdomain="",
            url_scheme=environ["wsgi.url_scheme"],
            path_info=environ["PATH_INFO"],
            default_method=environ["REQUEST_METHOD"],
        )

    def wsgi_app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        raw = environ.get("RAW_URI")
        if raw is not None:
            if not raw.startswith("/"):
                raw = _absolute(raw, environ)
            environ["PATH_INFO"] = raw.partition("?")[0].partition("#")[0]
        return super().wsgi_app(environ, start_response)


def _absolute(raw: str, environ: WSGIEnvironment) -> str:
    """The path of an absolute-form target; its authority stands for the Host header (RFC 9112, 3.2.2)."""
    _scheme, found, rest = raw.partition("://")
    if not found:
        return raw
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    environ["HTTP_HOST"] = authority
    return rest[len(authority) :] or "/"


def decode_name(field: str, raw: str) -> str:
    """Percent-decode a part of the path once. Malformed names `field`."""
    if _BROKEN_ESCAPE.search(raw):
        raise Malformed(field, "has a % that does not begin a percent-encoded byte")
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise Malformed(field, "must be valid UTF-8 once percent-decoded") from None


def decode_names(values: dict[str, str]) -> None:
    """Decode and check the names of a matched route, in place."""
    if "bucket" in values:
        values["bucket"] = check_bucket_name(decode_name("bucket", values["bucket"]))
    if "key" in values:
        values["key"] = check_key(decode_name("key", values["key"]))


def object_path(bucket: str, key: str) -> str:
    """The address of an object. Segments that a client would normalise away are hidden in `%2F`."""
    hidden = any(part in ("", ".", "..") for part in key.split("/"))
    return f"/v1/buckets/{bucket}/objects/{quote(key, safe='' if hidden else '/')}"
