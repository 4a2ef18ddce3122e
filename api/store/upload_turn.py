"""One request's turn at an upload that goes on over several: the lease it holds, and what is written of its blobs.

1. `begin`: take the lease, and give up what an earlier turn left behind the offset.
2. Per blob, in their order: `add_blob` before its put; `landed` after it, which writes where it lies and, in the same
   transaction, that the upload stands behind it, unless the request's bytes are to be judged as a whole first.
   Beside that, on the thread that receives: `beat` renews the lease.
3. `count` or `discard`, where the bytes were judged as a whole.
4. `end`: let the upload go. Nothing of this turn is under way then.

Each of these fails once another request holds the upload, or it is gone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace

from api.store.upload import Upload
from common.catalogue.uploads import Holder, Resumable, Uploads
from common.errors import CatalogueUnavailable
from common.model.names import new_id
from common.model.versions import Blob, NewBlob

LEASE_SECONDS = 5.0  # a client that lost its connection, or whose process was killed, goes on after this
RENEW_SECONDS = 1.5


class UploadTurn:
    """Holds the upload from `begin` to `end`. `at`: how it stands. `counts`: it stands behind each blob that landed."""

    def __init__(self, uploads: Uploads, active_seconds: float, clock: Callable[[], float], *, counts: bool) -> None:
        self._uploads = uploads
        self._counts = counts
        self._holder = Holder(new_id(), LEASE_SECONDS, active_seconds)
        self._clock = clock
        self._renew_at = 0.0
        self.at: Resumable

    def begin(self, upload_id: str, offset: int) -> None:
        """NoSuchUpload, UploadGone, Conflict. What an earlier turn left behind the offset is given up."""
        self.at = self._uploads.claim(upload_id, offset, self._holder)
        self._spoke()
        try:
            self.discard()
        except BaseException:
            self.end()
            raise

    def beat(self) -> None:
        """Bytes came: renew the lease now and then. Conflict if another took it meanwhile, UploadGone."""
        if self._clock() >= self._renew_at:
            self._uploads.keep(self.at, self._holder)
            self._spoke()

    def add_blob(self, new: NewBlob) -> None:
        """Conflict, UploadGone."""
        self._uploads.add_blob(self.at, self._holder, new)

    def landed(self, blob: Blob, node_ids: Sequence[str]) -> None:
        """Conflict, UploadGone; CatalogueUnavailable if the nodes changed meanwhile so that nobody could read it."""
        offset, blobs = self.at.offset, self.at.blobs
        if self._counts:
            offset, blobs = blob.offset + blob.length, blob.number + 1
        self._stand(offset, blobs, [(blob.id, node_id) for node_id in node_ids])

    def count(self, upload: Upload) -> None:
        """All that was put counts now."""
        self._stand(upload.size, upload.blobs, [])

    def discard(self) -> None:
        """Give up what was put and does not count."""
        while self._uploads.discard(self.at, self._holder):
            pass

    def end(self) -> None:
        if self.at.finished:
            return  # the commit did that
        with contextlib.suppress(CatalogueUnavailable):  # it ends by itself
            self._uploads.release(self.at, self._holder)

    def _stand(self, offset: int, blobs: int, stored: Sequence[tuple[str, str]]) -> None:
        expires_at = self._uploads.landed(self.at, self._holder, stored, offset)
        self.at = replace(self.at, offset=offset, blobs=blobs, expires_at=expires_at)
        self._spoke()

    def _spoke(self) -> None:
        self._renew_at = self._clock() + RENEW_SECONDS
