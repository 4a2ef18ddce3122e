"""Store and fetch over real nodes that are killed, hung and tampered with, as one API process does it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from api.fetch_object import Fetched, FetchObject
from api.receiving import Expected
from api.store_object import Stored, StoreObject
from common.blobstore.base import Deadline
from common.catalogue.migrate import upgrade
from common.catalogue.sql import open_catalogue
from common.crypto.keyring import FileKeyring, Keyring, new_kek, write_keyring
from common.errors import CopiesUnreachable, NodeBusy, NotEnoughNodes, ObjectDamaged
from common.jobs.base import Enqueuer, TaskName
from common.nodes import Nodes
from common.objects import MIB, Headers, Version, blob_name
from common.placement import order
from common.settings import Settings
from tests.conftest import NodeFactory
from tests.servers import RealNode, wait_until

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


class Process:
    """The parts of an API process over three real nodes, a catalogue and a keyring in one folder."""

    def __init__(self, folder: Path, real: Sequence[RealNode]) -> None:
        self.real = {node.spec.name: node for node in real}
        for node in real:
            shutil.copy(node.credentials_file, folder)
        settings = Settings(home=folder, credentials_dir=folder)
        settings.passphrase.write_bytes(b"a passphrase of the test")
        settings.passphrase.chmod(0o600)
        kek = new_kek(time.time())
        write_keyring(settings.keyring, Keyring(kek.id, {kek.id: kek}), settings.passphrase)
        self.catalogue = open_catalogue(settings.database)
        upgrade(self.catalogue)
        self.catalogue.nodes.register([node.spec for node in real])
        self.catalogue.keks.ensure(kek.id)
        self.catalogue.buckets.put(BUCKET, 3, 1)
        self.nodes = Nodes(self.catalogue.nodes, self.catalogue.leases, settings, "one")
        self.nodes.start()
        wait_until(lambda: len(self.nodes.candidates()) == len(real), 10, "all nodes take copies")
        keys = FileKeyring(settings.keyring, settings.passphrase)
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


@pytest.fixture
def process(tmp_path: Path, node_factory: NodeFactory) -> Iterator[Process]:
    process = Process(tmp_path, [node_factory(name) for name in ("node1", "node2", "node3")])
    yield process
    process.close()


def test_bodies_of_several_lengths_come_back_whole_and_in_ranges(process: Process) -> None:
    for size in (0, 1, 16384, MIB, 8 * MIB, 17 * MIB + 3):
        data = os.urandom(size)
        process.put(data, copies=2)
        assert process.get() == data
    assert process.get((8 * MIB - 5, 10), (17 * MIB, 3)) == data[8 * MIB - 5 : 8 * MIB + 5] + data[17 * MIB :]


def test_a_node_killed_during_the_upload_costs_nothing_but_its_copies(process: Process) -> None:
    data = os.urandom(20 * MIB)
    stored = process.put(data, 2, half=process.real["node1"].kill)
    assert stored.protection.stored == 2
    assert process.get() == data
    assert "missing" in process.states()["node1"]
    assert process.put(b"after", 2).protection.stored == 2
    process.real["node2"].kill()
    with pytest.raises(NotEnoughNodes):
        process.put(b"too few", 2)
    assert process.get() == b"after"


def test_a_node_that_hangs_or_dies_in_the_middle_of_a_download_is_not_noticed(process: Process) -> None:
    data = os.urandom(24 * MIB)
    process.put(data, 3)
    for end in (RealNode.pause, RealNode.kill):
        chunks = process.open().chunks
        got = [next(chunks)]
        busy = next(node_id for node_id in process.nodes.all() if in_flight(process, node_id))
        end(process.node(busy))
        started = time.monotonic()
        got += chunks
        assert b"".join(got) == data
        assert time.monotonic() - started < 10
        assert set(map(frozenset, process.states().values())) == {frozenset({"stored"})}


def in_flight(process: Process, node_id: str) -> bool:
    with suppress(NodeBusy):
        return bool(process.nodes.store(node_id).in_flight)  # type: ignore[attr-defined]
    return False


def test_copies_removed_cut_and_changed_on_the_nodes_are_found_and_passed_over(process: Process) -> None:
    data = os.urandom(3 * MIB)
    process.put(data, 3)
    name = blob_name(process.catalogue.objects.find(BUCKET, "k").blobs[0].blob.id)
    one, two, three = (process.real[f"node{i}"].store() for i in (1, 2, 3))
    sealed = one.read(name, Deadline(5))
    wrong = bytearray(sealed)
    wrong[2 * MIB + 500] ^= 4
    one.delete(name, Deadline(5))
    two.put(name, sealed[: 2 * MIB], Deadline(5))
    assert process.get() == data
    three.put(name, wrong, Deadline(5))
    with pytest.raises(ObjectDamaged):
        list(process.open().chunks)
    assert process.states() == {"node1": {"suspect"}, "node2": {"suspect"}, "node3": {"suspect"}}
    two.put(name, sealed, Deadline(5))
    assert process.get() == data


def test_with_every_node_gone_it_is_unavailable_and_readable_again_when_one_is_back(process: Process) -> None:
    data = os.urandom(100_000)
    process.put(data, 3)
    for node in process.real.values():
        node.kill()
    with pytest.raises(CopiesUnreachable):
        process.open()
    with pytest.raises(NotEnoughNodes):
        process.put(b"x", 1)
    process.real["node2"].start()
    wait_until(lambda: process.nodes.readable(), 20, "a node can be read again")
    assert process.get() == data
    assert set(map(frozenset, process.states().values())) == {frozenset({"stored"})}
