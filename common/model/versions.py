"""Buckets, versions and their blobs, how well a version is protected, and what guards its change.

Pure: nothing here connects, sleeps or reads a clock. Times are seconds since the epoch, UTC (float).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from common.errors import PreconditionFailed
from common.model.copies import Placed

METADATA_BYTES_MAX = 8 * 1024


class ObjectState(StrEnum):
    REPLICATING = "replicating"
    PROTECTED = "protected"
    DEGRADED = "degraded"
    UNAVAILABLE = "unavailable"


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
