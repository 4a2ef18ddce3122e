"""One blob's plaintext from its copies: every chunk is opened before a byte of it leaves, another node goes on.

Per chunk each copy is tried once, the ones without a failure first; whoever delivers goes on until it fails. So copies
damaged in different chunks still make a whole blob.

- Refused, timed out, cut, 5xx, not asked: about the node. Nothing is written down.
- Absent, of a wrong length, or bytes that do not open, from a node that answered: about the copy. The version is looked
  up again; if it is still current the copy becomes suspect and its repair is queued. A damaged header is blamed in the
  same way, but the chunks behind it are good if they open.
- When no copy delivers a chunk: the rows are read anew; nodes that came in are tried; then ObjectDamaged if every
  wanted copy was looked at, CopiesUnreachable if one could not be.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Generator, Iterator
from contextlib import closing

from api.source import Source
from common.blobstore.base import BlobReader, BlobStore, foreground
from common.crypto.envelope import CHUNK, OVERHEAD_HEADER, BlobOpener, span
from common.errors import (
    BlobMissing,
    BlobStoreError,
    CopiesUnreachable,
    IntegrityError,
    ObjectDamaged,
)
from common.objects import CopyState, Placed, StoredBlob, blob_name

STALL_SECONDS = 10.0  # a client that takes longer for a chunk loses its node connection


class _Left(Exception):
    """This node is of no use for this chunk. `looked`: its copy was seen, and is absent or wrong."""

    def __init__(self, looked: bool) -> None:
        self.looked = looked


class BlobRead:
    """A range of one blob, chunk by chunk."""

    def __init__(self, source: Source, stored: StoredBlob, start: int, length: int) -> None:
        blob = stored.blob
        self._source = source
        self._blob = blob
        self._copies = stored.copies
        self._opener = BlobOpener(source.dek, source.version_id, blob.number, blob.salt, blob.length)
        chunks = span(blob.length, start, length)
        self._next = chunks.first
        self._end = chunks.first + chunks.count
        self._stop = start + length
        self._whole = length == blob.length
        self._drop = chunks.skip
        self._left = length
        self._memory = memoryview(b"")

    def __iter__(self) -> Iterator[bytes]:
        """Verified plaintext of the range. ObjectDamaged, CopiesUnreachable, Superseded, CatalogueUnavailable."""
        failures: dict[str, int] = {}
        tried: dict[str, bool] = {}  # node id → its copy was looked at, for the present chunk
        while self._next < self._end:
            node_id = self._choose(failures, tried)
            if node_id is None:
                self._exhausted(tried)
                continue
            before = self._next
            try:
                with closing(self._from(node_id)) as pieces:
                    yield from pieces
                continue
            except _Left as left:
                failures[node_id] = failures.get(node_id, 0) + 1
                if self._next != before:
                    tried.clear()
                tried[node_id] = left.looked

    # -- which copy

    def _choose(self, failures: dict[str, int], tried: Collection[str]) -> str | None:
        if not failures:
            return next(self._in_order(), None)
        untried = [node_id for node_id in self._in_order() if node_id not in tried]
        return min(untried, key=lambda node_id: failures.get(node_id, 0), default=None)

    def _in_order(self) -> Iterator[str]:
        """Readable nodes: with stored copies first, then suspect ones, then those on which one is missing."""
        for state in (CopyState.STORED, CopyState.SUSPECT, CopyState.MISSING):
            group = [copy.node_id for copy in self._copies if copy.node_id and copy.state is state]
            if group:
                yield from self._source.nodes.read_order(group)

    def _exhausted(self, tried: dict[str, bool]) -> None:
        """Every readable copy failed at this chunk. Returns if the rows, read again, name a node not tried yet."""
        self._source.check_current()
        for fresh in self._source.catalogue.objects.blobs(self._source.version_id, self._blob.number, 1):
            self._copies = fresh.copies
        if any(node_id not in tried for node_id in self._in_order()):
            return
        nodes = {copy.node_id for copy in self._copies if copy.node_id}
        if nodes and all(tried.get(node_id, False) for node_id in nodes):
            raise ObjectDamaged("every copy of a part of this object is absent or wrong")
        raise CopiesUnreachable("no good copy of a part of this object could be reached")

    # -- one copy

    def _from(self, node_id: str) -> Generator[bytes, None, None]:
        """Plaintext from `_next` on, as far as this copy goes; _Left when it can go no further."""
        try:
            store = self._source.nodes.store(node_id)
            if self._whole and self._end == 1:
                yield from self._at_once(store, node_id)
            else:
                yield from self._streamed(store, node_id)
        except (BlobMissing, IntegrityError) as error:
            self._blame(node_id, error)
            raise _Left(looked=True) from error
        except BlobStoreError as error:
            raise _Left(looked=False) from error

    def _blame(self, node_id: str, error: Exception) -> None:
        if Placed(node_id, CopyState.MISSING) not in self._copies:
            self._source.blame(self._blob.id, node_id, error)

    def _at_once(self, store: BlobStore, node_id: str) -> Iterator[bytes]:
        data = memoryview(store.read(blob_name(self._blob.id), foreground(self._blob.cipher_length)))
        if len(data) != self._blob.cipher_length:
            raise IntegrityError(f"the copy has {len(data)} bytes instead of {self._blob.cipher_length}")
        self._check_header(data[:OVERHEAD_HEADER], node_id)
        yield self._open(data[OVERHEAD_HEADER:], node_id)

    def _streamed(self, store: BlobStore, node_id: str) -> Iterator[bytes]:
        """Open the copy at the next chunk; again whenever the client stalled so long that the connection was closed."""
        while self._next < self._end:
            offset, length = self._rest()
            deadline = foreground(length)
            with store.get(blob_name(self._blob.id), deadline, offset, length) as reader:
                left = reader.size
                if offset == 0:
                    self._check_header(self._take(reader, OVERHEAD_HEADER, left), node_id)
                    left -= OVERHEAD_HEADER
                stalled = 0.0
                while self._next < self._end and stalled <= STALL_SECONDS:
                    size = self._opener.sealed_size(self._next)
                    piece = self._open(self._take(reader, size, left), node_id)
                    left -= size
                    before = time.monotonic()
                    if piece:
                        yield piece
                    stalled = time.monotonic() - before
                    deadline.extend(stalled)

    def _rest(self) -> tuple[int, int]:
        """Offset and length of what is still to read of the blob; a whole one with its header."""
        rest = span(self._blob.length, self._next * CHUNK, self._stop - self._next * CHUNK)
        header = rest.offset if self._whole and self._next == 0 else 0
        return rest.offset - header, rest.length + header

    def _take(self, reader: BlobReader, size: int, left: int) -> memoryview:
        if left < size:
            raise IntegrityError("the copy is too short")
        if len(self._memory) < size:
            self._memory = memoryview(bytearray(size))
        piece = self._memory[:size]
        reader.readinto(piece)
        return piece

    def _check_header(self, header: memoryview, node_id: str) -> None:
        """A damaged header is the copy's damage, and no reason to leave it: every chunk proves itself."""
        try:
            self._opener.check_header(header)
        except IntegrityError as error:
            self._blame(node_id, error)

    def _open(self, chunk: memoryview, node_id: str) -> bytes:
        """The part of the next chunk that was asked for."""
        plain = self._opener.open(self._next, chunk)
        self._source.nodes.authenticated(node_id)
        self._next += 1
        if self._drop or len(plain) > self._left:
            plain = plain[self._drop : self._drop + self._left]
            self._drop = 0
        self._left -= len(plain)
        return plain
