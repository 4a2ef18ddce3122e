"""Put a copy on its node, under its name, or under another one where the name is locked.

A name is *locked* when its node fails at it whatever is asked. A damaged `xl.meta` does that to MinIO: GET, PUT and
DELETE of the one object are answered with 500 for ever, and it is in no listing. Writing it anew cannot work.

1. The copy is put under the row's name.
2. The node answered and failed: the same bytes are put under the blob's plain name with a fresh alias behind it. If the
   node fails at that too, it is the node's trouble, and an ordinary failure.
3. The copy is put under the row's name once more. If that works now, it lies there, and the other one is removed.
4. Who ends the row writes the alias and the record of the name that was given up in one transaction. A crash before it
   leaves a name that no row refers to, which reclaim removes (`NameStanding.LEFTOVER`).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import structlog

from common.blobstore.base import BlobStore, Bytes
from common.errors import BlobStoreError, NodeError, NodeReadOnly
from common.model.names import blob_name, new_alias
from common.model.work import Claim, Locked
from common.nodes.watched_nodes import WatchedNodes
from workers.copies.claims import Claims

LOG = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Written:
    """Where the copy lies now. locked: the name that was given up for it, None where the row's own name took it."""

    alias: str | None
    locked: Locked | None = None


class CopyWriter:
    """Safe across threads."""

    def __init__(self, claims: Claims, nodes: WatchedNodes) -> None:
        self._claims = claims
        self._nodes = nodes

    def __call__(self, claim: Claim, data: Bytes) -> Written:
        """BlobStoreError as the node answered; LeaseOver."""
        store = self._nodes.store(claim.node_id)
        try:
            store.put(claim.name, data, self._claims.deadline(claim))
        except NodeError as error:
            if not error.answered or isinstance(error, NodeReadOnly):
                raise
            return self._elsewhere(store, claim, data)
        return Written(claim.alias)

    def _elsewhere(self, store: BlobStore, claim: Claim, data: Bytes) -> Written:
        alias = new_alias()
        name = blob_name(claim.blob.id, alias)
        store.put(name, data, self._claims.deadline(claim))
        try:
            store.put(claim.name, data, self._claims.deadline(claim))
        except NodeError as error:
            LOG.error("name_locked", blob=claim.blob.id, node=claim.node_id, name=claim.name, detail=error.detail)
            return Written(alias, Locked(claim.alias, error.detail))
        with suppress(BlobStoreError):  # reclaim finds it
            store.delete(name, self._claims.deadline(claim))
        return Written(claim.alias)
