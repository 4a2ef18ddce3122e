"""The headers of tus 1.0, parsed strictly: what is wrong in one is named. Pure."""

from __future__ import annotations

import binascii
import hashlib
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from common.errors import Malformed, UnsupportedMedia, UnsupportedVersion

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,termination,expiration,checksum"
CONTENT_TYPE = "application/offset+octet-stream"
ALGORITHMS = ("sha1", "sha256", "sha512", "md5")

_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
_PAIR = re.compile(r"([\x21-\x2b\x2d-\x7e]+)(?: +(\S*))?", re.ASCII)


class Hash(Protocol):
    def update(self, data: memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Checksum:
    """What the bytes of one request should have, by the algorithm of that name."""

    algorithm: str
    digest: bytes

    def start(self) -> Hash:
        return hashlib.new(self.algorithm, usedforsecurity=False)


def check_version(text: str | None) -> None:
    if text != VERSION:
        raise UnsupportedVersion(f"Tus-Resumable: must be {VERSION}")


def check_type(text: str | None) -> None:
    if (text or "").partition(";")[0].strip().lower() != CONTENT_TYPE:
        raise UnsupportedMedia(f"Content-Type: must be {CONTENT_TYPE}")


def number(field: str, text: str | None) -> int:
    if text is None:
        raise Malformed(field, "is missing")
    if not _NUMBER.fullmatch(text):
        raise Malformed(field, "must be a number of bytes")
    return int(text)


def metadata(text: str | None) -> Mapping[str, bytes]:
    """`name base64` pairs, comma between; a name alone has an empty value."""
    found: dict[str, bytes] = {}
    for part in (text or "").split(","):
        if not part.strip():
            if text:
                raise Malformed("Upload-Metadata", "has an empty pair")
            continue
        pair = _PAIR.fullmatch(part.strip())
        if pair is None:
            raise Malformed("Upload-Metadata", "must be pairs of a name and a value in base64, comma between")
        name = pair[1]
        if name in found:
            raise Malformed("Upload-Metadata", f"has {name!r} more than once")
        try:
            found[name] = b64decode(pair[2] or "", validate=True)
        except (binascii.Error, ValueError):
            raise Malformed("Upload-Metadata", f"the value of {name!r} must be base64") from None
    return found


def text_of(found: Mapping[str, bytes], *names: str) -> str | None:
    """The value of the first of these names that is there."""
    for name in names:
        if name in found:
            try:
                return found[name].decode()
            except UnicodeDecodeError:
                raise Malformed("Upload-Metadata", f"the value of {name!r} must be UTF-8 in base64") from None
    return None


def checksum(text: str | None) -> Checksum | None:
    if text is None:
        return None
    algorithm, _, encoded = text.strip().partition(" ")
    if algorithm not in ALGORITHMS:
        raise Malformed("Upload-Checksum", f"the algorithm must be one of {', '.join(ALGORITHMS)}")
    try:
        digest = b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("Upload-Checksum", "the checksum must be base64") from None
    if len(digest) != hashlib.new(algorithm, usedforsecurity=False).digest_size:
        raise Malformed("Upload-Checksum", f"the checksum does not have the length of a {algorithm}")
    return Checksum(algorithm, digest)
