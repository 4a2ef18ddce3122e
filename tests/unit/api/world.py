"""The API as production makes it, over a real catalogue on SQLite, nodes in memory and a key that lives in the test."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from time import time
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api import create_app
from api.fetch.fetch_object import FetchObject
from api.http.auth import Guard
from api.services import Services
from api.status.dependencies import Dependencies
from api.status.status_cache import StatusCache
from api.store.registered_keys import RegisteredKeys
from api.store.resumable_uploads import ResumableUploads
from api.store.store_object import StoreObject
from common.blobstore.base import background
from common.blobstore.memory import MemoryStore
from common.catalogue.migrate import upgrade
from common.catalogue.sql import SqlCatalogue, open_catalogue
from common.crypto.keyring import KeyProvider, new_kek
from common.errors import KeysUnavailable, NodeBusy
from common.model.names import blob_name
from common.model.nodes import Node, NodeHealth, NodeSpec
from common.placement import Candidate
from common.queue.base import Enqueuer, TaskName
from common.queue.memory import MemoryQueue
from common.settings import Settings
from tests.unit.api import documented

MEMBERS = {"type", "title", "status", "detail", "request_id"}


def prepare(database: Path, nodes: int = 3) -> None:
    """A catalogue with the newest schema, nodes that are up, and the buckets `archivos` and `casa`."""
    catalogue = open_catalogue(f"sqlite:///{database}")
    upgrade(catalogue)
    catalogue.nodes.register(
        [NodeSpec(f"n{i}", f"http://127.0.0.1:{9000 + i}", "blobs", f"n{i}") for i in range(nodes)]
    )
    catalogue.leases.acquire("health", "world", 3600)
    ids = [node.id for node in catalogue.nodes.all()]
    catalogue.nodes.write_health({node_id: (NodeHealth.UP, time(), None) for node_id in ids}, "world")
    catalogue.buckets.put("archivos", 3, 1)
    catalogue.buckets.put("casa", 3, 1)
    catalogue.close()


class MemoryNodes:
    """Nodes as this process sees them; `down` ones can be neither written nor read, `silent` ones answer no probe."""

    def __init__(self, rows: Sequence[Node]) -> None:
        self.rows = {node.id: node for node in rows}
        self.stores = {node.id: MemoryStore() for node in rows}
        self.down: set[str] = set()
        self.silent: set[str] = set()
        self.accepted: list[str] = []

    def all(self) -> Mapping[str, Node]:
        return self.rows

    def candidates(self) -> Sequence[Candidate]:
        return [Candidate(node_id, "", 1.0) for node_id in self.stores if node_id not in self.down]

    def answering(self) -> Collection[str]:
        return [candidate.id for candidate in self.candidates() if candidate.id not in self.silent]

    def accept(self, node_id: str) -> int:
        self.accepted.append(node_id)
        return 0

    def read_order(self, node_ids: Iterable[str]) -> Sequence[str]:
        return sorted(node_id for node_id in node_ids if node_id in self.stores and node_id not in self.down)

    def authenticated(self, node_id: str) -> None:
        """Nothing here judges nodes by their traffic."""

    def late_after(self, node_id: str) -> float:
        return 60.0

    def look_again(self, node_ids: Collection[str]) -> bool:
        return False

    def store(self, node_id: str) -> MemoryStore:
        if node_id in self.down:
            raise NodeBusy("the node is down")
        return self.stores[node_id]

    def blobs(self) -> list[tuple[MemoryStore, str]]:
        """Every blob on every node."""
        return [
            (store, blob.name) for store in self.stores.values() for blob in store.list("blobs/", background(0)).blobs
        ]


class MemoryKeys(KeyProvider):
    """One KEK. `away`: the keyring cannot be used."""

    def __init__(self) -> None:
        self._kek = new_kek(time())
        self.away = False

    def active(self) -> str:
        self._check()
        return self._kek.id

    def wrap(self, kek_id: str, dek: bytes, context: bytes) -> bytes:
        self._check()
        return self._kek.wrap(dek, context)

    def unwrap(self, kek_id: str, wrapped: bytes, context: bytes) -> bytes:
        self._check()
        return self._kek.unwrap(wrapped, context)

    def _check(self) -> None:
        if self.away:
            raise KeysUnavailable("there is no usable key")


class DirectEnqueuer(Enqueuer):
    def __init__(self, queue: MemoryQueue) -> None:
        self._queue = queue

    def enqueue(self, task: TaskName, ids: Sequence[str]) -> None:
        self._queue.publish(task, ids)


class ApiWorld:
    """The application and everything under it, to be looked at directly."""

    def __init__(self, database: Path, settings: Settings, clock: Callable[[], float] = time) -> None:
        self.settings = settings
        self.catalogue: SqlCatalogue = open_catalogue(f"sqlite:///{database}", clock=clock)
        self.nodes = MemoryNodes(self.catalogue.nodes.all())
        self.keys = MemoryKeys()
        self.queue = MemoryQueue()
        self.services = self._services()
        self.app: Flask = create_app(self.services)
        documented.watch(self.app)

    def _services(self) -> Services:
        keys = RegisteredKeys(self.keys, self.catalogue.keks)
        enqueuer = DirectEnqueuer(self.queue)
        self.store = StoreObject(self.catalogue, self.nodes, keys, enqueuer, self.settings)
        return Services(
            settings=self.settings,
            catalogue=self.catalogue,
            nodes=self.nodes,
            keys=keys,
            queue=self.queue,
            enqueuer=enqueuer,
            dependencies=Dependencies(self.queue, keys),
            status_cache=StatusCache(self.catalogue.status),
            store=self.store,
            uploads=ResumableUploads(
                self.catalogue, self.nodes, keys, enqueuer, self.settings, self.store.buffers, self.store.spare
            ),
            fetch=FetchObject(self.catalogue, self.nodes, keys, enqueuer),
            guard=Guard(self.settings, self.catalogue.tokens),
        )

    @property
    def client(self) -> FlaskClient:
        return self.app.test_client()

    def left_over(self) -> dict[str, str | None]:
        """The names on nodes that belong to no current version, with the state of theirs; None: they have no row."""
        with self.catalogue.database.reading.connect() as connection:
            rows = connection.exec_driver_sql(
                "SELECT blobs.id, versions.state FROM blobs JOIN versions ON versions.id = blobs.version_id"
            )
            states = {blob_name(blob_id): str(state) for blob_id, state in rows.all()}
        names = {name for _, name in self.nodes.blobs()}
        return {name: states.get(name) for name in names if states.get(name) != "current"}

    def close(self) -> None:
        self.store.close()
        self.catalogue.close()


def problem(response: TestResponse, status: int, slug: str) -> dict[str, Any]:
    """The problem document of an answer, once status, type and shape are what they must be."""
    assert response.status_code == status, response.data[:500]
    assert response.content_type == "application/problem+json"
    document: dict[str, Any] = json.loads(response.data)
    assert document.keys() >= MEMBERS
    assert document["status"] == status
    assert document["type"].endswith(f"/{slug}")
    assert document["request_id"] == response.headers["X-Request-Id"]
    return document
