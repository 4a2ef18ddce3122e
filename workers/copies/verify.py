"""Look at suspect copies, and repair what is wrong.

1. Claim the due `suspect` rows of these blobs on nodes that can be read.
2. Read each copy whole (`check`). Right: it is `stored` and verified, and a good source for the others.
3. Absent, wrong, or unreadable on a node that reads others: first a good copy is read whole and right from elsewhere.
   While there is none, damaged bytes stay in place and their rows are parked; when every wanted copy was looked at, the
   row is a dead letter `no-good-copy`.
4. Wrong bytes are put under `quarantine/` on the same node as evidence, then overwritten with good ones. What cannot be
   read or kept, or is too much, is logged and blocks nothing; a name that cannot be written is given up
   (`copy_writer`).
5. The copy is read back; only then it is `stored` and verified.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import structlog
from prometheus_client import Counter

from common.errors import BlobMissing, BlobStoreError, BlobTooLong, CopiesUnreachable, ObjectDamaged
from common.model.copies import CopyState
from common.model.names import quarantine_name
from common.model.sizes import MIB
from common.model.work import Claim, CopyAction
from common.nodes.watched_nodes import WatchedNodes
from workers.copies.check import CopyCheck, Unreadable, WrongBytes
from workers.copies.claims import Claims, LeaseOver, by_blob
from workers.copies.copy_writer import CopyWriter
from workers.copies.retry import WRONG
from workers.copies.slots import NodeSlots
from workers.copies.sources import Sources

LOG = structlog.get_logger(__name__)
EVIDENCE_MAX: Final = 16 * MIB  # it is held in memory beside the good bytes; of a copy that grew more, the size is told
REPAIRED = Counter("boveda_copies_repaired_total", "Bad copies made good in their place", ["node", "found"])


class Verify:
    def __init__(
        self,
        claims: Claims,
        sources: Sources,
        check_copy: CopyCheck,
        writer: CopyWriter,
        nodes: WatchedNodes,
        slots: NodeSlots,
    ) -> None:
        self._claims = claims
        self._sources = sources
        self._check_copy = check_copy
        self._write = writer
        self._nodes = nodes
        self._slots = slots

    def __call__(self, blob_ids: Sequence[str]) -> int:
        """How many rows were claimed, whatever their outcomes."""
        claimed = self._claims.take(CopyAction.VERIFY, blob_ids)
        if not claimed:
            return 0
        try:
            for rows in by_blob(claimed):
                self._blob(rows)
        finally:
            self._claims.abandon(claimed)
        self._claims.flush()
        return len(claimed)

    def _blob(self, rows: Sequence[Claim]) -> None:
        good: bytearray | None = None
        bad: list[tuple[Claim, BlobMissing | WrongBytes]] = []
        for claim in rows:
            try:
                good = self._check_copy.whole(claim.node_id, claim.blob, claim.alias, self._claims.deadline(claim))
                self._claims.stored(claim, verified=True)
            except (BlobMissing, WrongBytes) as error:
                bad.append((claim, error))
            except BlobStoreError as error:
                self._claims.failed_with(claim, error)
            except LeaseOver:
                pass
        if bad and good is None:
            good = self._good(bad)
        if good is not None:
            for claim, found in bad:
                self._restore(claim, found, good)

    def _good(self, bad: Sequence[tuple[Claim, BlobMissing | WrongBytes]]) -> bytearray | None:
        """Bytes from a copy elsewhere, or None with all these rows ended."""
        try:
            return self._sources.find(bad[0][0], {claim.node_id for claim, _ in bad})
        except LeaseOver:
            return None
        except CopiesUnreachable:
            for claim, found in bad:
                if isinstance(found, BlobMissing):
                    self._claims.absent(claim)
                else:
                    self._claims.parked(claim, found.detail)
        except ObjectDamaged as error:
            for claim, found in bad:
                state = CopyState.MISSING if isinstance(found, BlobMissing) else None
                self._claims.damaged(claim, error.detail, state)
        return None

    def _restore(self, claim: Claim, found: BlobMissing | WrongBytes, good: bytearray) -> None:
        try:
            with self._slots.slot(claim.node_id):
                if isinstance(found, WrongBytes):
                    self._keep_evidence(claim, found)
                written = self._write(claim, good)
            self._check_copy.through(claim.node_id, claim.blob, written.alias, self._claims.deadline(claim))
            REPAIRED.labels(claim.node_id, _kind(found)).inc()
            LOG.info("copy_repaired", blob=claim.blob.id, node=claim.node_id, found=found.detail)
            self._claims.stored(claim, verified=True, alias=written.alias, locked=written.locked)
        except LeaseOver:
            pass
        except WrongBytes as error:
            self._claims.failed(claim, WRONG, error.detail)
        except BlobStoreError as error:
            self._claims.failed_with(claim, error)

    def _keep_evidence(self, claim: Claim, found: WrongBytes) -> None:
        name = claim.name
        if isinstance(found, Unreadable):
            LOG.error("evidence_not_kept", blob=claim.blob.id, node=claim.node_id, detail=found.detail)
            return
        try:
            store = self._nodes.store(claim.node_id)
            data: bytes | bytearray | None = found.data
            if data is None:
                most = max(EVIDENCE_MAX, claim.blob.cipher_length)
                data = store.read(name, self._claims.deadline(claim), most)
            store.put(quarantine_name(claim.blob.id, time.time()), data, self._claims.deadline(claim))
        except BlobTooLong as error:
            LOG.error("evidence_too_large", blob=claim.blob.id, node=claim.node_id, detail=error.detail)
        except BlobStoreError as error:
            LOG.error("evidence_not_kept", blob=claim.blob.id, node=claim.node_id, detail=error.detail)


def _kind(found: BlobMissing | WrongBytes) -> str:
    if isinstance(found, BlobMissing):
        return "missing"
    return "unreadable" if isinstance(found, Unreadable) else "wrong"
