"""A long body takes two buffers at most, however slow the nodes are; without a free second one, one."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable
from time import monotonic

import pytest

import api.store.buffers
from api.store.buffers import BufferPool
from common.blobstore.base import Bytes, Deadline
from common.blobstore.s3_store import S3Store
from common.crypto.envelope import cipher_length
from common.errors import BovedaError, Unavailable
from common.model.nodes import NodeSpec
from common.model.versions import Headers
from common.queue.base import TaskName
from tests.unit.api.use_cases.world import MIB, BytesBody, World, content
from tests.unit.common.blobstore.rawserver import always, serving

BLOB = 4 * MIB


class Zeros:
    """A body of so many zero bytes that are never all in memory."""

    def __init__(self, length: int) -> None:
        self._left = length

    def readinto(self, buffer: memoryview) -> int:
        got = min(len(buffer), self._left, 1 << 16)
        buffer[:got] = bytes(got)
        self._left -= got
        return got


def forget_puts(world: World) -> list[int]:
    """Nodes that take everything and keep nothing; the lengths of what they took."""
    taken: list[int] = []

    def put(name: str, data: Bytes, deadline: Deadline) -> None:
        taken.append(len(data))

    for store in world.nodes.stores.values():
        store.put = put  # type: ignore[method-assign]
    return taken


def test_a_body_of_100_mib_takes_two_buffers_and_a_chunk(make_world: Callable[..., World]) -> None:
    world = make_world(blob_size=BLOB)
    taken = forget_puts(world)
    world.put(b"warm")
    tracemalloc.start()
    world.put(Zeros(100 * MIB))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(taken[1:]) == 25 * cipher_length(BLOB)
    assert peak < 2 * cipher_length(BLOB) + 3 * MIB
    assert world.store.buffers.free == world.settings.api_threads


def test_a_part_of_100_mib_of_a_resumable_upload_takes_no_more(make_world: Callable[..., World]) -> None:
    world = make_world(blob_size=BLOB)
    taken = forget_puts(world)
    world.put(b"warm")
    upload = world.uploads.create("casa", "k", 100 * MIB, Headers())
    tracemalloc.start()
    world.uploads.append(upload.id, 0, Zeros(100 * MIB), 100 * MIB)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(taken[1:]) == 25 * cipher_length(BLOB)
    assert peak < 2 * cipher_length(BLOB) + 3 * MIB
    assert world.store.buffers.free == world.settings.api_threads


def test_a_read_of_many_blobs_holds_a_chunk_or_two(make_world: Callable[..., World]) -> None:
    world = make_world(blob_size=BLOB)
    world.put(content(20 * MIB))
    for store in world.nodes.stores.values():
        for name, (data, when) in store.blobs.items():
            store.blobs[name] = (memoryview(data), when)  # type: ignore[assignment]
    tracemalloc.start()
    assert sum(map(len, world.open().chunks)) == 20 * MIB
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * MIB


@pytest.mark.parametrize("length", [400_000_000, 999_999_999_999_999])
@pytest.mark.parametrize("size", [3000, 3 * MIB])
def test_a_node_that_announces_what_no_copy_has_takes_no_memory_and_another_is_read(
    world: World, length: int, size: int
) -> None:
    """A small blob is read whole, so its copy is blamed; whom an overlong answer to a range tells of, a worker sees."""
    world.put(content(size), write_copies=3)
    first = min(world.nodes.stores)  # it is asked first
    own = world.nodes.stores[first]
    head = f"HTTP/1.1 200 OK\r\nContent-Range: bytes 0-{length - 1}/{length}\r\nContent-Length: {length}\r\n\r\n"
    with serving(always(head.encode() + bytes(1000))) as server:
        lying = S3Store(NodeSpec("n", server.endpoint, "bucket", "n"), "access", "secret")
        world.nodes.stores[first] = lying  # type: ignore[assignment]
        tracemalloc.start()
        assert world.get() == content(size)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    world.nodes.stores[first] = own
    assert peak < 3 * size + 4 * MIB
    blamed = {node_id for node_id, states in world.states().items() if "suspect" in states}
    assert blamed == ({first} if size < MIB else set())
    assert set(world.queue.ids) == {TaskName.VERIFY if blamed else TaskName.DOUBT}


def test_a_body_is_stored_with_one_buffer_when_no_second_is_free(world: World) -> None:
    others = [world.store.buffers.take() for _ in range(world.settings.api_threads - 1)]
    world.put(content(9 * MIB))
    assert world.get() == content(9 * MIB)
    for buffer in others:
        buffer.release()


def test_small_bodies_take_none_of_the_pool(world: World) -> None:
    buffers = [world.store.buffers.take() for _ in range(world.settings.api_threads)]
    world.put(content(MIB - 1))
    world.put(content(MIB - 1), known=False)
    assert world.get() == content(MIB - 1)
    for buffer in buffers:
        buffer.release()


def test_a_large_body_without_a_buffer_is_unavailable(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.store.buffers.BufferPool.take, "__defaults__", (0.05,))
    buffers = [world.store.buffers.take() for _ in range(world.settings.api_threads)]
    with pytest.raises(Unavailable):
        world.put(content(3 * MIB))
    buffers.pop().release()
    world.put(content(3 * MIB))


def resumable(world: World, body: BytesBody) -> None:
    upload = world.uploads.create("casa", "k", len(body.data), Headers())
    world.uploads.append(upload.id, 0, body, len(body.data))


@pytest.mark.parametrize("send", [World.put, resumable])
def test_the_next_blob_is_sealed_while_this_one_is_put(world: World, send: Callable[[World, BytesBody], None]) -> None:
    """The put of the first blob waits until the body was read further than that blob."""
    body = BytesBody(content(6 * MIB))
    read_on: list[int] = []

    def before(operation: str, name: str) -> None:
        end = monotonic() + 0.5
        while body.position <= 3 * MIB and monotonic() < end:
            threading.Event().wait(0.002)
        read_on.append(body.position)

    for store in world.nodes.stores.values():
        store.faults.before = before
    send(world, body)
    assert read_on[0] > 3 * MIB
    for store in world.nodes.stores.values():
        store.faults.before = None
    assert world.get() == content(6 * MIB)


def test_many_long_bodies_at_once_are_all_stored_whole(world: World) -> None:
    errors: list[BovedaError] = []

    def put(seed: int) -> None:
        try:
            world.store("casa", str(seed), BytesBody(content(5 * MIB, seed)), Headers(), write_copies=2)
        except BovedaError as error:
            errors.append(error)

    threads = [threading.Thread(target=put, args=(seed,)) for seed in range(world.settings.api_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for seed in range(world.settings.api_threads):
        assert world.get(key=str(seed)) == content(5 * MIB, seed)
    assert world.store.buffers.free == world.settings.api_threads


def test_a_first_buffer_goes_before_a_second_one() -> None:
    pool = BufferPool(1, 10)
    held = pool.take()
    got: list[object] = []
    waiter = threading.Thread(target=lambda: got.append(pool.take(5)))
    waiter.start()
    while not pool._waiting:
        pass
    assert pool.try_take() is None
    held.release()
    waiter.join()
    assert len(got) == 1
    assert pool.free == 0


def test_a_buffer_given_back_twice_counts_once() -> None:
    pool = BufferPool(2, 10)
    buffer = pool.take()
    buffer.release()
    buffer.release()
    assert pool.free == 2
