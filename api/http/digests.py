"""Digests a client announces (Content-MD5; Repr-Digest, RFC 9530) and the one we send back. Pure."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode

from common.errors import Malformed

# A dictionary of RFC 8941 whose members are byte sequences; parameters are allowed and say nothing.
_MEMBER = re.compile(r"[ \t]*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):((?:;[^,]*)?)[ \t]*(,|$)")


def content_md5(text: str | None) -> bytes | None:
    return None if text is None else _decoded("Content-MD5", text.strip(), 16)


def repr_digest(text: str | None) -> bytes | None:
    """The sha-256 of a Repr-Digest; None if there is none among its algorithms."""
    if text is None:
        return None
    found: dict[str, str] = {}
    at = 0
    while True:
        member = _MEMBER.match(text, at)
        if member is None:
            raise Malformed("Repr-Digest", "must be a list like sha-256=:<base64>:")
        found[member[1]] = member[2]
        at = member.end()
        if not member[4]:
            break
    return _decoded("Repr-Digest", found["sha-256"], 32) if "sha-256" in found else None


def as_repr_digest(sha256: bytes) -> str:
    return f"sha-256=:{b64encode(sha256).decode()}:"


def _decoded(field: str, text: str, length: int) -> bytes:
    try:
        digest = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed(field, "must be base64") from None
    if len(digest) != length:
        raise Malformed(field, f"must have {length} bytes")
    return digest
