"""One request's turn at an upload that goes on over several: what it holds, and each of its blobs.

Per blob: 1. write its row and wanted copies · 2. put it · 3. write where it landed, and, unless the request's bytes are
to be judged as a whole first, that the upload stands behind it. Each of these fails once another request holds the
upload, or it is gone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

from api.placing import Placing, WritableNodes, nodes_for, wanted_nodes
from api.sealing import Sealed
from api.spare import SpareThreads
from api.upload import Upload
from common.catalogue.uploads import Holder, Resumable, Uploads
from common.errors import CatalogueUnavailable
from common.objects import CopyState, NewBlob, Placed, new_id

LEASE_SECONDS = 5.0  # a client that lost its connection, or whose process was killed, goes on after this
RENEW_SECONDS = 1.5


class Turn:
    """Holds the upload from `begin` to `end`. `at`: the upload as it stands."""

    def __init__(
        self,
        uploads: Uploads,
        nodes: WritableNodes,
        spare: SpareThreads,
        active_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._uploads = uploads
        self._nodes = nodes
        self._spare = spare
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

    def put(self, upload: Upload, sealed: Sealed, *, counts: bool) -> None:
        """The next blob. `counts`: the upload stands behind it then."""
        copies = upload.bucket.copies
        order = nodes_for(upload.version_id, self._nodes)
        missing = [Placed(place, CopyState.MISSING) for place in wanted_nodes(order, copies)]
        self._uploads.add_blob(self.at, self._holder, NewBlob(sealed.blob, missing))
        placing = Placing(self._nodes, self._spare, sealed, order, upload.need)
        try:
            node_ids = placing.finish()
        finally:
            placing.wait()
        upload.add(sealed, node_ids, wanted_nodes(order, copies, node_ids))
        self._landed([(sealed.blob.id, node_id) for node_id in node_ids], upload, counts=counts)

    def count(self, upload: Upload) -> None:
        """All that was put counts now."""
        self._landed([], upload, counts=True)

    def discard(self) -> None:
        """Give up what was put and does not count."""
        while self._uploads.discard(self.at, self._holder):
            pass

    def end(self) -> None:
        if self.at.finished:
            return  # the commit did that
        with contextlib.suppress(CatalogueUnavailable):  # it ends by itself
            self._uploads.release(self.at, self._holder)

    def _landed(self, stored: list[tuple[str, str]], upload: Upload, *, counts: bool) -> None:
        offset = upload.size if counts else self.at.offset
        expires_at = self._uploads.landed(self.at, self._holder, stored, offset)
        blobs = upload.blobs if counts else self.at.blobs
        self.at = replace(self.at, offset=offset, blobs=blobs, expires_at=expires_at)
        self._spoke()

    def _spoke(self) -> None:
        self._renew_at = self._clock() + RENEW_SECONDS
