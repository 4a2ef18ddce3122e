"""Store and fetch over real nodes that are killed, hung and tampered with, as one API process does it."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cli.cluster.home.servers import NodeKind
from common.blobstore.base import Deadline
from common.errors import CopiesUnreachable, NodeBusy, NotEnoughNodes, ObjectDamaged
from common.model.names import blob_name
from common.model.nodes import NodeHealth
from common.model.sizes import MIB
from tests.conftest import NodeFactory
from tests.support.gateway import BUCKET, Gateway
from tests.support.running_time import running_time
from tests.support.servers import RealNode
from tests.support.waiting import wait_until


@pytest.fixture
def process(tmp_path: Path, node_factory: NodeFactory) -> Iterator[Gateway]:
    process = Gateway(tmp_path, [node_factory(name) for name in ("node1", "node2", "node3")])
    yield process
    process.close()


def test_bodies_of_several_lengths_come_back_whole_and_in_ranges(process: Gateway) -> None:
    for size in (0, 1, 16384, MIB, 8 * MIB, 17 * MIB + 3):
        data = os.urandom(size)
        process.put(data, copies=2)
        assert process.get() == data
    assert process.get((8 * MIB - 5, 10), (17 * MIB, 3)) == data[8 * MIB - 5 : 8 * MIB + 5] + data[17 * MIB :]


def test_a_node_killed_during_the_upload_costs_nothing_but_its_copies(process: Gateway) -> None:
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


def test_a_node_that_hangs_or_dies_in_the_middle_of_a_download_is_not_noticed(process: Gateway) -> None:
    data = os.urandom(24 * MIB)
    process.put(data, 3)
    for end in (RealNode.pause, RealNode.kill):
        chunks = process.open().chunks
        got = [next(chunks)]
        busy = next(node_id for node_id in process.nodes.all() if in_flight(process, node_id))
        end(process.node(busy))
        started = running_time().now()
        got += chunks
        assert b"".join(got) == data
        assert running_time().now() - started < 10
        assert set(map(frozenset, process.states().values())) == {frozenset({"stored"})}


def in_flight(process: Gateway, node_id: str) -> bool:
    with suppress(NodeBusy):
        return bool(process.nodes.store(node_id).in_flight)  # type: ignore[attr-defined]
    return False


def test_copies_removed_cut_and_changed_on_the_nodes_are_found_and_passed_over(process: Gateway) -> None:
    data = os.urandom(3 * MIB)
    process.put(data, 3)
    name = blob_name(process.catalogue.objects.find(BUCKET, "k").blobs[0].blob.id)
    one, two, three = (process.real[f"node{i}"].store() for i in (1, 2, 3))
    sealed = one.read(name, Deadline(5), 16 * MIB)
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


def test_with_every_node_gone_it_is_unavailable_and_readable_again_when_one_is_back(process: Gateway) -> None:
    data = os.urandom(100_000)
    process.put(data, 3)
    for node in process.real.values():
        node.kill()
    with pytest.raises(CopiesUnreachable):
        process.open()
    with pytest.raises(NotEnoughNodes):
        process.put(b"x", 1)
    process.real["node2"].start()
    wait_until(lambda: health(process, "node2") is NodeHealth.UP, 20, "a node can be read again")
    assert process.get() == data
    assert set(map(frozenset, process.states().values())) == {frozenset({"stored"})}


def health(process: Gateway, name: str) -> NodeHealth:
    return next(node.health for node in process.nodes.all().values() if node.spec.name == name)


@pytest.fixture(params=["minio", "seaweedfs"])
def of_one_kind(request: pytest.FixtureRequest, tmp_path: Path, node_factory: NodeFactory) -> Iterator[Gateway]:
    kind: NodeKind = request.param
    process = Gateway(tmp_path, [node_factory(name, kind) for name in ("node1", "node2", "node3")])
    yield process
    process.close()


def test_a_copy_that_grew_takes_no_memory_is_passed_over_and_is_suspect(of_one_kind: Gateway) -> None:
    process, data = of_one_kind, os.urandom(3000)
    process.put(data, 3)
    name = blob_name(process.catalogue.objects.find(BUCKET, "k").blobs[0].blob.id)
    stores = [node.store() for node in process.real.values()]
    sealed = stores[0].read(name, Deadline(5), MIB)
    grown = sealed + bytes(64 * MIB)
    for store in stores[:2]:
        store.put(name, grown, Deadline(20))
    tracemalloc.start()
    assert process.get() == data
    stores[2].put(name, grown, Deadline(20))
    with pytest.raises(ObjectDamaged):
        process.open()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * MIB
    assert process.states() == {"node1": {"suspect"}, "node2": {"suspect"}, "node3": {"suspect"}}
