"""A version being read: the nodes it may come from, and what becomes of copies found absent or wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from api.fetch.doubts import Doubts
from api.spare_threads import SpareThreads
from common.blobstore.base import BlobStore
from common.catalogue.base import Catalogue
from common.errors import CatalogueUnavailable, Unavailable
from common.queue.base import Enqueuer, TaskName


class ReadableNodes(Protocol):
    """What reading needs of `common.nodes.watched_nodes.WatchedNodes`."""

    def read_order(self, node_ids: Iterable[str]) -> Sequence[str]: ...

    def store(self, node_id: str) -> BlobStore: ...

    def authenticated(self, node_id: str) -> None: ...

    def late_after(self, node_id: str) -> float: ...

    def look_again(self, node_ids: Collection[str]) -> bool: ...


class Superseded(Unavailable):
    """The version being read is no longer current, and its blobs are going."""


@dataclass(slots=True)
class VersionSource:
    """One version being read, and whether bytes of it were sent already."""

    catalogue: Catalogue
    nodes: ReadableNodes
    enqueuer: Enqueuer
    doubts: Doubts
    spare: SpareThreads
    version_id: str
    dek: bytes = field(repr=False)
    sent: bool = False
    blamed: set[tuple[str, str]] = field(default_factory=set)

    def check_current(self) -> bool:
        """Whether the version is still current. Superseded if it is not and the read can start over."""
        if self.catalogue.objects.is_current(self.version_id):
            return True
        if not self.sent:
            raise Superseded("the object was replaced or deleted")
        return False

    def blame(self, blob_id: str, node_id: str, error: Exception) -> None:
        """Mark the copy and queue its repair, once. Without a catalogue nobody is blamed; the scrub will find it."""
        if (blob_id, node_id) in self.blamed:
            return
        self.blamed.add((blob_id, node_id))
        try:
            if self.check_current() and self.catalogue.copies.suspect(blob_id, node_id, str(error)):
                self.enqueuer.enqueue(TaskName.VERIFY, [blob_id])
        except CatalogueUnavailable:
            return
