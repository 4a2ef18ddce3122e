"""What one upload knows of itself on its way from the bucket's look-up to the commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from api.store.sealing import Sealed, Sealing
from common.catalogue.objects import Committed
from common.crypto.envelope import dek_context
from common.crypto.keyring import KeyProvider
from common.model.versions import Bucket, Headers, NewVersion, Preconditions, Protection, Version

ENQUEUED_MOST = 4096  # ids of one upload that are kept for the queue; the sweep finds the others


@dataclass(slots=True)
class Upload:
    """`need` copies of each blob are put in the request. `missing`: blobs with copies for the workers to make."""

    version_id: str
    bucket: Bucket
    key: str
    headers: Headers
    preconditions: Preconditions
    need: int
    kek_id: str
    sealing: Sealing
    started: float
    size: int = 0
    blobs: int = 0
    missing: list[str] = field(default_factory=list)

    def add(self, sealed: Sealed, landed: Sequence[str], places: Sequence[str | None]) -> None:
        """A blob is on the nodes `landed`, and wanted on `places`."""
        self.size += sealed.blob.length
        self.blobs += 1
        if len(self.missing) < ENQUEUED_MOST and any(place and place not in landed for place in places):
            self.missing.append(sealed.blob.id)

    def new_version(self, keys: KeyProvider, sha256: bytes | None) -> NewVersion:
        """What is to become current, its data key wrapped under the upload's KEK."""
        context = dek_context(self.bucket.id, self.key, self.version_id, self.size, self.blobs)
        return NewVersion(
            id=self.version_id,
            bucket=self.bucket,
            key=self.key,
            size=self.size,
            blob_count=self.blobs,
            wanted=self.bucket.copies,
            headers=self.headers,
            kek_id=self.kek_id,
            wrapped_dek=keys.wrap(self.kek_id, self.sealing.dek, context),
            sha256=sha256,
        )

    def protection(self) -> Protection:
        """Right after the commit every blob has exactly the copies put in the request."""
        return Protection(self.bucket.copies, self.need, self.need, self.need, harmed=False)


def committed_version(new: NewVersion, committed: Committed) -> Version:
    """The version as `find` would return it, without asking."""
    return Version(
        id=new.id,
        bucket_id=new.bucket.id,
        bucket=new.bucket.name,
        key=new.key,
        size=new.size,
        blob_count=new.blob_count,
        wanted=new.wanted,
        headers=new.headers,
        kek_id=new.kek_id,
        wrapped_dek=new.wrapped_dek,
        sha256=new.sha256,
        created_at=committed.created_at,
    )
