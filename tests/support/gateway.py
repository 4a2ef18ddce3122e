"""The parts of one API process in the test's own process, over real nodes and a catalogue of the test's choice."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from api.fetch.fetch_object import Fetched, FetchObject
from api.store.receiving import Expected
from api.store.store_object import Stored, StoreObject
from common.catalogue.migrate import upgrade
from common.catalogue.sql import open_catalogue
from common.crypto.keyring import FileKeyring, Keyring, new_kek, write_keyring
from common.model.versions import Headers, Version
from common.nodes.watched_nodes import WatchedNodes
from common.placement import order
from common.queue.base import Enqueuer, TaskName
from common.settings import Settings
from tests.support.servers import RealNode
from tests.support.waiting import wait_until

BUCKET = "casa"


class Body:
    """A body of known bytes; `half` is called when half of it was read."""

    def __init__(self, data: bytes, half: Callable[[], None] | None = None) -> None:
        self._data = memoryview(data)
        self._at = 0
        self._half = half

    def readinto(self, buffer: memoryview) -> int:
        if self._half is not None and self._at >= len(self._data) / 2:
            self._half()
            self._half = None
        piece = self._data[self._at : self._at + min(len(buffer), 1 << 18)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


class Nobody(Enqueuer):
    """Where no worker is: ids go nowhere."""

    def enqueue(self, task: TaskName, ids: Sequence[str]) -> None:
        return


class Gateway:
    """Nodes, a keyring in `folder`, and a catalogue: there too, or at `database`. `clock` is SQLite's time.

    A second one in the same folder is another gateway of the same store.
    """

    def __init__(
        self,
        folder: Path,
        real: Sequence[RealNode],
        database: str = "",
        clock: Callable[[], float] = time.time,
        name: str = "one",
    ) -> None:
        self.name = name
        self.real = {node.spec.name: node for node in real}
        for node in real:
            shutil.copy(node.credentials_file, folder)
        settings = Settings(home=folder, credentials_dir=folder)
        settings.passphrase.write_bytes(b"a passphrase of the test")
        settings.passphrase.chmod(0o600)
        if not settings.keyring.exists():
            kek = new_kek(time.time())
            write_keyring(settings.keyring, Keyring(kek.id, {kek.id: kek}), settings.passphrase)
        keys = FileKeyring(settings.keyring, settings.passphrase)
        self.catalogue = open_catalogue(database or settings.database, clock=clock)
        upgrade(self.catalogue)
        self.catalogue.nodes.register([node.spec for node in real])
        self.catalogue.keks.ensure(keys.active())
        self.catalogue.buckets.put(BUCKET, 3, 1)
        self.nodes = WatchedNodes(self.catalogue.nodes, self.catalogue.leases, settings, name)
        self.nodes.start()
        wait_until(lambda: len(self.nodes.candidates()) == len(real), 10, "all nodes take copies")
        self.store = StoreObject(self.catalogue, self.nodes, keys, Nobody(), settings)
        self.fetch = FetchObject(self.catalogue, self.nodes, keys, Nobody())

    def put(self, data: bytes, copies: int, half: Callable[[], None] | None = None) -> Stored:
        expected = Expected(len(data))
        return self.store(BUCKET, "k", Body(data, half), Headers(), write_copies=copies, expected=expected)

    def open(self, *ranges: tuple[int, int]) -> Fetched:
        return self.fetch(BUCKET, "k", lambda version: ranges or [(0, version.size)])

    def get(self, *ranges: tuple[int, int]) -> bytes:
        return b"".join(self.open(*ranges).chunks)

    def node(self, node_id: str) -> RealNode:
        return self.real[self.nodes.all()[node_id].spec.name]

    def primary(self, version: Version) -> RealNode:
        return self.node(order(version.id, self.nodes.candidates())[0])

    def states(self) -> dict[str, set[str]]:
        """Copy states of the object by node name."""
        states: dict[str, set[str]] = {}
        for copy in self.catalogue.objects.copies(BUCKET, "k")[1]:
            states.setdefault(self.node(copy.node_id or "").spec.name, set()).add(copy.state.value)
        return states

    def close(self) -> None:
        self.store.close()
        self.nodes.stop()
        self.catalogue.close()
