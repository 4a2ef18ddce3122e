"""Objects and their versions, as a contract: how they come into being, are read and go.

The errors and the clock are those of `common.catalogue.base`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from common.model.versions import NewBlob, NewVersion, Preconditions, Protection, StoredBlob, Version
from common.model.work import CopyDetail


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit did. `replaced`: there was a current version before, now doomed."""

    created_at: float
    replaced: bool


@dataclass(frozen=True, slots=True)
class Found:
    """A current version with its first blobs and its protection."""

    version: Version
    blobs: Sequence[StoredBlob]
    protection: Protection


@dataclass(frozen=True, slots=True)
class Listing:
    """`objects` and `prefixes` in byte order. `next`: the value for `after` of the next page, None at the end."""

    objects: Sequence[tuple[Version, Protection]]
    prefixes: Sequence[str]
    next: str | None


class Objects(Protocol):
    """Writing and reading versions. See `api/store/store_object.py` for the sequence and its commit point."""

    def begin(self, version_id: str, bucket_id: str, key: str, wanted: int, active_until: float) -> None:
        """Insert the `uploading` row of a body with more than one blob. NoSuchBucket if it was deleted meanwhile."""

    def add_blob(
        self, version_id: str, blob: NewBlob, stored: Collection[tuple[str, str]], active_until: float
    ) -> None:
        """Before a blob's put: write its row and its `missing` copy rows, and `stored` (blob, node) of earlier ones.

        A pair of `stored` without a row (a put that failed over to a node nobody wanted) takes the place of one of
        that blob's `missing` rows: one without a node if there is one, else the last inserted.
        UploadSuperseded unless the version is still `uploading`.
        """

    def touch(self, version_id: str, active_until: float) -> None:
        """Move the expiry. UploadSuperseded unless still `uploading`."""

    def commit(
        self,
        version: NewVersion,
        blobs: Sequence[NewBlob],
        preconditions: Preconditions,
        stored: Collection[tuple[str, str]] = (),
        uploading: bool = False,
        need: int = 1,
    ) -> Committed:
        """The commit point. Makes the version current, inserts `blobs` with all wanted copies, dooms the replaced one.

        `uploading`: compare-and-set on the row `begin` made (UploadSuperseded if it is gone); its blobs are there
        already, `stored` marks the last ones as in `add_blob`; each must lie on `need` nodes that still count (else
        CatalogueUnavailable). An upload over several requests is finished with it. NoSuchBucket if the bucket was
        deleted, PreconditionFailed, KeysUnavailable if the KEK was retired, UploadSuperseded if a blob id is taken (a
        tombstone). A lost answer to COMMIT is looked after for up to 5 s: success, CatalogueUnavailable (surely not
        stored), or OutcomeUnknown.
        """

    def abandon(self, version_id: str) -> None:
        """Doom an `uploading` version whose request failed. Nothing happens if it is not `uploading`."""

    def find(self, bucket: str, key: str, blobs: int = 16) -> Found:
        """The current version with its first `blobs` blobs, in one statement. NoSuchBucket, NoSuchObject."""

    def blobs(self, version_id: str, first: int, limit: int = 16) -> Sequence[StoredBlob]:
        """Blobs `first`… of a version in order, of any state; fewer or none if the version is gone."""

    def is_current(self, version_id: str) -> bool: ...

    def list(self, bucket: str, prefix: str, delimiter: str, after: str, limit: int) -> Listing:
        """A page in byte order of keys; keys sharing prefix…delimiter fold into `prefixes`. NoSuchBucket."""

    def delete(self, bucket: str, key: str, preconditions: Preconditions) -> str:
        """Doom the current version and return its id.

        NoSuchBucket, NoSuchObject, PreconditionFailed, OutcomeUnknown.
        """

    def copies(self, bucket: str, key: str) -> tuple[Found, Sequence[CopyDetail]]:
        """Every copy row of the current version, by blob number and node."""

    # -- after a version's life

    def expire_uploads(self, limit: int = 100) -> int:
        """Doom `uploading` versions whose `active_until` is over (compare-and-set each); how many."""

    def doom_copies(self, doom_delay: float, limit: int = 1000) -> int:
        """Turn copies of versions doomed for `doom_delay` seconds to `doomed`; rows without a node go at once."""

    def forget(self, limit: int = 300) -> int:
        """Delete rows of doomed versions and blobs that have no copy row left; how many versions.

        A version whose upload never finished stays until `uploads.forget` no longer remembers that.
        """
