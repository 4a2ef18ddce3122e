"""The API as production makes it, over a real catalogue on SQLite, nodes in memory and a key that lives in the test."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
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
from common.catalogue.migrate import upgrade
from common.catalogue.sql import SqlCatalogue, open_catalogue
from common.model.names import blob_name
from common.model.nodes import NodeHealth, NodeSpec
from common.queue.base import Enqueuer, TaskName
from common.queue.memory import MemoryQueue
from common.settings import Settings
from tests.support.keys import MemoryKeys
from tests.support.seen_nodes import SeenNodes
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
        rows = self.catalogue.nodes.all()
        self.nodes = SeenNodes((row.id for row in rows), rows)
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
