"""Make missing copies.

1. Claim the due `missing` rows of these blobs on the nodes that take new copies.
2. For each blob take the slots of its targets; one that has none free is left for later. If there is a target left,
   and room for the blob in memory, read it once, whole, from a copy that is right (see `sources`).
3. Put it to all its targets side by side; a 2xx is enough for `stored`. A row that was tried before may have been put
   after all: that copy is read whole and compared first.
4. Each row is ended as soon as its own put is known. A slow target holds up neither the others, nor the next blob, nor
   the task: what takes longer than a second goes on without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, Future, wait
from threading import Lock
from typing import Final

import structlog

from common.errors import BlobStoreError, CopiesUnreachable, NodeBusy, ObjectDamaged
from common.model.work import Claim, CopyAction
from workers.copies.check import GOOD, CopyCheck
from workers.copies.claims import BUSY_SECONDS, Claims, LeaseOver, by_blob
from workers.copies.copy_writer import CopyWriter
from workers.copies.slots import EVERY_NODE, NodeSlots, WorkerSlots
from workers.copies.sources import Sources

LOG = structlog.get_logger(__name__)
PATIENCE_SECONDS: Final = 1.0


class Held:
    """A blob in memory, for as long as one of its `users` puts it."""

    def __init__(self, data: bytearray, users: int, room: NodeSlots) -> None:
        self.data = data
        self._users = users
        self._room = room
        self._lock = Lock()

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            over = not self._users
        if over:
            self.data = bytearray()
            self._room.give(EVERY_NODE)


class Replicate:
    """`slots`: of each node in puts in flight, and the room for what is put; `pool` runs them."""

    def __init__(
        self,
        claims: Claims,
        sources: Sources,
        check_copy: CopyCheck,
        writer: CopyWriter,
        slots: WorkerSlots,
        pool: Executor,
    ) -> None:
        self._claims = claims
        self._sources = sources
        self._check_copy = check_copy
        self._write = writer
        self._slots = slots.puts
        self._room = slots.room
        self._pool = pool

    def __call__(self, blob_ids: Sequence[str], patience: float | None = PATIENCE_SECONDS) -> int:
        """How many rows were claimed, whatever their outcomes. `patience` None: all puts are waited for."""
        claimed = self._claims.take(CopyAction.REPLICATE, blob_ids)
        if not claimed:
            return 0
        puts: dict[int, Future[None]] = {}
        busy: set[str] = set()
        try:
            for targets in by_blob(claimed):
                self._blob(targets, busy, puts)
            wait(puts.values(), patience)
        finally:
            self._claims.abandon(claim for claim in claimed if claim.copy_id not in puts)
        self._claims.flush()
        return len(claimed)

    def _blob(self, targets: Sequence[Claim], busy: set[str], puts: dict[int, Future[None]]) -> None:
        """Start the puts of one blob. `busy`: nodes that had no slot free for this task; they are not waited for."""
        ready = [claim for claim in targets if self._has_slot(claim, busy)]
        held = None
        try:
            held = self._read(ready) if ready else None
        finally:
            if held is None:
                for claim in ready:
                    self._slots.give(claim.node_id)
        if held is not None:
            for claim in ready:
                puts[claim.copy_id] = self._pool.submit(self._put, claim, held)

    def _has_slot(self, claim: Claim, busy: set[str]) -> bool:
        """Take one for a put; without one the row is put back."""
        if claim.node_id not in busy:
            try:
                self._slots.take(claim.node_id)
            except NodeBusy:
                busy.add(claim.node_id)
            else:
                return True
        self._claims.released(claim, BUSY_SECONDS)
        return False

    def _read(self, targets: Sequence[Claim]) -> Held | None:
        try:
            self._room.take(EVERY_NODE)
        except NodeBusy:
            for claim in targets:
                self._claims.released(claim, BUSY_SECONDS)
            return None
        data = None
        try:
            data = self._sources.find(targets[0])
        except LeaseOver:
            pass
        except CopiesUnreachable:
            for claim in targets:
                self._claims.released(claim)
        except ObjectDamaged as error:
            for claim in targets:
                self._claims.damaged(claim, error.detail)
        finally:
            if data is None:
                self._room.give(EVERY_NODE)
        return None if data is None else Held(data, len(targets), self._room)

    def _put(self, claim: Claim, held: Held) -> None:
        """Runs in the pool, with a slot of the node's share."""
        try:
            if claim.attempts > 1 and self._check_copy(claim.node_id, claim.blob, claim.alias).kind == GOOD:
                self._claims.stored(claim, verified=True)
                return
            written = self._write(claim, held.data)
            self._claims.stored(claim, alias=written.alias, locked=written.locked)
        except LeaseOver:
            pass
        except BlobStoreError as error:
            self._claims.failed_with(claim, error)
        except Exception:  # the edge of a thread whose task may have gone on
            LOG.exception("put_unexpected", blob=claim.blob.id, node=claim.node_id)
        finally:
            held.leave()
            self._slots.give(claim.node_id)
            self._claims.abandon([claim])
