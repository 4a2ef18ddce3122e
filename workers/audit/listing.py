"""What lies on a node by its own listing, and whether it is still the node it should be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from common.blobstore.base import BlobInfo, BlobStore, Deadline
from common.catalogue.base import Catalogue
from common.errors import BovedaError, NoSuchNode
from common.model.names import BLOBS, BlobName
from common.nodes.health import Identity
from common.nodes.watch import read_identity
from common.nodes.watched_nodes import WatchedNodes

LIST_SECONDS: Final = 30.0
IDENTITY_SECONDS: Final = 5.0


class IdentityMismatch(BovedaError):
    """The node is not, or no longer, what the catalogue's row says: nothing that its listing tells is to be used."""


@dataclass(frozen=True, slots=True)
class Names:
    """A page of a listing: blobs' names old enough to be judged, how many were younger, how many are no blob's name."""

    old: Sequence[BlobName]
    young: int
    unknown: int
    count: int
    last: str


class NodeListing:
    """Reads a node's names. Every call raises what the node raises."""

    def __init__(self, catalogue: Catalogue, nodes: WatchedNodes, grace: float) -> None:
        self._catalogue = catalogue
        self._nodes = nodes
        self._grace = grace

    def check(self, node_id: str) -> None:
        """IdentityMismatch unless the node shows the identity that the catalogue expects, here and now."""
        row = next((node for node in self._catalogue.nodes.all() if node.id == node_id), None)
        if row is None:
            raise NoSuchNode("there is no such node")
        cluster, generation = self._catalogue.nodes.cluster()
        seen = read_identity(self._nodes.store(node_id), Deadline(IDENTITY_SECONDS))
        objection = Identity(cluster, row.id, generation, row.epoch).objection(seen)
        if seen is not None and objection is None and seen.epoch > row.epoch + 1:
            objection = "its identity is newer than the catalogue's, which may be an old one"
        if objection is not None or row.identity != "known":
            raise IdentityMismatch(f"node {row.spec.name}: {objection or 'it is not taken in'}")

    def pages(self, node_id: str, after: str = "") -> Iterator[Names]:
        """All of `blobs/`, judged by the node's own clock."""
        store = self._nodes.store(node_id)
        for page in _pages(store, BLOBS, after):
            yield self._judged(page, store.clock(Deadline(LIST_SECONDS)))

    def present(self, node_id: str, digit: str) -> set[BlobName]:
        """Blobs whose last digit but one is `digit`: a sixteenth of what lies there, to be held in memory."""
        found: set[BlobName] = set()
        for page in _pages(self._nodes.store(node_id), BLOBS + digit, ""):
            found.update(name for blob in page if (name := BlobName.parse(blob.name)) is not None)
        return found

    def _judged(self, page: Sequence[BlobInfo], now: float) -> Names:
        known = [(name, blob.modified) for blob in page if (name := BlobName.parse(blob.name)) is not None]
        old = [name for name, modified in known if modified < now - self._grace]
        return Names(old, len(known) - len(old), len(page) - len(known), len(page), page[-1].name)


def _pages(store: BlobStore, prefix: str, after: str) -> Iterator[Sequence[BlobInfo]]:
    following: str | None = after
    while following is not None:
        page = store.list(prefix, Deadline(LIST_SECONDS), following)
        if page.blobs:
            yield page.blobs
        following = page.next
