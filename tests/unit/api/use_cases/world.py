"""Store, fetch and delete joined with a real catalogue on SQLite, nodes in memory and a key that lives in the test."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from time import time

from api.fetch.fetch_object import Fetched, FetchObject
from api.store.buffers import BufferPool
from api.store.receiving import Body, Expected
from api.store.resumable_uploads import ResumableUploads
from api.store.store_object import Stored, StoreObject
from common.catalogue.base import Catalogue
from common.catalogue.sql import SqlCatalogue
from common.model.copies import CopyState
from common.model.names import blob_name
from common.model.nodes import NodeHealth, NodeSpec
from common.model.sizes import MIB
from common.model.versions import Headers, Preconditions, Version
from common.model.work import CopyAction, CopyDetail, Outcome
from common.placement import Candidate, order
from common.queue.base import Enqueuer, TaskName
from common.settings import Settings
from tests.support.keys import MemoryKeys
from tests.support.seen_nodes import SeenNodes

BUCKET = "casa"
NO_PRECONDITIONS = Preconditions()
PLAIN = Headers()


@cache
def content(length: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(length)


class BytesBody:
    """A body of known bytes, handed out in pieces; `at` maps a position to what happens when it is reached."""

    def __init__(self, data: bytes, piece: int = 1 << 18, at: Mapping[int, Callable[[], None]] | None = None) -> None:
        self.data = memoryview(data)
        self.position = 0
        self._piece = piece
        self._at = dict(at or {})

    def readinto(self, buffer: memoryview) -> int:
        for position in sorted(self._at):
            if position <= self.position:
                self._at.pop(position)()
        got = self.data[self.position : self.position + min(self._piece, len(buffer))]
        buffer[: len(got)] = got
        self.position += len(got)
        return len(got)


@dataclass
class Enqueued(Enqueuer):
    """What was handed to the queue."""

    ids: dict[TaskName, list[str]] = field(default_factory=dict)

    def enqueue(self, task: TaskName, ids: Sequence[str]) -> None:
        self.ids.setdefault(task, []).extend(ids)


class World:
    """One API process's use cases and everything they touch, to be looked at directly."""

    def __init__(self, catalogue: SqlCatalogue, settings: Settings, nodes: int = 3, copies: int = 3) -> None:
        self.catalogue = catalogue
        self.settings = settings
        specs = [NodeSpec(f"n{i}", f"http://127.0.0.1:{9000 + i}", "blobs", f"n{i}") for i in range(nodes)]
        catalogue.nodes.register(specs)
        node_ids = [node.id for node in catalogue.nodes.all()]
        catalogue.leases.acquire("health", "world", 3600)
        catalogue.nodes.write_health({node_id: (NodeHealth.UP, time(), None) for node_id in node_ids}, "world")
        self.bucket, _ = catalogue.buckets.put(BUCKET, copies, 1)
        self.nodes = SeenNodes(node_ids)
        self.keys = MemoryKeys()
        catalogue.keks.ensure(self.keys.active())
        self.queue = Enqueued()
        self.monotonic = 0.0
        self.store = StoreObject(catalogue, self.nodes, self.keys, self.queue, settings, lambda: self.monotonic)
        self.uploads = ResumableUploads(
            catalogue,
            self.nodes,
            self.keys,
            self.queue,
            settings,
            self.store.buffers,
            self.store.spare,
            lambda: self.monotonic,
        )
        self.fetch = FetchObject(catalogue, self.nodes, self.keys, self.queue)

    def close(self) -> None:
        """Also forget the bytes at once: worlds stand in cycles, and many tests would keep many of them."""
        self.store.close()
        self.fetch.close()
        for store in self.nodes.stores.values():
            store.wipe()
        self.store.buffers = BufferPool(0, 0)

    # -- what a client does

    def put(
        self,
        data: bytes | Body,
        key: str = "k",
        *,
        known: bool = True,
        write_copies: int | None = None,
        preconditions: Preconditions = NO_PRECONDITIONS,
        expected: Expected | None = None,
        headers: Headers = PLAIN,
    ) -> Stored:
        body = BytesBody(data) if isinstance(data, bytes) else data
        if expected is None:
            expected = Expected(len(data)) if known and isinstance(data, bytes) else Expected()
        return self.store(
            BUCKET, key, body, headers, preconditions=preconditions, write_copies=write_copies, expected=expected
        )

    def delete(self, bucket: str, key: str) -> None:
        self.catalogue.objects.delete(bucket, key, NO_PRECONDITIONS)

    def open(self, *ranges: tuple[int, int], key: str = "k") -> Fetched:
        """A read of these ranges (the whole without one), with its first chunk verified."""
        return self.fetch(BUCKET, key, lambda version: ranges or [(0, version.size)])

    def get(self, *ranges: tuple[int, int], key: str = "k") -> bytes:
        return b"".join(self.open(*ranges, key=key).chunks)

    # -- what lies where

    def copies(self, key: str = "k") -> Sequence[CopyDetail]:
        return self.catalogue.objects.copies(BUCKET, key)[1]

    def current(self, key: str = "k") -> Version:
        return self.catalogue.objects.find(BUCKET, key).version

    def states(self, key: str = "k") -> Mapping[str | None, Collection[str]]:
        """Copy states by node id, over all blobs of the object."""
        result: dict[str | None, set[str]] = {}
        for copy in self.copies(key):
            result.setdefault(copy.node_id, set()).add(copy.state.value)
        return result

    def replicate(self, key: str = "k") -> None:
        """What workers do: put every wanted copy where it is missing."""
        details = self.copies(key)
        for copy in details:
            if copy.node_id is None or copy.state != "missing":
                continue
            name = blob_name(copy.blob.id)
            data = next(store.blobs[name] for store in self.nodes.stores.values() if name in store.blobs)
            self.nodes.stores[copy.node_id].blobs[name] = data
        mark_stored(self.catalogue, details)

    def corrupt(self, node_id: str, offset: int, number: int = 0, key: str = "k") -> None:
        """Flip one bit of the copy of a blob on a node."""
        store = self.nodes.stores[node_id]
        name = self.name(number, key)
        data = bytearray(store.blobs[name][0])
        data[offset] ^= 1
        store.blobs[name] = (bytes(data), store.blobs[name][1])

    def replace(self, node_id: str, data: bytes, number: int = 0, key: str = "k") -> None:
        self.nodes.stores[node_id].blobs[self.name(number, key)] = (data, time())

    def remove(self, node_id: str, number: int = 0, key: str = "k") -> None:
        del self.nodes.stores[node_id].blobs[self.name(number, key)]

    def name(self, number: int = 0, key: str = "k") -> str:
        version = self.current(key)
        return blob_name(self.catalogue.objects.blobs(version.id, number, 1)[0].blob.id)

    def order(self, version: Version) -> Sequence[str]:
        return order(version.id, [Candidate(node_id, "", 1.0) for node_id in self.nodes.stores])

    def scalar(self, statement: str) -> object:
        return self.catalogue.database.read(lambda connection: connection.exec_driver_sql(statement).scalar())

    def rows(self, statement: str) -> Sequence[Sequence[object]]:
        return self.catalogue.database.read(
            lambda connection: [tuple(row) for row in connection.exec_driver_sql(statement)]
        )

    def change(self, statement: str) -> None:
        self.catalogue.database.write(lambda connection: connection.exec_driver_sql(statement) and None)

    def blobs_on_nodes(self) -> int:
        return sum(len(store.blobs) for store in self.nodes.stores.values())


def mark_stored(catalogue: Catalogue, details: Sequence[CopyDetail]) -> None:
    """End the missing rows as workers would: claim, then `stored`."""
    blob_ids = list(dict.fromkeys(copy.blob.id for copy in details))
    nodes = {copy.node_id for copy in details if copy.node_id}
    claims = catalogue.copies.claim(CopyAction.REPLICATE, blob_ids, nodes, "test", 60)
    catalogue.copies.end([Outcome(claim.copy_id, claim.fence, CopyState.STORED) for claim in claims])


__all__ = ["BUCKET", "MIB", "BytesBody", "World", "content"]
