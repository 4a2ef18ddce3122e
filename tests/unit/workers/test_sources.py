"""A copy is read with the memory that it has to take."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable

import pytest
from blake3 import blake3

from common.blobstore.base import BlobStore, Deadline
from common.blobstore.memory import MemoryStore
from common.objects import Blob, blob_name
from workers.sources import PIECE_BYTES, read_through, read_whole

SIZE = 16 << 20
Read = Callable[[BlobStore, Blob, Deadline], bytearray | None]


@pytest.mark.parametrize(("read", "most"), [(read_whole, SIZE), (read_through, PIECE_BYTES)], ids=["kept", "looked at"])
def test_a_blob_that_is_read_is_in_memory_once_at_most(read: Read, most: int) -> None:
    data = os.urandom(SIZE)
    blob = Blob("b" * 32, 0, 0, SIZE, SIZE, blake3(data).digest(), bytes(24))
    store = MemoryStore()
    store.blobs[blob_name(blob.id)] = (memoryview(data), 0.0)  # type: ignore[assignment]
    tracemalloc.start()
    found = read(store, blob, Deadline(5))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found in (data, None)
    assert peak < most + (1 << 20)
