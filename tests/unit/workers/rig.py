"""A worker's use cases over a real catalogue on SQLite, nodes in memory and a queue in memory."""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from blake3 import blake3

from common.blobstore.base import BlobStore
from common.blobstore.memory import MemoryStore
from common.catalogue.migrate import upgrade
from common.catalogue.sql import open_catalogue
from common.errors import NodeBusy
from common.model.copies import CopyState, Placed
from common.model.names import IDENTITY_NAME, blob_name, new_id
from common.model.nodes import Node, NodeHealth, NodeMode, NodeSpec
from common.model.versions import Blob, Headers, NewBlob, NewVersion, Preconditions
from common.model.work import CopyDetail
from common.nodes.health import Identity
from common.nodes.watched_nodes import WatchedNodes
from common.placement import Candidate
from common.queue.base import Queue, TaskName
from common.queue.memory import MemoryQueue
from common.settings import Settings
from workers.use_cases import UseCases
from workers.wiring import assemble

BUCKET = "papers"
KEK = "kek-1"


def blocked(event: threading.Event) -> None:
    """Stop a thread until the test goes on."""
    assert event.wait(20)


class Clock:
    """The catalogue's time: goes by itself not at all."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class SeenNodes(WatchedNodes):
    """Nodes as this process sees them: stores in memory, verdicts as the test sets them."""

    def __init__(self, rows: Sequence[Node]) -> None:
        self.rows = {row.id: row for row in rows}
        self.stores = {row.id: MemoryStore() for row in rows}
        self.busy: set[str] = set()
        self.proved: set[str] = set()

    def see(self, node_id: str, health: NodeHealth = NodeHealth.UP, mode: NodeMode = NodeMode.ACTIVE) -> None:
        self.rows[node_id] = replace(self.rows[node_id], health=health, mode=mode)

    def all(self) -> Mapping[str, Node]:
        return self.rows

    def store(self, node_id: str) -> BlobStore:
        if node_id in self.busy or not self.rows[node_id].readable:
            raise NodeBusy("the node's breaker is open")
        return self.stores[node_id]

    def candidates(self) -> Sequence[Candidate]:
        return [Candidate(row.id, "", 1.0) for row in self.rows.values() if row.takes_new_copies]

    def reads_others(self, node_id: str) -> bool:
        faults = self.stores[node_id].faults
        return self.rows[node_id].readable and not (faults.down or faults.failing or faults.hung)

    def writes_others(self, node_id: str) -> bool:
        return self.reads_others(node_id) and not self.stores[node_id].faults.full

    def readable(self) -> Collection[str]:
        return {row.id for row in self.rows.values() if row.readable}

    def authenticated(self, node_id: str) -> None:
        self.proved.add(node_id)

    def read_order(self, node_ids: Iterable[str]) -> Sequence[str]:
        return [node_id for node_id in self.rows if node_id in set(node_ids) and self.rows[node_id].readable]


def migrated(path: Path) -> Path:
    """An empty catalogue, to be copied: migrating takes longer than most tests."""
    catalogue = open_catalogue(f"sqlite:///{path}")
    upgrade(catalogue)
    catalogue.close()
    return path


class Rig:
    """Three nodes that are up, a bucket, and a worker. Copies of a blob are stored on the first nodes first."""

    def __init__(self, template: Path, folder: Path, nodes: int = 3) -> None:
        shutil.copy(template, folder / "c.db")
        self.clock = Clock()
        self.settings = Settings(home=folder, backoff_base=0, lease_seconds=60, doom_delay=30)
        self.catalogue = open_catalogue(f"sqlite:///{folder}/c.db", clock=self.clock)
        self.bucket, _ = self.catalogue.buckets.put(BUCKET, 3, 1)
        self.catalogue.keks.ensure(KEK)
        specs = [
            NodeSpec(f"node{n}", f"http://127.0.0.1:{9000 + n}", "boveda", f"node{n}") for n in range(1, nodes + 1)
        ]
        self.catalogue.nodes.register(specs)
        for node in self.catalogue.nodes.all():
            self.catalogue.nodes.set_identity(node.id, "known", 1)
        self.ids = [node.id for node in self.catalogue.nodes.all()]
        self.share_health(*[NodeHealth.UP] * nodes)
        self.nodes = SeenNodes(self.catalogue.nodes.all())
        self.queue = MemoryQueue()
        self.worker = self.another("worker-1")

    def another(self, owner: str) -> UseCases:
        """One more worker process on the same parts."""
        return assemble(self.settings, self.catalogue, self.nodes, self.queue, owner)

    def close(self) -> None:
        self.worker.stop()
        self.catalogue.close()

    def share_health(self, *health: NodeHealth) -> None:
        """The shared verdict, which rules parking."""
        assert self.catalogue.leases.acquire("health", "test", 60)
        now = self.catalogue.now()
        verdicts = {node: (state, now, None) for node, state in zip(self.ids, health, strict=True)}
        assert self.catalogue.nodes.write_health(verdicts, "test")

    def change(self, node: int, health: NodeHealth = NodeHealth.UP, mode: NodeMode = NodeMode.ACTIVE) -> None:
        """A node's mode and health, as everybody sees them from now on."""
        row = self.catalogue.nodes.set_mode(f"node{node + 1}", mode.value, None)
        assert self.catalogue.leases.acquire("health", "test", 60)
        self.catalogue.nodes.write_health({row.id: (health, self.clock.now, None)}, "test")
        self.nodes.see(row.id, health, mode)

    def converge(self, passes: int = 12, seconds: float = 31) -> None:
        """Sweep and work, with time going on between: long enough for what is repeated after a pause."""
        for _ in range(passes):
            self.clock.now += seconds
            self.worker.sweep()
            while self.work():
                pass

    def identify(self, node_id: str, epoch: int = 1) -> None:
        """Write the node's identity, as the first probe of a new node does."""
        cluster, generation = self.catalogue.nodes.cluster()
        identity = Identity(cluster, node_id, generation, epoch)
        self.nodes.stores[node_id].blobs[IDENTITY_NAME] = identity.encode(), time.time()

    # -- content

    def put(
        self, key: str, stored: int = 1, blobs: int = 1, size: int = 100, nodes: Sequence[str | None] | None = None
    ) -> list[bytes]:
        """Commit a version whose blobs lie on the first `stored` of `nodes` (all); the ciphertexts."""
        contents = [random.Random(f"{key}/{number}").randbytes(size) for number in range(blobs)]
        placed = self.ids if nodes is None else nodes
        new = [self._new_blob(number, data, placed, stored) for number, data in enumerate(contents)]
        version = NewVersion(
            new_id(), self.bucket, key, size * blobs, blobs, len(placed), Headers(), KEK, b"wrapped", None
        )
        self.catalogue.objects.commit(version, new, Preconditions())
        return contents

    def _new_blob(self, number: int, data: bytes, nodes: Sequence[str | None], stored: int) -> NewBlob:
        blob = Blob(new_id(), number, number * len(data), len(data), len(data), blake3(data).digest(), b"s" * 24)
        copies = []
        for index, node_id in enumerate(nodes):
            there = index < stored and node_id is not None
            copies.append(Placed(node_id, CopyState.STORED if there else CopyState.MISSING))
            if there and node_id is not None:
                self.nodes.stores[node_id].blobs[blob_name(blob.id)] = data, self.clock.now
        return NewBlob(blob, copies)

    def blob_ids(self, key: str) -> list[str]:
        return [stored.blob.id for stored in self.catalogue.objects.find(BUCKET, key, 1000).blobs]

    def details(self, key: str) -> dict[tuple[int, str | None], CopyDetail]:
        """Copy rows by (blob number, node id)."""
        return {(row.blob.number, row.node_id): row for row in self.catalogue.objects.copies(BUCKET, key)[1]}

    def states(self, key: str) -> list[str]:
        """States of the copies of the first blob, by node."""
        rows = self.details(key)
        return [rows[0, node].state.value for node in self.ids if (0, node) in rows]

    def on_nodes(self, blob_id: str) -> list[bytes | None]:
        """What lies on each node under the blob's name."""
        found = [self.nodes.stores[node].blobs.get(blob_name(blob_id)) for node in self.ids]
        return [None if item is None else item[0] for item in found]

    def spoil(self, blob_id: str, node: int, data: bytes | None) -> None:
        """Other bytes, or none, in place of a copy on the node of that index."""
        blobs = self.nodes.stores[self.ids[node]].blobs
        if data is None:
            del blobs[blob_name(blob_id)]
        else:
            blobs[blob_name(blob_id)] = data, self.clock.now

    def suspect(self, blob_id: str, *nodes: int) -> None:
        for node in nodes:
            assert self.catalogue.copies.suspect(blob_id, self.ids[node], "a reader saw it wrong")

    # -- the queue

    def waiting(self, queue: Queue) -> list[tuple[TaskName, tuple[str, ...]]]:
        """Take all messages of a queue."""
        messages = []
        while (message := self.queue.take(queue)) is not None:
            messages.append(message)
        return messages

    def work(self) -> int:
        """Do what waits in the queues, as workers would; how many messages."""
        return self._do(queue for queue in Queue if queue is not Queue.SCRUB)

    def rounds(self) -> int:
        """The same for what goes round the nodes: scrub runs and reclaims."""
        return self._do([Queue.SCRUB])

    def _do(self, queues: Iterable[Queue]) -> int:
        does: dict[TaskName, Callable[[Sequence[str]], object]] = {
            TaskName.REPLICATE: self.worker.replicate,
            TaskName.VERIFY: self.worker.verify,
            TaskName.DOUBT: lambda ids: self.worker.doubt(ids),
            TaskName.DELETE: self.worker.delete,
            TaskName.DROP_SURPLUS: self.worker.drop_surplus,
            TaskName.SCRUB: lambda ids: [self.worker.scrub(node_id) for node_id in ids],  # type: ignore[func-returns-value]
            TaskName.RECLAIM: lambda ids: [self.worker.reclaim(node_id) for node_id in ids],  # type: ignore[func-returns-value]
            TaskName.JOB: lambda ids: [self.worker.run_job(job_id) for job_id in ids],  # type: ignore[func-returns-value]
        }
        messages = [message for queue in queues for message in self.waiting(queue)]
        for task, ids in messages:
            does[task](ids)
        return len(messages)
