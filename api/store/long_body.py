"""Put the blobs of a body on nodes, one behind the other, receiving and sealing the next while this one is put.

Per blob: 1. write its row and wanted copies · 2. put it · 3. write, or note, where it landed. If a second buffer and a
spare thread are free, that thread does all three, and this one seals the next blob meanwhile; else it comes after.

A blob is begun once the one before has landed, so they land in their order. If one does not, what was sealed ahead is
dropped; if the body fails, the one on its way still lands.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Protocol

from api.spare_threads import SpareThreads
from api.store.buffers import Buffer, BufferPool
from api.store.placing import WritableNodes, nodes_for, place, wanted_nodes
from api.store.receiving import Receiver
from api.store.sealing import Sealed
from api.store.upload import Upload
from common.model.copies import CopyState, Placed
from common.model.versions import Blob, NewBlob


class BlobRows(Protocol):
    """What the catalogue is told of each blob: by one thread at a time, which may be another than the receiver's."""

    def add_blob(self, new: NewBlob) -> None:
        """Before its put: the blob with all its wanted copies, which are missing."""

    def landed(self, blob: Blob, node_ids: Sequence[str]) -> None:
        """It is on those nodes, enough of them."""


class LongBody:
    """One body on its way. Holds one buffer, and a second one while it seals ahead."""

    def __init__(
        self,
        nodes: WritableNodes,
        spare: SpareThreads,
        buffers: BufferPool,
        receiver: Receiver,
        upload: Upload,
        row: BlobRows,
    ) -> None:
        self._nodes = nodes
        self._spare = spare
        self._buffers = buffers
        self._receiver = receiver
        self._upload = upload
        self._row = row

    def put_all(self, first: Sealed, buffer: Buffer) -> None:
        """Until the body ends, beginning with the blob sealed into `buffer`, which is given back in the end."""
        sealed: Sealed | None = first
        try:
            while sealed is not None:
                ahead = None if self._receiver.complete else self._buffers.try_take()
                try:
                    putting = None if ahead is None else self._spare.run(partial(self._put, sealed))
                    if ahead is None or putting is None:
                        self._put(sealed)
                        sealed = self._next(sealed, buffer)
                    else:
                        sealed = self._seal_ahead(sealed, ahead, putting)
                        buffer, ahead = ahead, buffer
                finally:
                    if ahead is not None:
                        ahead.release()
        finally:
            buffer.release()

    def _seal_ahead(self, sealed: Sealed, ahead: Buffer, putting: Future[None]) -> Sealed | None:
        try:
            following = self._next(sealed, ahead)
        finally:
            putting.exception()  # only waits: both buffers are free afterwards
        putting.result()
        return following

    def _next(self, sealed: Sealed, buffer: Buffer) -> Sealed | None:
        """The next blob; None if the body ended, or broke off before a whole chunk of it came."""
        if not self._receiver.more():
            return None
        last = sealed.blob
        following = self._upload.sealing.seal(last.number + 1, last.offset + last.length, self._receiver, buffer)
        return following if following.blob.length else None

    def _put(self, sealed: Sealed) -> None:
        copies = self._upload.bucket.copies
        order = nodes_for(self._upload.version_id, self._nodes)
        missing = [Placed(node_id, CopyState.MISSING) for node_id in wanted_nodes(order, copies)]
        self._row.add_blob(NewBlob(sealed.blob, missing))
        node_ids = place(self._nodes, self._spare, sealed, order, self._upload.need)
        self._row.landed(sealed.blob, node_ids)
        self._upload.add(sealed, node_ids, wanted_nodes(order, copies, node_ids))
