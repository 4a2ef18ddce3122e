"""Worker processes as the cluster starts them, with a catalogue, a queue and buckets on real nodes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from blake3 import blake3

from common.blobstore.base import Deadline
from common.blobstore.s3_store import S3Store, open_store
from common.catalogue.migrate import migrate
from common.catalogue.sql import open_catalogue
from common.errors import BlobMissing
from common.model.copies import CopyState, Placed
from common.model.names import blob_name, new_id
from common.model.nodes import NodeHealth, NodeSpec
from common.model.versions import Blob, Headers, NewBlob, NewVersion, Preconditions
from common.settings import Settings
from tests.support.servers import RealNode, RealQueue
from tests.support.waiting import wait_until

BUCKET = "archivos"
ROOT = Path(__file__).parents[3]


class Plant:
    """`nodes`: (name, bucket's spec, the server it is on). What is committed looks as if enqueued a minute ago, so
    that the sweep need not be waited for."""

    def __init__(self, home: Path, redis: RealQueue, nodes: Sequence[tuple[NodeSpec, RealNode]]) -> None:
        self.home = home
        self.redis = redis
        credentials = home / "credentials"
        credentials.mkdir(mode=0o700)
        specs = []
        for number, (spec, server) in enumerate(nodes, 1):
            shutil.copy(server.credentials_file, credentials / f"node{number}.json")
            specs.append(NodeSpec(f"node{number}", spec.endpoint, spec.bucket, f"node{number}"))
        (home / "nodes.json").write_text(
            json.dumps(
                [
                    {"name": spec.name, "endpoint": spec.endpoint, "bucket": spec.bucket, "credentials": spec.name}
                    for spec in specs
                ]
            )
        )
        self.env = {
            "BOVEDA_HOME": str(home),
            "BOVEDA_NODES_FILE": str(home / "nodes.json"),
            "BOVEDA_REDIS_URL": redis.url,
            "BOVEDA_LEASE_SECONDS": "5",
            "BOVEDA_BACKOFF_BASE": "0.1",
            "BOVEDA_SWEEP_INTERVAL": "0.5",
            "BOVEDA_DOOM_DELAY": "0",
            "BOVEDA_LOG_FORMAT": "json",
        }
        settings = Settings(home=home, nodes_file=home / "nodes.json")
        migrate(settings)
        self.catalogue = open_catalogue(settings.database, clock=lambda: time.time() - 60)
        self.catalogue.keks.ensure("kek-1")
        self.ids = [node.id for node in sorted(self.catalogue.nodes.all(), key=lambda node: node.spec.name)]
        self.stores: list[S3Store] = [open_store(spec, credentials / f"{spec.name}.json") for spec in specs]
        self._processes: list[subprocess.Popen[bytes]] = []

    def close(self) -> None:
        for process in self._processes:
            self.kill(process)
        for store in self.stores:
            store.close()
        self.catalogue.close()

    # -- processes

    def worker(self, queues: str = "replicate,repair,delete,control", ready: bool = True) -> subprocess.Popen[bytes]:
        name = f"worker{len(self._processes)}"
        process = self._start(name, "worker", "--pool", "threads", "-c", "8", "-Q", queues, "-n", f"{name}@test")
        if ready:
            wait_until(lambda: "ready" in self.log(name), 60, f"{name} is ready: {self.home / name}.log")
            wait_until(self._all_up, 60, "the nodes are known and up: what cannot be claimed is left to the sweep")
        return process

    def _all_up(self) -> bool:
        return all(node.identity == "known" and node.health is NodeHealth.UP for node in self.catalogue.nodes.all())

    def beat(self) -> subprocess.Popen[bytes]:
        return self._start("beat", "beat", "--pidfile=")

    def log(self, name: str) -> str:
        path = self.home / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def _start(self, name: str, *args: str) -> subprocess.Popen[bytes]:
        with (self.home / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "workers.celery", *args],
                env={**os.environ, **self.env, "PYTHONPATH": str(ROOT)},
                cwd=self.home,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    @staticmethod
    def signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        os.killpg(process.pid, number)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        with suppress(ProcessLookupError):
            self.signal(process, signal.SIGKILL)
        process.wait(10)

    # -- content

    def put(self, key: str, size: int = 1000) -> tuple[str, bytes]:
        """An object of one blob, as an upload leaves it: stored on the first node, missing on the others."""
        data = random.Random(key).randbytes(size)
        blob = Blob(new_id(), 0, 0, size, size, blake3(data).digest(), b"s" * 24)
        self.stores[0].put(blob_name(blob.id), data, Deadline(10))
        states = [CopyState.STORED] + [CopyState.MISSING] * (len(self.ids) - 1)
        copies = [Placed(node, state) for node, state in zip(self.ids, states, strict=True)]
        bucket = self.catalogue.buckets.get(BUCKET)
        version = NewVersion(new_id(), bucket, key, size, 1, len(self.ids), Headers(), "kek-1", b"wrapped", None)
        self.catalogue.objects.commit(version, [NewBlob(blob, copies)], Preconditions())
        return blob.id, data

    def on_nodes(self, blob_id: str) -> list[bytes | None]:
        """What lies on each node under the blob's name."""
        found: list[bytes | None] = []
        for store in self.stores:
            try:
                found.append(store.read(blob_name(blob_id), Deadline(10), 16 << 20))
            except BlobMissing:
                found.append(None)
        return found

    def states(self, key: str) -> list[str]:
        return sorted(row.state.value for row in self.catalogue.objects.copies(BUCKET, key)[1])

    def wait_whole(self, key: str, seconds: float = 40) -> None:
        """Until every copy of the object is stored."""
        wait_until(lambda: self.states(key) == ["stored"] * len(self.ids), seconds, f"all copies of {key}")
