"""One blob's plaintext from its copies: every chunk is opened before a byte of it leaves, another node goes on.

Per chunk each copy is tried once, the ones without a failure first; whoever delivers goes on until it fails. So copies
damaged in different chunks still make a whole blob. A copy whose first byte is late has a second one asked beside it
(`race`).

- Refused, timed out, not asked: about the node. Nothing is written down; a blob that is late again and again is looked
  at by a worker all the same (`doubts`).
- 5xx, or an answer that broke off: about the node, or about this one copy. A worker looks which (`doubts`); of a copy
  that is suspect already, it is the copy.
- Absent, of a wrong length, or bytes that do not open, from a node that answered: about the copy. The version is looked
  up again; if it is still current the copy becomes suspect and its repair is queued. A damaged header is blamed in the
  same way, but the chunks behind it are good if they open.
- When no copy delivers a chunk: the rows are read anew, and nodes that this process alone believes down are looked at
  once more; nodes that came in are tried; then ObjectDamaged if every wanted copy was looked at, CopiesUnreachable if
  one could not be.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing, nullcontext

from api.fetch.copy_read import BlobRange, CopyRead
from api.fetch.race import Race
from api.fetch.version_source import VersionSource
from common.crypto.envelope import BlobOpener, span
from common.errors import (
    BlobMissing,
    BlobStoreError,
    BlobTooLong,
    CopiesUnreachable,
    IntegrityError,
    NodeError,
    NodeTimeout,
    ObjectDamaged,
)
from common.model.copies import CopyState
from common.model.versions import StoredBlob


class BlobRead:
    """A range of one blob, chunk by chunk."""

    def __init__(self, source: VersionSource, stored: StoredBlob, start: int, length: int) -> None:
        blob = stored.blob
        opener = BlobOpener(source.dek, source.version_id, blob.number, blob.salt, blob.length)
        chunks = span(blob.length, start, length)
        end = chunks.first + chunks.count
        self._source = source
        self._copies = stored.copies
        self._part = BlobRange(blob, opener, end, start + length, length == blob.length)
        self._next = chunks.first
        self._drop = chunks.skip
        self._left = length
        self._failures: dict[str, int] = {}
        self._tried: dict[str, bool] = {}  # node id → its copy was looked at, for the present chunk
        self._looked_again = False

    def __iter__(self) -> Iterator[bytes]:
        """Verified plaintext of the range. ObjectDamaged, CopiesUnreachable, Superseded, CatalogueUnavailable."""
        while self._next < self._part.end:
            race = Race(self._choose, self._start, self._source.nodes.late_after, self._source.spare)
            won = race.run()
            with closing(won[0]) if won else nullcontext():
                for node_id, error in race.lost.items():
                    self._leave(node_id, error)
                if race.late:
                    self._source.doubts.late(self._part.blob.id)
                if won:
                    yield from self._from(*won)
                else:
                    self._exhausted()

    def _from(self, copy: CopyRead, chunk: bytes | None) -> Iterator[bytes]:
        """Plaintext from `chunk`, just opened, as far as this copy goes."""
        try:
            if copy.damaged_header is not None:
                self._blame(copy.node_id, copy.damaged_header)
            while chunk is not None:
                self._source.nodes.authenticated(copy.node_id)
                self._next += 1
                self._tried.clear()
                if plain := self._asked_for(chunk):
                    yield plain
                chunk = next(copy, None)
        except (BlobStoreError, IntegrityError) as error:
            self._leave(copy.node_id, error)

    def _asked_for(self, plain: bytes) -> bytes:
        if self._drop or len(plain) > self._left:
            plain = plain[self._drop : self._drop + self._left]
            self._drop = 0
        self._left -= len(plain)
        return plain

    # -- which copy

    def _start(self, node_id: str) -> CopyRead:
        alias = next((copy.alias for copy in self._copies if copy.node_id == node_id), None)
        return CopyRead(self._part, self._next, node_id, alias, self._source.nodes.store)

    def _choose(self, asked: Collection[str]) -> str | None:
        if not self._failures and not asked:
            return next(self._in_order(), None)
        left = [node_id for node_id in self._in_order() if node_id not in self._tried and node_id not in asked]
        return min(left, key=lambda node_id: self._failures.get(node_id, 0), default=None)

    def _in_order(self) -> Iterator[str]:
        """Readable nodes: with stored copies first, then suspect ones, then those on which one is missing."""
        for state in (CopyState.STORED, CopyState.SUSPECT, CopyState.MISSING):
            group = [copy.node_id for copy in self._copies if copy.node_id and copy.state is state]
            if group:
                yield from self._source.nodes.read_order(group)

    # -- what failed

    def _leave(self, node_id: str, error: Exception) -> None:
        """This node is of no use for this chunk."""
        looked = isinstance(error, BlobMissing | BlobTooLong | IntegrityError)
        failed_at_it = isinstance(error, NodeError) and error.answered
        self._failures[node_id] = self._failures.get(node_id, 0) + 1
        self._tried[node_id] = looked or (failed_at_it and self._is(node_id, CopyState.SUSPECT))
        if looked:
            self._blame(node_id, error)
        elif failed_at_it:
            self._source.doubts.raise_on(self._part.blob.id)
        elif isinstance(error, NodeTimeout):
            self._source.doubts.late(self._part.blob.id)

    def _blame(self, node_id: str, error: Exception) -> None:
        if not self._is(node_id, CopyState.MISSING):
            self._source.blame(self._part.blob.id, node_id, error)

    def _is(self, node_id: str, state: CopyState) -> bool:
        return any(copy.node_id == node_id and copy.state is state for copy in self._copies)

    def _exhausted(self) -> None:
        """Every readable copy failed at this chunk. Returns if there is one now that was not tried yet."""
        self._source.check_current()
        for fresh in self._source.catalogue.objects.blobs(self._source.version_id, self._part.blob.number, 1):
            self._copies = fresh.copies
        if self._untried():
            return
        nodes = {copy.node_id for copy in self._copies if copy.node_id}
        if not self._looked_again:
            self._looked_again = True
            if self._source.nodes.look_again(nodes - self._tried.keys()) and self._untried():
                return
        if nodes and all(self._tried.get(node_id, False) for node_id in nodes):
            raise ObjectDamaged("every copy of a part of this object is absent or wrong")
        raise CopiesUnreachable("no good copy of a part of this object could be reached")

    def _untried(self) -> bool:
        return any(node_id not in self._tried for node_id in self._in_order())
