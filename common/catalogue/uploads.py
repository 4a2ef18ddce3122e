"""Uploads that go on over several requests (tus), as the catalogue keeps them between two requests: a contract.

An upload is a version row `uploading`, with its blobs, and a row that says where it stands. Who sends holds it: a lease
that a request takes where it knows the offset, and that ends soon once nothing comes. Every change names the holder;
one that lost its lease to another changes nothing. `offset` covers blobs that lie on a node, and nothing else; blobs
behind it are left over from a request that ended without a word, and are given up before the next one is added.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from common.model.versions import Bucket, NewBlob


@dataclass(frozen=True, slots=True)
class Resumable:
    """An upload between two requests. `bucket.copies` is how many were wanted when it began; `blobs`: how many lie
    before `offset`; `terms`: what was agreed at its creation. `finished`: its version was committed."""

    id: str
    version_id: str
    bucket: Bucket
    key: str
    length: int
    offset: int
    blobs: int
    kek_id: str
    wrapped_dek: bytes = field(repr=False)
    terms: Mapping[str, Any]
    expires_at: float | None
    finished: bool


@dataclass(frozen=True, slots=True)
class Holder:
    """A request that sends: its name, the seconds it may be silent, and those the upload lives on after each word."""

    owner: str
    lease: float
    active: float


class Uploads(Protocol):
    """All that name an upload: NoSuchUpload if there is none, UploadGone if it expired or was ended."""

    def create(self, new: Resumable, active: float) -> float:
        """Insert both rows; when it expires. NoSuchBucket, KeysUnavailable if the KEK was retired."""

    def find(self, upload_id: str) -> Resumable: ...

    def claim(self, upload_id: str, offset: int, holder: Holder) -> Resumable:
        """Take the lease of an unfinished upload that stands at `offset`. Conflict if it does not, or another's lives.

        Of two that claim at once, one gets it.
        """

    def keep(self, upload: Resumable, holder: Holder) -> float:
        """Renew the lease and move the expiry; the latter. Conflict if the lease is another's now."""

    def add_blob(self, upload: Resumable, holder: Holder, blob: NewBlob) -> None:
        """Before its put: its row and its `missing` copy rows. Conflict as in `keep`."""

    def landed(self, upload: Resumable, holder: Holder, stored: Collection[tuple[str, str]], offset: int) -> float:
        """Those (blob, node) are stored, and the upload stands at `offset`; when it expires. Conflict as in `keep`.

        CatalogueUnavailable if the nodes of one of these blobs changed so that nobody could read it.
        """

    def discard(self, upload: Resumable, holder: Holder, limit: int = 300) -> int:
        """Give up blobs behind the offset: they become a doomed version's, and go as its blobs do. How many."""

    def release(self, upload: Resumable, holder: Holder) -> None:
        """End the lease, if it is still held."""

    def end(self, upload_id: str) -> None:
        """Doom it, whoever sends; of a finished one only this memory goes, the object stays."""

    def forget(self, seconds: float, limit: int = 1000) -> int:
        """Delete what is remembered of uploads finished, expired or ended so long ago; how many."""
