"""Names and ids: of buckets, keys, versions, blobs, and of what lies on a node.

Pure, but that an id is made of the clock and of random bits.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from common.errors import NotAllowed

KEY_BYTES_MAX = 1024
SPANISH_BUCKET = "archivos"
IDENTITY_NAME = "boveda/identity.json"
BLOBS = "blobs/"
QUARANTINE = "quarantine/"

_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9.-]{1,61})[a-z0-9]")
_IPV4 = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def check_bucket_name(name: str, field: str = "bucket") -> str:
    """The name, if it is 3–63 of `a-z0-9.-`, starts and ends alphanumeric, has no `..`, is not an IPv4 address."""
    if not _BUCKET.fullmatch(name) or ".." in name or _IPV4.fullmatch(name):
        raise NotAllowed(field, "3 to 63 of a-z 0-9 . -, first and last a letter or digit, no '..', no IPv4 address")
    return name


def check_key(key: str, field: str = "key") -> str:
    """The key, if it is 1–1024 bytes of UTF-8 without control characters. Never interpreted as a path."""
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        raise NotAllowed(field, "must be valid UTF-8") from None
    if not 1 <= length <= KEY_BYTES_MAX:
        raise NotAllowed(field, f"must have 1 to {KEY_BYTES_MAX} bytes of UTF-8")
    if _CONTROL.search(key):
        raise NotAllowed(field, "must not contain control characters")
    return key


def new_id() -> str:
    """A fresh UUIDv7 (RFC 9562, 5.7) as 32 lower-case hex digits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    value = (milliseconds & (1 << 48) - 1) << 80 | 0x7 << 76 | (random >> 68 & 0xFFF) << 64 | 0b10 << 62
    return f"{value | random & (1 << 62) - 1:032x}"


def id_at(when: float) -> str:
    """Less than every id made from then on, more than those made before."""
    return f"{int(when * 1000):012x}"


def blob_name(blob_id: str, alias: str | None = None) -> str:
    """A blob's name on every node. Spread by its last digits: the first ones of a UUIDv7 stay alike for years.

    `alias`: what a copy's name ends in on a node where the plain name is locked (see `CopyState`).
    """
    return f"{BLOBS}{blob_id[-2:]}/{blob_id}{f'.{alias}' if alias else ''}"


_BLOB_NAME = re.compile(BLOBS + r"([0-9a-f]{2})/([0-9a-f]{30}\1)(?:\.([0-9a-f]{8}))?")


@dataclass(frozen=True, slots=True)
class BlobName:
    """A name that a node lists, as the blob's id and the alias it ends in."""

    blob_id: str
    alias: str | None = None

    @classmethod
    def parse(cls, name: str) -> BlobName | None:
        """None if it is no blob's name."""
        match = _BLOB_NAME.fullmatch(name)
        return cls(match[2], match[3]) if match else None

    def __str__(self) -> str:
        return blob_name(self.blob_id, self.alias)


def new_alias() -> str:
    """Eight random hex digits: an alias is never used twice."""
    return os.urandom(4).hex()


def quarantine_name(blob_id: str, when: float) -> str:
    """Where wrong bytes of a blob are kept as evidence, on the same node."""
    return f"{QUARANTINE}{datetime.fromtimestamp(when, UTC):{_QUARANTINED}}/{blob_id}"


_QUARANTINED = "%Y%m%dT%H%M%S.%fZ"


def quarantined_at(name: str) -> float | None:
    """Since when evidence lies there, by its name; None if it is no such name."""
    try:
        when = datetime.strptime(name.removeprefix(QUARANTINE).split("/")[0], _QUARANTINED)
    except ValueError:
        return None
    return when.replace(tzinfo=UTC).timestamp()
