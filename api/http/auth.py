"""Who may do what: on a loopback address whoever asks from there, elsewhere who shows a token.

`BOVEDA_AUTH=none` trusts the machine, so it refuses what a foreign page in a browser could send: another Host (DNS
rebinding) and another Origin (a form or script of another site). `token` asks for a bearer token with a scope.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from flask import Request

from common.catalogue.access import Token, Tokens
from common.errors import CatalogueUnavailable, ConfigurationError, Forbidden, Malformed, Unauthenticated
from common.model.names import SPANISH_BUCKET
from common.settings import Settings

SCOPES = ("read", "write", "delete", "admin", "metrics")
ADMIN = "admin"
OPEN = frozenset({"health.live", "health.ready", "pages.docs", "pages.openapi"})
BY_ENDPOINT = {
    "buckets.put_bucket": ADMIN,
    "buckets.delete_bucket": ADMIN,
    "jobs.create": ADMIN,
    "jobs.cancel": ADMIN,
    "jobs.retry": ADMIN,
    "dead_letters.retry": ADMIN,
    "dead_letters.retry_all": ADMIN,
    "dead_letters.acknowledge": ADMIN,
    "nodes.add": ADMIN,
    "nodes.change": ADMIN,
    "nodes.remove": ADMIN,
    "nodes.simulate_loss": ADMIN,
    "health.metrics": "metrics",
    "uploads.begin": "write",
    "uploads.standing": "write",
    "uploads.send": "write",
    "uploads.end": "write",
    "uploads.override": "write",
}
BY_METHOD = {"GET": "read", "HEAD": "read", "PUT": "write", "POST": "write", "DELETE": "delete"}  # else admin
REMEMBER_SECONDS = 2.0
REMEMBER_MAX = 1000
_PORTS = {"http": "80", "https": "443"}


class Guard:
    """`authenticate` says who asks; `authorise` whether that one may, once the names in the path are known."""

    def __init__(self, settings: Settings, tokens: Tokens) -> None:
        self._by_token = settings.auth == "token"
        self._hosts = frozenset(host.lower() for host in settings.allowed_hosts)
        self._tokens = tokens
        self._admin_file = settings.admin_token_file if self._by_token else None
        self._known: dict[str, tuple[float, Token]] = {}

    def start(self) -> None:
        """Write the first admin token into the catalogue. Without a catalogue it is tried again when one asks."""
        try:
            self._ensure_admin()
        except CatalogueUnavailable:
            return

    def authenticate(self, request: Request) -> Token | None:
        """The token shown; None where none is asked for. Unauthenticated, Forbidden."""
        if not self._by_token:
            self._check_origin(request)
            return None
        if request.endpoint in OPEN or request.method == "OPTIONS":
            return None
        scheme, _, secret = request.environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise Unauthenticated("send Authorization: Bearer <token>")
        return self._find(hashlib.sha256(secret.strip().encode("latin-1")).hexdigest())

    def authorise(self, request: Request, token: Token | None) -> None:
        """Forbidden unless the token has the scope of this route, and its bucket."""
        if token is None or request.endpoint is None:
            return
        scope = BY_ENDPOINT.get(request.endpoint) or BY_METHOD.get(request.method, ADMIN)
        if scope not in token.scopes and ADMIN not in token.scopes:
            raise Forbidden(f"the token has no scope {scope!r}")
        if request.endpoint != "buckets.list_buckets" and request.blueprint != "uploads":  # whose views know theirs
            bucket = (request.view_args or {}).get("bucket")
            if bucket is None and request.blueprint == "spanish":
                bucket = SPANISH_BUCKET
            self.check_bucket(token, bucket)

    def check_bucket(self, token: Token | None, bucket: str | None) -> None:
        """Forbidden if the token is for certain buckets, and this is none of them."""
        if token is not None and token.buckets is not None and bucket not in token.buckets:
            raise Forbidden("the token is for other buckets")

    # -- tokens

    def _find(self, digest: str) -> Token:
        known = self._known.get(digest)
        now = time.monotonic()
        if known is not None and now < known[0]:
            return known[1]
        if self._admin_file is not None:
            self._ensure_admin()
        token = self._tokens.find(digest)
        if token is None:
            raise Unauthenticated("the token is not known or not valid any more")
        if len(self._known) >= REMEMBER_MAX:
            self._known.clear()
        self._known[digest] = (now + REMEMBER_SECONDS, token)
        return token

    def _ensure_admin(self) -> None:
        if self._admin_file is not None:
            self._tokens.ensure("admin", hashlib.sha256(read_secret(self._admin_file)).hexdigest(), SCOPES)
            self._admin_file = None

    # -- loopback

    def _check_origin(self, request: Request) -> None:
        host = request.environ.get("HTTP_HOST")
        if host is None:
            if request.environ.get("SERVER_PROTOCOL") == "HTTP/1.1":
                raise Malformed("Host", "is missing")
        elif _host_and_port(host)[0] not in self._hosts:
            raise Forbidden("this Host is not answered here (BOVEDA_ALLOWED_HOSTS)")
        origin = request.environ.get("HTTP_ORIGIN")
        if origin is not None and not self._is_ours(origin, host, request.environ.get("wsgi.url_scheme", "http")):
            raise Forbidden("requests of pages from elsewhere are not answered")

    def _is_ours(self, origin: str, host: str | None, scheme: str) -> bool:
        """An allowed host name on the port that was asked: another port of this machine is another's page."""
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        if parts.scheme not in _PORTS or parts.path or parts.query or "@" in parts.netloc:
            return False
        name, port = _host_and_port(parts.netloc)
        asked = _host_and_port(host or "")[1] or _PORTS[scheme]
        return name in self._hosts and (port or _PORTS[parts.scheme]) == asked


def _host_and_port(host: str) -> tuple[str, str]:
    """Lower-case name (IPv6 in brackets) and port, which may be empty. A port that is no number spoils the name."""
    name, colon, port = host.lower().rpartition(":")
    if not colon or port.endswith("]"):
        return host.lower(), ""
    return (name, port) if port.isdigit() else (host.lower(), "")


def read_secret(path: Path) -> bytes:
    """The token in a file; ConfigurationError if it cannot be one."""
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(f"BOVEDA_ADMIN_TOKEN_FILE cannot be read: {error.strerror}") from None
    if len(secret) < 16:
        raise ConfigurationError("BOVEDA_ADMIN_TOKEN_FILE must hold a token of at least 16 characters")
    return secret


def visible_buckets(token: Token | None) -> Sequence[str] | None:
    """The buckets a listing may show; None: all."""
    return None if token is None else token.buckets
