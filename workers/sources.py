"""A blob's ciphertext, read whole from a copy and right: length and BLAKE3 are compared with the catalogue's row."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from blake3 import blake3

from common.blobstore.base import BlobReader, BlobStore, Deadline
from common.catalogue.base import Catalogue
from common.errors import (
    BlobMissing,
    BlobStoreError,
    CopiesUnreachable,
    IntegrityError,
    ObjectDamaged,
)
from common.jobs.base import Enqueuer, TaskName
from common.nodes import Nodes
from common.objects import Blob, CopyState, NodeMode, Placed, blob_name
from common.work import Claim
from workers.claims import Claims
from workers.share import NodeShare

PIECE_BYTES = 256 * 1024
_NOT_SEALED = "the copy's bytes are not what was sealed"
_TIERS = (CopyState.STORED, CopyState.SUSPECT, CopyState.MISSING)


class WrongBytes(IntegrityError):
    """A copy is there, and is not what was sealed. `data`: its bytes, None where they were not kept."""

    def __init__(self, detail: str, data: bytearray | None) -> None:
        super().__init__(detail)
        self.data = data


def read_whole(store: BlobStore, blob: Blob, deadline: Deadline) -> bytearray:
    """The blob's bytes, in memory once. BlobMissing, WrongBytes, or what the node answered."""
    with _opened(store, blob, deadline) as reader:
        data = bytearray(reader.size)
        reader.readinto(memoryview(data))
    if blake3(data).digest() != blob.digest:
        raise WrongBytes(_NOT_SEALED, data)
    return data


def read_through(store: BlobStore, blob: Blob, deadline: Deadline) -> None:
    """The same look without keeping the bytes: a piece of them at a time, which stays in the processor's cache."""
    digest = blake3()
    with _opened(store, blob, deadline) as reader:
        memory = memoryview(bytearray(min(PIECE_BYTES, reader.size)))
        left = reader.size
        while left:
            piece = memory[:left]
            reader.readinto(piece)
            digest.update(piece)
            left -= len(piece)
    if digest.digest() != blob.digest:
        raise WrongBytes(_NOT_SEALED, None)


@contextmanager
def _opened(store: BlobStore, blob: Blob, deadline: Deadline) -> Iterator[BlobReader]:
    with store.get(blob_name(blob.id), deadline) as reader:
        if reader.size != blob.cipher_length:
            raise WrongBytes(f"the copy has {reader.size} bytes instead of {blob.cipher_length}", None)
        yield reader


class Sources:
    """Finds a good copy to make others from."""

    def __init__(self, catalogue: Catalogue, nodes: Nodes, share: NodeShare, enqueuer: Enqueuer, claims: Claims):
        self._catalogue = catalogue
        self._nodes = nodes
        self._share = share
        self._enqueuer = enqueuer
        self._claims = claims

    def find(self, claim: Claim, seen: Collection[str] = ()) -> bytearray:
        """The bytes of the claimed row's blob from the best copy that is right; those `seen` are known to be wrong.

        Stored ones first, then suspect ones, then nodes that should not have it yet. A stored one that is absent or
        wrong becomes suspect. CopiesUnreachable while one could not be asked, ObjectDamaged when all were.
        Retired nodes are never asked, and not waited for.
        """
        unasked = 0
        given_up = {node.id for node in self._nodes.all().values() if node.mode is NodeMode.RETIRED}
        passed = {None, *seen, *given_up}
        wanted = [copy for copy in claim.others if copy.node_id not in passed]
        readable = self._nodes.readable()
        for copy in self._order(wanted):
            try:
                with self._share.slot(copy.node_id or ""):
                    store = self._nodes.store(copy.node_id or "")
                    data = read_whole(store, claim.blob, self._claims.deadline(claim))
                self._nodes.authenticated(copy.node_id or "")
                return data
            except (BlobMissing, WrongBytes) as error:
                if copy.state is CopyState.STORED and copy.node_id is not None:
                    self.blame(claim.blob, copy.node_id, error)
            except BlobStoreError:
                unasked += 1
        if unasked or any(copy.node_id not in readable for copy in wanted):
            raise CopiesUnreachable("no good copy can be read now")
        raise ObjectDamaged("every wanted copy is absent or wrong")

    def _order(self, wanted: Sequence[Placed]) -> Sequence[Placed]:
        ordered: list[Placed] = []
        for state in _TIERS:
            there = {copy.node_id: copy for copy in wanted if copy.node_id is not None and copy.state is state}
            ordered += [there[node_id] for node_id in self._nodes.read_order(there) if node_id]
        return ordered

    def blame(self, blob: Blob, node_id: str, error: BlobMissing | WrongBytes) -> None:
        """A stored copy was found absent or wrong: it is suspect, and will be looked at."""
        if self._catalogue.copies.suspect(blob.id, node_id, error.detail):
            self._enqueuer.enqueue(TaskName.VERIFY, [blob.id])
