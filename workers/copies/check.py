"""A look at a copy: read whole and compared with the catalogue's row, once for all who read copies.

What was found is evidence about the copy or about the node:

1. The copy is read. Right bytes prove node and copy. Absent, of another length or digest: the copy is bad.
2. The node answered and failed (5xx, or an answer that broke off), or did not answer in time. A rotten file looks like
   that, for ever, on a node that is well otherwise: MinIO answers 503 at once, SeaweedFS 500 after 13 seconds of
   trying. So another name is read, the node's identity.
3. If that is right, the copy is read once more, with patience. If the node answers and fails, and the identity is right
   again, the copy is bad: `Unreadable`. Anything else is about the node: refused, reset, hung, failing at other names.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Final

from blake3 import blake3

from common.blobstore.base import BlobReader, BlobStore, Deadline, background
from common.errors import BlobMissing, BlobStoreError, IntegrityError, NodeError, NodeTimeout
from common.model.names import blob_name
from common.model.sizes import MIB
from common.model.versions import Blob
from common.nodes.watched_nodes import WatchedNodes
from workers.copies.slots import NodeSlots

PIECE_BYTES: Final = 256 * 1024
SOON_SECONDS: Final = 3.0  # for a first byte, before it is asked whether the node works
REMEMBERED: Final = 1000
REMEMBERED_SECONDS: Final = 60.0
PATIENT_SECONDS: Final = 20.0  # SeaweedFS 4.48 tries for 13.2 s at a chunk that does not have its checksum
NOT_SEALED: Final = "the copy's bytes are not what was sealed"

GOOD: Final = "good"
MISSING: Final = "missing"
DAMAGED: Final = "damaged"
UNREACHABLE: Final = "unreachable"
FINDINGS: Final = (GOOD, MISSING, DAMAGED, UNREACHABLE)
BAD: Final = (MISSING, DAMAGED)


class WrongBytes(IntegrityError):
    """A copy is there, and is not what was sealed. `data`: its bytes, None where they were not kept."""

    def __init__(self, detail: str, data: bytearray | None) -> None:
        super().__init__(detail)
        self.data = data


class Unreadable(WrongBytes):
    """A copy is there, and its node fails at it while it reads other names well."""

    def __init__(self, error: NodeError) -> None:
        super().__init__(f"the node reads other names and fails at this one ({error.detail})", None)


@dataclass(frozen=True, slots=True)
class Finding:
    kind: str
    detail: str = ""


class CopyCheck:
    """Safe across threads."""

    def __init__(self, nodes: WatchedNodes, slots: NodeSlots) -> None:
        self._nodes = nodes
        self._slots = slots
        self._unreadable: dict[tuple[str, str], tuple[Unreadable, float]] = {}
        self._lock = Lock()

    def __call__(self, node_id: str, blob: Blob, alias: str | None) -> Finding:
        """The copy as a finding, whatever it is."""
        if node_id not in self._nodes.readable():
            return Finding(UNREACHABLE, "the node cannot be read now")
        try:
            self.through(node_id, blob, alias, background(blob.cipher_length))
        except BlobMissing as error:
            return Finding(MISSING, error.detail)
        except Unreadable as error:
            self._remember(node_id, blob_name(blob.id, alias), error)
            return Finding(DAMAGED, error.detail)
        except WrongBytes as error:
            return Finding(DAMAGED, error.detail)
        except BlobStoreError as error:
            return Finding(UNREACHABLE, error.detail)
        return Finding(GOOD)

    def whole(self, node_id: str, blob: Blob, alias: str | None, deadline: Deadline) -> bytearray:
        """The copy's bytes. BlobMissing and WrongBytes are about the copy, any other BlobStoreError about the node.

        What was found unreadable a moment ago is not tried again at once: that may take the node half a minute.
        """
        found = self._recall(node_id, blob_name(blob.id, alias))
        if found is not None:
            raise found
        data = bytearray()

        def read(store: BlobStore, until: Deadline) -> None:
            nonlocal data
            data = _read_whole(store, blob, alias, until)

        self._look(node_id, blob, read, deadline)
        return data

    def through(self, node_id: str, blob: Blob, alias: str | None, deadline: Deadline) -> None:
        """The same look without keeping the bytes."""
        self._look(node_id, blob, lambda store, until: _read_through(store, blob, alias, until), deadline)

    def _look(self, node_id: str, blob: Blob, read: Callable[[BlobStore, Deadline], None], deadline: Deadline) -> None:
        deadline.first_byte_within(SOON_SECONDS)
        with self._slots.slot(node_id):
            try:
                read(self._nodes.store(node_id), deadline)
            except NodeError as error:
                if not (error.answered or isinstance(error, NodeTimeout)) or not self._nodes.reads_others(node_id):
                    raise
                self._again(node_id, lambda store: read(store, _patient(blob)))
        self._nodes.authenticated(node_id)

    def _again(self, node_id: str, read: Callable[[BlobStore], None]) -> None:
        try:
            read(self._nodes.store(node_id))
        except NodeError as error:
            if error.answered and self._nodes.reads_others(node_id):
                raise Unreadable(error) from None
            raise

    def _remember(self, node_id: str, name: str, error: Unreadable) -> None:
        with self._lock:
            while len(self._unreadable) >= REMEMBERED:
                self._unreadable.pop(next(iter(self._unreadable)))
            self._unreadable[node_id, name] = error, time.monotonic()

    def _recall(self, node_id: str, name: str) -> Unreadable | None:
        """Once: whoever asks acts on it."""
        with self._lock:
            error, at = self._unreadable.pop((node_id, name), (None, 0.0))
        return error if time.monotonic() - at < REMEMBERED_SECONDS else None


def _patient(blob: Blob) -> Deadline:
    return Deadline(PATIENT_SECONDS + blob.cipher_length / MIB)


def _read_whole(store: BlobStore, blob: Blob, alias: str | None, deadline: Deadline) -> bytearray:
    """The blob's bytes, in memory once."""
    with _opened(store, blob, alias, deadline) as reader:
        data = bytearray(reader.size)
        reader.readinto(memoryview(data))
    if blake3(data).digest() != blob.digest:
        raise WrongBytes(NOT_SEALED, data)
    return data


def _read_through(store: BlobStore, blob: Blob, alias: str | None, deadline: Deadline) -> None:
    """A piece at a time, which stays in the processor's cache."""
    digest = blake3()
    with _opened(store, blob, alias, deadline) as reader:
        memory = memoryview(bytearray(min(PIECE_BYTES, reader.size)))
        left = reader.size
        while left:
            piece = memory[:left]
            reader.readinto(piece)
            digest.update(piece)
            left -= len(piece)
    if digest.digest() != blob.digest:
        raise WrongBytes(NOT_SEALED, None)


@contextmanager
def _opened(store: BlobStore, blob: Blob, alias: str | None, deadline: Deadline) -> Iterator[BlobReader]:
    with store.get(blob_name(blob.id, alias), deadline) as reader:
        if reader.size != blob.cipher_length:
            raise WrongBytes(f"the copy has {reader.size} bytes instead of {blob.cipher_length}", None)
        yield reader
