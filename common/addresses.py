"""Addresses in settings, judged before anything connects. Pure. ValueError says what is wrong, never what was given.

A password may be in them, so no part of one is repeated.
"""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

_ENCODE = "; in a password / is %2F, @ is %40, : is %3A"


def check_redis_url(url: str) -> str:
    """The URL of the queue, if both of its clients can use it."""
    parts = _split(url)
    if parts.scheme not in ("redis", "rediss"):
        raise ValueError("must be redis://HOST:PORT/0, or rediss:// for TLS; sockets are not supported")
    if not parts.hostname:
        raise ValueError("names no host" + _ENCODE)
    database = parts.path.strip("/")
    if database and not database.isdecimal():
        raise ValueError("must end in the number of a database, as in redis://HOST:PORT/0" + _ENCODE)
    return url


def check_database_url(url: str) -> str:
    """The URL of the catalogue, if it is of a supported kind of database; empty is SQLite in the home folder."""
    if not url:
        return url
    parts = _split(url)
    kind = parts.scheme.partition("+")[0]
    if kind == "sqlite":
        if not parts.path.strip("/"):
            raise ValueError("names no file, as in sqlite:////var/lib/boveda/catalogue.db")
    elif kind != "postgresql":
        raise ValueError("must be postgresql://USER:PASSWORD@HOST/NAME or sqlite:////FILE")
    elif not parts.path.strip("/"):
        raise ValueError("names no database, as in postgresql://USER:PASSWORD@HOST/NAME" + _ENCODE)
    return url


def check_host(host: str) -> str:
    """A name or address of a host as a client writes it, without a port."""
    address = host.startswith("[") and host.endswith("]")
    if not address and (":" in host or "*" in host or "/" in host or host.startswith(".")):
        raise ValueError("has hosts only, without ports, patterns or schemes; an IPv6 address stands in brackets")
    return host


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("its port is no number from 1 to 65535" + _ENCODE) from None
    if port == 0:
        raise ValueError("its port is no number from 1 to 65535" + _ENCODE)
    return parts
