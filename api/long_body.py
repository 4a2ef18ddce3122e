"""Put the blobs of a body that has several, one behind the other, sealing the next while this one is put.

Per blob: 1. write its row and wanted copies, with what is known of the one before · 2. put it; if a second buffer and
a spare thread are free, seal the next one meanwhile, else after · 3. note where it landed.
"""

from __future__ import annotations

from api.buffers import Buffer, BufferPool
from api.placing import Placing, WritableNodes, nodes_for, wanted_nodes
from api.receiving import Receiver
from api.sealing import Sealed
from api.spare import SpareThreads
from api.upload import Upload
from api.upload_row import UploadRow


class LongBody:
    """One body on its way. Holds one buffer, and a second one while it seals ahead."""

    def __init__(
        self,
        nodes: WritableNodes,
        spare: SpareThreads,
        buffers: BufferPool,
        receiver: Receiver,
        upload: Upload,
        row: UploadRow,
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
                    sealed, in_ahead = self._put(sealed, buffer, ahead)
                    if in_ahead and ahead is not None:
                        buffer, ahead = ahead, buffer
                finally:
                    if ahead is not None:
                        ahead.release()
        finally:
            buffer.release()

    def _put(self, sealed: Sealed, buffer: Buffer, ahead: Buffer | None) -> tuple[Sealed | None, bool]:
        """Put one blob and seal the next one, if there is one; whether that lies in `ahead`."""
        order = nodes_for(self._upload.version_id, self._nodes)
        self._row.add_blob(sealed, wanted_nodes(order, self._upload.bucket.copies))
        placing = Placing(self._nodes, self._spare, sealed, order, self._upload.need)
        try:
            if ahead is not None and placing.start():
                following = self._next(sealed, ahead)
                self._finish(sealed, placing, order)
                return following, True
            self._finish(sealed, placing, order)
            return self._next(sealed, buffer), False
        finally:
            placing.wait()

    def _next(self, sealed: Sealed, buffer: Buffer) -> Sealed | None:
        if not self._receiver.more():
            return None
        last = sealed.blob
        return self._upload.sealing.seal(last.number + 1, last.offset + last.length, self._receiver, buffer)

    def _finish(self, sealed: Sealed, placing: Placing, order: list[str]) -> None:
        node_ids = placing.finish()
        self._row.landed(sealed, node_ids)
        self._upload.add(sealed, node_ids, wanted_nodes(order, self._upload.bucket.copies, node_ids))
