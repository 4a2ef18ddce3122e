"""One copy of a blob, read from some chunk on and opened chunk by chunk."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from common.blobstore.base import BlobReader, BlobStore, Deadline, foreground
from common.crypto.envelope import CHUNK, OVERHEAD_HEADER, BlobOpener, span
from common.errors import IntegrityError
from common.model.names import blob_name
from common.model.versions import Blob

STALL_SECONDS = 10.0  # a client that takes longer for a chunk loses its node connection


@dataclass(frozen=True, slots=True)
class BlobRange:
    """What is wanted of a blob: the chunks before `end`, up to the plain offset `stop`; `whole`: all of it."""

    blob: Blob
    opener: BlobOpener
    end: int
    stop: int
    whole: bool

    def rest(self, chunk: int) -> tuple[int, int]:
        """Offset and length of what is to read from this chunk on; a whole blob with its header."""
        rest = span(self.blob.length, chunk * CHUNK, self.stop - chunk * CHUNK)
        header = rest.offset if self.whole and chunk == 0 else 0
        return rest.offset - header, rest.length + header


class CopyRead(Iterator[bytes]):
    """The opened chunks of a part, from `chunk` on. BlobStoreError, IntegrityError.

    Nothing happens before the first `next`. `close` gives the node's connection back; it is not to be called while
    another thread is inside `next`. `damaged_header`: what is wrong with the copy although its chunks open: every
    chunk proves itself.
    """

    def __init__(
        self, part: BlobRange, chunk: int, node_id: str, alias: str | None, store: Callable[[str], BlobStore]
    ) -> None:
        self.node_id = node_id
        self._name = blob_name(part.blob.id, alias)
        self.damaged_header: IntegrityError | None = None
        self._part = part
        self._next = chunk
        self._store = store
        self.deadline = foreground(part.rest(chunk)[1])
        self._memory = memoryview(b"")
        self._chunks = self._read()

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        self._chunks.close()

    def _read(self) -> Generator[bytes, None, None]:
        store = self._store(self.node_id)
        at_once = self._part.whole and self._part.end == 1
        yield from self._at_once(store) if at_once else self._streamed(store)

    def _at_once(self, store: BlobStore) -> Iterator[bytes]:
        blob = self._part.blob
        data = memoryview(store.read(self._name, self.deadline, blob.cipher_length))
        if len(data) != blob.cipher_length:
            raise IntegrityError(f"the copy has {len(data)} bytes instead of {blob.cipher_length}")
        self._check_header(data[:OVERHEAD_HEADER])
        yield self._part.opener.open(0, data[OVERHEAD_HEADER:])

    def _streamed(self, store: BlobStore) -> Iterator[bytes]:
        """Open the copy at the next chunk; again whenever the client stalled so long that the connection was closed."""
        deadline = self.deadline
        while self._next < self._part.end:
            yield from self._opened(store, deadline)
            deadline = foreground(self._part.rest(self._next)[1]) if self._next < self._part.end else deadline

    def _opened(self, store: BlobStore, deadline: Deadline) -> Iterator[bytes]:
        offset, length = self._part.rest(self._next)
        with store.get(self._name, deadline, offset, length) as reader:
            left = reader.size
            if offset == 0:
                self._check_header(self._take(reader, OVERHEAD_HEADER, left))
                left -= OVERHEAD_HEADER
            stalled = 0.0
            while self._next < self._part.end and stalled <= STALL_SECONDS:
                size = self._part.opener.sealed_size(self._next)
                plain = self._part.opener.open(self._next, self._take(reader, size, left))
                self._next += 1
                left -= size
                before = time.monotonic()
                yield plain
                stalled = time.monotonic() - before
                deadline.extend(stalled)

    def _take(self, reader: BlobReader, size: int, left: int) -> memoryview:
        if left < size:
            raise IntegrityError("the copy is too short")
        if len(self._memory) < size:
            self._memory = memoryview(bytearray(size))
        piece = self._memory[:size]
        reader.readinto(piece)
        return piece

    def _check_header(self, header: memoryview) -> None:
        try:
            self._part.opener.check_header(header)
        except IntegrityError as error:
            self.damaged_header = error
