"""Store a body as the new current version of an object.

1. Look the bucket up, judge the preconditions, take a version id, the active key and a fresh data key; too few nodes
   that take copies → 503 before the body is read.
2. Cut the body into blobs, seal each whole, put it on its primary and `write_copies` − 1 more nodes. A body of one
   blob has no row yet. A longer one has an `uploading` version; each blob's row and wanted copies are written before
   its put, the put's success with the next blob or the commit. The next blob is sealed while this one is put, if a
   second buffer is free (`long_body`).
3. Compare length and digests with what was announced. **Commit point**: one transaction makes the version current.
4. Hand the ids of blobs with missing copies to the queue's buffer; that never waits and never fails.

Before 3 nothing is visible: what was put is an orphan, or belongs to an upload that is abandoned here or expires.
After COMMIT was sent this request deletes nothing; OutcomeUnknown says that the catalogue could not tell in time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from api.spare_threads import SpareThreads
from api.store.admitting import admit
from api.store.buffers import Buffer, BufferPool
from api.store.committing import commit
from api.store.long_body import LongBody
from api.store.placing import WritableNodes, nodes_for, place, wanted_nodes
from api.store.receiving import Body, Expected, Receiver
from api.store.sealing import Sealed, Sealing
from api.store.upload import Upload, committed_version
from api.store.upload_row import UploadRow
from common.catalogue.base import Catalogue
from common.crypto.envelope import DEK, cipher_length
from common.crypto.keyring import KeyProvider
from common.errors import OutcomeUnknown, UploadSuperseded
from common.model.copies import CopyState, Placed
from common.model.names import new_id
from common.model.versions import Headers, NewBlob, Preconditions, Protection, Version
from common.queue.base import Enqueuer, TaskName
from common.settings import Settings

__all__ = ["Body", "Expected", "StoreObject", "Stored"]


@dataclass(frozen=True, slots=True)
class Stored:
    """What was stored. `replaced`: there was a current version before."""

    version: Version
    protection: Protection
    replaced: bool


class StoreObject:
    """The use case; one per process, safe across threads. Its buffers and spare threads bound every kind of upload."""

    def __init__(
        self,
        catalogue: Catalogue,
        nodes: WritableNodes,
        keys: KeyProvider,
        enqueuer: Enqueuer,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalogue = catalogue
        self._nodes = nodes
        self._keys = keys
        self._enqueuer = enqueuer
        self._settings = settings
        self._clock = clock
        self.buffers = BufferPool(settings.api_threads, cipher_length(settings.blob_size))
        self.spare = SpareThreads(settings.api_threads, "put")

    def __call__(
        self,
        bucket: str,
        key: str,
        body: Body,
        headers: Headers,
        *,
        preconditions: Preconditions = Preconditions(),  # noqa: B008 - an immutable value
        write_copies: int | None = None,
        expected: Expected = Expected(),  # noqa: B008 - an immutable value
    ) -> Stored:
        upload = self._admit(bucket, key, headers, preconditions, write_copies)
        row = UploadRow(self._catalogue, upload.version_id, self._clock)
        receiver = Receiver(body, expected, self._settings.max_object_size, row.beat)
        sealed, buffer = upload.sealing.first(receiver, self.buffers)
        with buffer:
            if not receiver.more():
                return self._store_one(upload, row, receiver.check(), sealed)
            return self._store_long(upload, row, receiver, sealed, buffer)

    def close(self) -> None:
        """Wait for puts in flight and end the spare threads."""
        self.spare.close()

    # -- step 1

    def _admit(
        self, name: str, key: str, headers: Headers, preconditions: Preconditions, write_copies: int | None
    ) -> Upload:
        started = self._clock()
        may = admit(self._catalogue, self._nodes, self._keys, name, key, preconditions, write_copies)
        version_id = new_id()
        sealing = Sealing(os.urandom(DEK), version_id, self._settings.blob_size)
        return Upload(version_id, may.bucket, key, headers, preconditions, may.need, may.kek_id, sealing, started)

    # -- step 2

    def _store_one(self, upload: Upload, row: UploadRow, sha256: bytes, sealed: Sealed) -> Stored:
        order = nodes_for(upload.version_id, self._nodes)
        node_ids = place(self._nodes, self.spare, sealed, order, upload.need)
        if self._clock() - upload.started > self._settings.orphan_grace / 2:
            raise UploadSuperseded("the upload took too long; send it again")
        places = wanted_nodes(order, upload.bucket.copies, node_ids)
        upload.add(sealed, node_ids, places)
        copies = [Placed(each, CopyState.STORED if each in node_ids else CopyState.MISSING) for each in places]
        return self._commit(upload, row, sha256, NewBlob(sealed.blob, copies))

    def _store_long(self, upload: Upload, row: UploadRow, receiver: Receiver, sealed: Sealed, buffer: Buffer) -> Stored:
        row.begin(upload.bucket, upload.key)
        try:
            LongBody(self._nodes, self.spare, self.buffers, receiver, upload, row).put_all(sealed, buffer)
            return self._commit(upload, row, receiver.check())
        except OutcomeUnknown:
            raise  # the version may be current: nothing of it is touched
        except BaseException:
            row.abandon()
            raise

    # -- steps 3 and 4

    def _commit(self, upload: Upload, row: UploadRow, sha256: bytes, *blobs: NewBlob) -> Stored:
        new, committed = commit(
            self._catalogue, self._keys, upload, sha256, *blobs, stored=row.stored, uploading=row.begun
        )
        if upload.missing:
            self._enqueuer.enqueue(TaskName.REPLICATE, upload.missing)
        return Stored(committed_version(new, committed), upload.protection(), committed.replaced)
