"""Read an object, or ranges of it.

1. Find the current version with its first blobs; the caller selects ranges of it (or answers without bytes).
2. Unwrap the data key; read the first chunk and verify it before anything is answered. A version that is no longer
   current by then → from 1 with what is.
3. From then on chunk by chunk, blob by blob; later blobs are looked up in pages. What cannot go on ends in an error
   that cuts the answer off, so a short one is never taken for whole.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

from api.fetch.blob_index import BlobIndex
from api.fetch.blob_read import BlobRead
from api.fetch.doubts import Doubts
from api.fetch.version_source import ReadableNodes, Superseded, VersionSource
from api.spare_threads import SpareThreads
from common.catalogue.base import Catalogue
from common.catalogue.objects import Found
from common.crypto.envelope import dek_context
from common.crypto.keyring import KeyProvider
from common.errors import IntegrityError, ObjectDamaged, Unavailable
from common.model.versions import Protection, Version
from common.queue.base import Enqueuer

STARTS = 5
SPARE_THREADS = 4  # for second copies: each is needed for as long as a node that is well takes to answer
Ranges = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Fetched:
    """A version and the verified bytes of its `ranges` (start, length), one behind the other.

    No chunk reaches over the border of a range. Close `chunks` (an iterator with `close`) when it is not read to its
    end: that gives the node's connection back.
    """

    version: Version
    protection: Protection
    ranges: Ranges
    chunks: Iterator[bytes]


class Chunks(Iterator[bytes]):
    """The bytes of a read whose first chunk was verified already."""

    def __init__(self, source: VersionSource, pieces: Generator[bytes, None, None]) -> None:
        self._pieces = pieces
        self._first = next(pieces, None)
        source.sent = True

    def __next__(self) -> bytes:
        if self._first is None:
            return next(self._pieces)
        first, self._first = self._first, None
        return first

    def close(self) -> None:
        self._first = None
        self._pieces.close()


class FetchObject:
    """The use case; one per process, safe across threads."""

    def __init__(
        self,
        catalogue: Catalogue,
        nodes: ReadableNodes,
        keys: KeyProvider,
        enqueuer: Enqueuer,
        spare_threads: int = SPARE_THREADS,
    ) -> None:
        self._catalogue = catalogue
        self._nodes = nodes
        self._keys = keys
        self._enqueuer = enqueuer
        self._doubts = Doubts(enqueuer)
        self._spare = SpareThreads(spare_threads, "hedge")

    def close(self) -> None:
        """Wait for the reads of spare threads."""
        self._spare.close()

    def __call__(self, bucket: str, key: str, select: Callable[[Version], Ranges]) -> Fetched:
        for _ in range(STARTS):
            found = self._catalogue.objects.find(bucket, key)
            ranges = select(found.version)
            if not ranges:
                return Fetched(found.version, found.protection, ranges, iter(()))
            source = self._source(found.version)
            try:
                chunks = Chunks(source, self._pieces(source, found, ranges))
            except Superseded:
                continue
            return Fetched(found.version, found.protection, ranges, chunks)
        raise Unavailable("the object is replaced faster than it can be read")

    def _source(self, version: Version) -> VersionSource:
        context = dek_context(version.bucket_id, version.key, version.id, version.size, version.blob_count)
        try:
            dek = self._keys.unwrap(version.kek_id, version.wrapped_dek, context)
        except IntegrityError:
            raise ObjectDamaged("the data key of this object does not open") from None
        return VersionSource(self._catalogue, self._nodes, self._enqueuer, self._doubts, self._spare, version.id, dek)

    def _pieces(self, source: VersionSource, found: Found, ranges: Ranges) -> Generator[bytes, None, None]:
        index = BlobIndex(self._catalogue, found)
        for start, length in ranges:
            end = start + length
            while True:
                stored = index.at(start)
                stop = min(end, stored.blob.offset + stored.blob.length)
                yield from BlobRead(source, stored, start - stored.blob.offset, stop - start)
                start = stop
                if start >= end:
                    break
