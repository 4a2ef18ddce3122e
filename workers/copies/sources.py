"""A blob's ciphertext, read whole from a copy and right: length and BLAKE3 are compared with the catalogue's row."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from common.catalogue.base import Catalogue
from common.errors import BlobMissing, BlobStoreError, CopiesUnreachable, ObjectDamaged
from common.model.copies import CopyState, Placed
from common.model.nodes import NodeMode
from common.model.versions import Blob
from common.model.work import Claim
from common.nodes.watched_nodes import WatchedNodes
from common.queue.base import Enqueuer, TaskName
from workers.copies.check import CopyCheck, WrongBytes
from workers.copies.claims import Claims

_TIERS = (CopyState.STORED, CopyState.SUSPECT, CopyState.MISSING)


class Sources:
    """Finds a good copy to make others from."""

    def __init__(
        self, catalogue: Catalogue, nodes: WatchedNodes, check_copy: CopyCheck, enqueuer: Enqueuer, claims: Claims
    ):
        self._catalogue = catalogue
        self._nodes = nodes
        self._check_copy = check_copy
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
                return self._check_copy.whole(copy.node_id or "", claim.blob, copy.alias, self._claims.deadline(claim))
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
