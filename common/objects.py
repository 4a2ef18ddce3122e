"""The words of the store as values: names, ids, versions, blobs, copies, nodes, and the states that are shown.

Pure: nothing here connects, sleeps or reads a clock. Times are seconds since the epoch, UTC (float).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from common.errors import NotAllowed, PreconditionFailed

MIB = 1024 * 1024
KEY_BYTES_MAX = 1024
METADATA_BYTES_MAX = 8 * 1024
SPANISH_BUCKET = "archivos"
IDENTITY_NAME = "boveda/identity.json"
BLOBS = "blobs/"
QUARANTINE = "quarantine/"


class VersionState(StrEnum):
    UPLOADING = "uploading"
    CURRENT = "current"
    DOOMED = "doomed"


class CopyState(StrEnum):
    """`missing → stored`; `stored → suspect → stored | missing`; any `→ doomed →` row deleted."""

    MISSING = "missing"
    STORED = "stored"
    SUSPECT = "suspect"
    DOOMED = "doomed"


class ObjectState(StrEnum):
    REPLICATING = "replicating"
    PROTECTED = "protected"
    DEGRADED = "degraded"
    UNAVAILABLE = "unavailable"


class NodeMode(StrEnum):
    """What an operator asked for."""

    ACTIVE = "active"
    DRAINING = "draining"
    PAUSED = "paused"
    RETIRED = "retired"


class NodeHealth(StrEnum):
    """What was seen."""

    UP = "up"
    SUSPECT = "suspect"
    DOWN = "down"
    FOREIGN = "foreign"


# -- names and ids

_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9.-]{1,61})[a-z0-9]")
_IPV4 = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
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


def rfc3339(when: float | None) -> str | None:
    return None if when is None else datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_rfc3339(text: str) -> float:
    """Seconds since the epoch of a time as in RFC 3339, with its offset; ValueError."""
    if not _RFC3339.fullmatch(text):
        raise ValueError("not a time as in RFC 3339")
    return datetime.fromisoformat(text.upper()).timestamp()


# -- buckets, versions, blobs, copies


@dataclass(frozen=True, slots=True)
class Bucket:
    id: str
    name: str
    copies: int
    write_copies: int
    created_at: float


@dataclass(frozen=True, slots=True)
class Headers:
    """What the client said about the body; stored and returned unchanged."""

    content_type: str = "application/octet-stream"
    content_encoding: str | None = None
    content_language: str | None = None
    content_disposition: str | None = None
    cache_control: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Blob:
    """One sealed piece of a version. `offset` and `length` count plaintext bytes."""

    id: str
    number: int
    offset: int
    length: int
    cipher_length: int
    digest: bytes  # BLAKE3-256 of the ciphertext
    salt: bytes  # 24 bytes, as in the blob's header


@dataclass(frozen=True, slots=True)
class Placed:
    """A wanted copy of a blob as the catalogue holds it. `node_id` None: no node can hold it yet. `alias`: see
    `blob_name`."""

    node_id: str | None
    state: CopyState
    alias: str | None = None


@dataclass(frozen=True, slots=True)
class NewBlob:
    """A sealed blob with all its wanted copies, as a transaction inserts them."""

    blob: Blob
    copies: Sequence[Placed]


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob of a committed version with its copies, as a reader needs them."""

    blob: Blob
    copies: Sequence[Placed]


@dataclass(frozen=True, slots=True)
class NewVersion:
    """What a commit makes current. `sha256` of the plaintext only for uploads in one request."""

    id: str
    bucket: Bucket
    key: str
    size: int
    blob_count: int
    wanted: int
    headers: Headers
    kek_id: str
    wrapped_dek: bytes
    sha256: bytes | None


@dataclass(frozen=True, slots=True)
class Version:
    """A committed version. Its ETag is its quoted id; `created_at` is its commit time."""

    id: str
    bucket_id: str
    bucket: str
    key: str
    size: int
    blob_count: int
    wanted: int
    headers: Headers
    kek_id: str
    wrapped_dek: bytes
    sha256: bytes | None
    created_at: float

    @property
    def etag(self) -> str:
        return f'"{self.id}"'


@dataclass(frozen=True, slots=True)
class Protection:
    """Counts over one version, from which its shown state follows.

    wanted: wanted copies per blob. stored: the least number of good copies (`stored` on a node neither retired nor
    foreign) over the blobs, at most `wanted`. live: the same, counting only nodes that are not down. readable: the
    least number of stored or suspect copies on reachable nodes. harmed: a row once stored is not good or its node is
    down, or a row is dead. A node that nobody reaches counts as down here.
    """

    wanted: int
    stored: int
    live: int
    readable: int
    harmed: bool

    @property
    def state(self) -> ObjectState:
        if self.readable == 0:
            return ObjectState.UNAVAILABLE
        if self.live >= self.wanted:
            return ObjectState.PROTECTED
        return ObjectState.DEGRADED if self.harmed else ObjectState.REPLICATING


# -- conditional requests


@dataclass(frozen=True, slots=True)
class Preconditions:
    """The conditionals of RFC 9110, 13.1, that guard a change.

    `if_match` and `if_none_match`: version ids, or ("*",); None where the header was absent. `if_unmodified_since`:
    seconds since the epoch.
    """

    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None
    if_unmodified_since: float | None = None

    def __bool__(self) -> bool:
        return (self.if_match, self.if_none_match, self.if_unmodified_since) != (None, None, None)

    def check(self, version_id: str | None, created_at: float | None) -> None:
        """Raise PreconditionFailed unless a current version of this id and commit time (None: no object) satisfies."""
        if self.if_match is not None and (version_id is None or not _matches(self.if_match, version_id)):
            raise PreconditionFailed("If-Match does not hold for the current version")
        if (
            self.if_match is None
            and self.if_unmodified_since is not None
            and created_at is not None
            and int(created_at) > self.if_unmodified_since
        ):
            raise PreconditionFailed("the object was modified after If-Unmodified-Since")
        if self.if_none_match is not None and version_id is not None and _matches(self.if_none_match, version_id):
            raise PreconditionFailed("If-None-Match does not hold for the current version")


def _matches(ids: tuple[str, ...], version_id: str) -> bool:
    return ids == ("*",) or version_id in ids


# -- nodes


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """A node as configured: an S3 endpoint with scheme, a bucket, the *name* of its credentials file."""

    name: str
    endpoint: str
    bucket: str
    credentials: str
    region: str = "us-east-1"
    zone: str = ""
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Node:
    """A node's row with the shared verdict of its health.

    identity: `new` (has none yet, gets one by itself), `known`, or `foreign` (remembered until accepted or seen right
    again). epoch: what the identity blob must at least say. since: when the health became what it is. writable_since:
    when `writable` did, None if it always was. unreachable_since: when it showed itself last, None while it does: what
    is shown, whatever the health says that guards the healing (nodes that fail together stay suspect).
    """

    id: str
    spec: NodeSpec
    mode: NodeMode
    mode_until: float | None
    writable: bool
    identity: str
    epoch: int
    health: NodeHealth
    since: float
    last_seen: float | None
    last_error: str | None
    writable_since: float | None = None
    unreachable_since: float | None = None

    @property
    def state(self) -> str:
        """What is shown: the mode unless it is active, else the health, or that nobody reaches it all the same."""
        if self.mode is not NodeMode.ACTIVE:
            return self.mode.value
        return "unreachable" if self.in_service and not self.reachable else self.health.value

    @property
    def reachable(self) -> bool:
        """Whether it shows itself now, as far as anybody knows."""
        return self.in_service and self.unreachable_since is None

    @property
    def in_service(self) -> bool:
        """By the verdict that guards the healing."""
        return self.health in (NodeHealth.UP, NodeHealth.SUSPECT)

    @property
    def takes_new_copies(self) -> bool:
        return self.mode is NodeMode.ACTIVE and self.in_service and self.writable

    @property
    def readable(self) -> bool:
        return self.mode is not NodeMode.RETIRED and self.in_service

    @property
    def deletable_from(self) -> bool:
        return self.mode is not NodeMode.PAUSED and self.in_service

    @property
    def holds_good_copies(self) -> bool:
        """Design 14: a stored copy here counts as good."""
        return self.mode is not NodeMode.RETIRED and self.health is not NodeHealth.FOREIGN
