"""Delete doomed copies: one call for all of a node's, and a row goes only when its own node has confirmed.

A node may fail at one name for ever while it writes and deletes others (see `copy_writer`): then the row goes with a
record of the name, and reclaim tries it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from common.blobstore.base import Deadline
from common.errors import BlobStoreError
from common.model.work import Claim, CopyAction
from common.nodes.watched_nodes import WatchedNodes
from workers.copies.claims import Claims, LeaseOver
from workers.copies.slots import NodeSlots


class Delete:
    def __init__(self, claims: Claims, nodes: WatchedNodes, slots: NodeSlots) -> None:
        self._claims = claims
        self._nodes = nodes
        self._slots = slots

    def __call__(self, blob_ids: Sequence[str]) -> int:
        """How many rows were claimed, whatever their outcomes."""
        claimed = self._claims.take(CopyAction.DELETE, blob_ids)
        if not claimed:
            return 0
        by_node: dict[str, list[Claim]] = {}
        for claim in claimed:
            by_node.setdefault(claim.node_id, []).append(claim)
        try:
            for node_id, claims in by_node.items():
                self._on_node(node_id, claims)
        finally:
            self._claims.abandon(claimed)
        self._claims.flush()
        return len(claimed)

    def _on_node(self, node_id: str, claims: Sequence[Claim]) -> None:
        failed: Mapping[str, str] = {}
        names: dict[str, Claim] = {}
        try:
            with self._slots.slot(node_id):
                held = self._held(claims)
                names = {claim.name: claim for claim, _ in held}
                if held:
                    deadline = min((deadline for _, deadline in held), key=Deadline.remaining)
                    failed = self._nodes.store(node_id).delete_many(list(names), deadline)
        except BlobStoreError as error:
            for claim in claims:
                self._claims.failed_with(claim, error)
            return
        deletes_others = bool(failed) and (len(failed) < len(names) or self._nodes.writes_others(node_id))
        for name, claim in names.items():
            if name in failed:
                self._claims.not_deleted(claim, failed[name], deletes_others)
            else:
                self._claims.gone(claim)

    def _held(self, claims: Sequence[Claim]) -> Sequence[tuple[Claim, Deadline]]:
        """Those whose lease is not over: a copy may have been made anew since. The others are left to the sweep."""
        held = []
        for claim in claims:
            with suppress(LeaseOver):
                held.append((claim, self._claims.deadline(claim)))
        return held
