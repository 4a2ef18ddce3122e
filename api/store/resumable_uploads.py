"""Store an object by several requests, each of which goes on where the last one ended.

1. Create: bucket, preconditions and nodes are judged as for an upload in one request; the version stands as `uploading`
   from now on, its data key wrapped for an upload. What was agreed (headers, write copies, preconditions) is kept.
2. Append: the request that names the right offset holds the upload (`upload_turn`); another meanwhile gets Conflict.
   The bytes become blobs, each on its nodes before the upload's offset moves behind it, and while one is put the next
   is received (`long_body`). The offset moves blob by blob, without a gap: if one cannot be put, nothing behind it
   counts. The request's end closes a blob: of a body that broke off, what came is kept to its last whole chunk, and
   the offset stands behind that before the request lets the upload go. With a checksum nothing counts before it was
   compared.
3. **Commit point**, once all bytes are there: as of every version (`committing`). If it fails for now, the upload
   stands at its whole length; another append of nothing, or whoever looks, tries again. So whoever is told that all
   bytes are there can rely on the object.
4. The ids of blobs with missing copies go to the queue's buffer. Before, the copies of an upload are nobody's work.

A request that dies leaves at most a blob behind the offset, which the next one gives up, and a lease of seconds; what
it had received of one more goes with it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from api.http.tus import Checksum
from api.spare_threads import SpareThreads
from api.store.admitting import admit
from api.store.buffers import BufferPool
from api.store.committing import commit
from api.store.long_body import LongBody
from api.store.placing import WritableNodes
from api.store.receiving import Body, BreakingReceiver, Expected
from api.store.sealing import Sealing
from api.store.upload import Upload
from api.store.upload_turn import UploadTurn
from common.catalogue.base import Catalogue
from common.catalogue.uploads import Resumable
from common.crypto.envelope import DEK, upload_context
from common.crypto.keyring import KeyProvider
from common.errors import (
    BovedaError,
    ChecksumMismatch,
    Conflict,
    NotEnoughNodes,
    OutcomeUnknown,
    TooLarge,
    Unavailable,
    UploadSuperseded,
)
from common.model.copies import CopyState
from common.model.names import new_id
from common.model.versions import Headers, Preconditions
from common.queue.base import Enqueuer, TaskName
from common.settings import Settings

ENQUEUED_MOST = 1000  # blobs of one upload that are enqueued at its commit; the sweep finds the others


class ResumableUploads:
    """The use case; one per process, safe across threads. `buffers` and `spare` are those of uploads in one request."""

    def __init__(
        self,
        catalogue: Catalogue,
        nodes: WritableNodes,
        keys: KeyProvider,
        enqueuer: Enqueuer,
        settings: Settings,
        buffers: BufferPool,
        spare: SpareThreads,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalogue = catalogue
        self._nodes = nodes
        self._keys = keys
        self._enqueuer = enqueuer
        self._settings = settings
        self._buffers = buffers
        self._spare = spare
        self._clock = clock

    # -- step 1

    def create(
        self,
        bucket: str,
        key: str,
        length: int,
        headers: Headers,
        *,
        preconditions: Preconditions = Preconditions(),  # noqa: B008 - an immutable value
        write_copies: int | None = None,
        given: str | None = None,
    ) -> Resumable:
        """`given`: what the client says of it in its own words, to be told again. An empty object is stored at once."""
        if length > self._settings.max_object_size:
            raise TooLarge(f"an object has at most {self._settings.max_object_size} bytes")
        may = admit(self._catalogue, self._nodes, self._keys, bucket, key, preconditions, write_copies)
        version_id = new_id()
        wrapped = self._keys.wrap(may.kek_id, os.urandom(DEK), upload_context(version_id))
        terms = {
            "given": given,
            "headers": asdict(headers),
            "write_copies": may.need,
            "preconditions": asdict(preconditions),
        }
        new = Resumable(
            new_id(), version_id, may.bucket, key, length, 0, 0, may.kek_id, wrapped, terms, None, finished=False
        )
        return replace(new, expires_at=self._catalogue.uploads.create(new, self._settings.upload_expiry))

    def append_first(
        self, upload: Resumable, body: Body, announced: int | None, checksum: Checksum | None = None
    ) -> Resumable:
        """The bytes that came with the creation. What fails for now is not lost: the upload is there, as it stands.

        After any other failure it is ended: nobody was told of it.
        """
        try:
            return self.append(upload.id, 0, body, announced, checksum)
        except OutcomeUnknown:
            raise
        except BaseException as error:
            if isinstance(error, Unavailable) and upload.length:
                return self._catalogue.uploads.find(upload.id)
            with contextlib.suppress(BovedaError):
                self._catalogue.uploads.end(upload.id)
            raise

    # -- between requests

    def look(self, upload_id: str) -> Resumable:
        """Where it stands. NoSuchUpload, UploadGone; what a commit raises, where only that was left to be done."""
        upload = self._catalogue.uploads.find(upload_id)
        if upload.finished or upload.offset < upload.length or not upload.blobs:
            return upload
        return self._commit(upload, self._upload(upload))

    def end(self, upload_id: str) -> None:
        """It is not wanted any more. NoSuchUpload, UploadGone."""
        self._catalogue.uploads.end(upload_id)

    # -- step 2

    def append(
        self, upload_id: str, offset: int, body: Body, announced: int | None, checksum: Checksum | None = None
    ) -> Resumable:
        """`announced`: the body's length, where it is known. BodyCut and BodyTimeout after what came was kept."""
        found = self._catalogue.uploads.find(upload_id)
        if offset != found.offset:
            raise Conflict(f"Upload-Offset: the upload stands at {found.offset}")
        if announced is not None and announced > found.length - offset:
            raise TooLarge(f"the body has more than the {found.length - offset} bytes that are left of the upload")
        if found.finished:
            return found
        need = found.terms["write_copies"]
        if announced != 0 and len(self._nodes.candidates()) < need:
            raise NotEnoughNodes(f"fewer than {need} nodes take copies now")
        turn = UploadTurn(self._catalogue.uploads, self._settings.upload_expiry, self._clock, counts=checksum is None)
        turn.begin(upload_id, offset)
        try:
            self._receive(turn, self._upload(turn.at), body, announced, checksum)
        finally:
            turn.end()
        return turn.at

    def _receive(
        self, turn: UploadTurn, upload: Upload, body: Body, announced: int | None, checksum: Checksum | None
    ) -> None:
        length = turn.at.length
        digesting = Digesting(body, checksum) if checksum is not None else None
        left = length - turn.at.offset
        receiver = BreakingReceiver(digesting or body, Expected(announced), left, turn.beat)
        sealed, buffer = upload.sealing.first(receiver, self._buffers, upload.blobs, upload.size)
        with buffer:
            if sealed.blob.length or not (length or upload.blobs):
                LongBody(self._nodes, self._spare, self._buffers, receiver, upload, turn).put_all(sealed, buffer)
        if digesting is not None:
            if receiver.error is not None or not digesting.matches():
                turn.discard()
                raise receiver.error or ChecksumMismatch("the bytes do not have the checksum of Upload-Checksum")
            turn.count(upload)
        if turn.at.offset == length:
            turn.at = self._commit(turn.at, upload)
        if receiver.error is not None:
            raise receiver.error

    def _upload(self, at: Resumable) -> Upload:
        dek = self._keys.unwrap(at.kek_id, at.wrapped_dek, upload_context(at.version_id))
        return Upload(
            at.version_id,
            at.bucket,
            at.key,
            Headers(**at.terms["headers"]),
            _preconditions(at.terms["preconditions"]),
            at.terms["write_copies"],
            at.kek_id,
            Sealing(dek, at.version_id, self._settings.blob_size),
            self._clock(),
            at.offset,
            at.blobs,
        )

    # -- steps 3 and 4

    def _commit(self, at: Resumable, upload: Upload) -> Resumable:
        try:
            commit(self._catalogue, self._keys, upload, None, uploading=True)
        except UploadSuperseded:  # committed by another request, or gone
            return self._catalogue.uploads.find(at.id)
        blobs = self._catalogue.objects.blobs(at.version_id, 0, ENQUEUED_MOST)
        missing = [each.blob.id for each in blobs if any(copy.state is CopyState.MISSING for copy in each.copies)]
        if missing:
            self._enqueuer.enqueue(TaskName.REPLICATE, missing)
        return replace(at, finished=True)


class Digesting:
    """A body whose bytes are digested as they come."""

    def __init__(self, body: Body, checksum: Checksum) -> None:
        self._body = body
        self._checksum = checksum
        self._hash = checksum.start()

    def readinto(self, buffer: memoryview) -> int:
        got = self._body.readinto(buffer)
        self._hash.update(buffer[:got])
        return got

    def matches(self) -> bool:
        return self._hash.digest() == self._checksum.digest


def _preconditions(kept: Mapping[str, Any]) -> Preconditions:
    match, none_match = kept["if_match"], kept["if_none_match"]
    return Preconditions(
        None if match is None else tuple(match),
        None if none_match is None else tuple(none_match),
        kept["if_unmodified_since"],
    )
