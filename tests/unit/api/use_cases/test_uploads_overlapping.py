"""A blob of a resumable upload is put while the next one is received: whatever breaks, and whichever is done first.

The first put of a test is held at its node until the test opens it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from time import time

import pytest

from api.http.tus import Checksum
from api.store.placing import nodes_for
from api.store.upload_turn import LEASE_SECONDS
from common.catalogue.uploads import Holder, Resumable
from common.errors import BodyCut, BodyTimeout, BovedaError, Conflict, NodeError, NotEnoughNodes, UploadGone
from common.model.versions import Headers
from tests.support.waiting import wait_until
from tests.unit.api.use_cases.world import BUCKET, MIB, BytesBody, World, content

BLOB = 2 * MIB
LENGTH = 5 * MIB + 1000
DATA = content(LENGTH)
RECEIVED = BLOB + MIB + 5  # the second blob is on its way then, one chunk of it whole

PUT_FIRST = pytest.mark.parametrize("put_first", [True, False], ids=["put first", "break first"])


class Gate:
    """Holds the first put that comes to one of these nodes until it is opened."""

    def __init__(self, world: World, nodes: Collection[str] | None = None) -> None:
        self._first = threading.Semaphore(1)
        self._came = threading.Event()
        self._opened = threading.Event()
        self.fails = False
        for node_id in world.nodes.stores if nodes is None else nodes:
            world.nodes.stores[node_id].faults.before = self._hold

    def hold(self) -> None:
        """Until the put has come."""
        assert self._came.wait(30)

    def open(self, *, fails: bool = False) -> None:
        self.hold()
        self.fails = fails
        self._opened.set()

    def _hold(self, operation: str, name: str) -> None:
        if operation == "put" and self._first.acquire(blocking=False):
            self._came.set()
            assert self._opened.wait(30)
        if operation == "put" and self.fails:
            raise NodeError("it fails")


def begin(world: World, write_copies: int = 1) -> str:
    return world.uploads.create(BUCKET, "k", LENGTH, Headers(), write_copies=write_copies).id


def offset(world: World, upload: str) -> int:
    return world.uploads.look(upload).offset


def stands(world: World, upload: str, at: int) -> None:
    wait_until(lambda: offset(world, upload) == at, what=f"it stands at {at}")


def send(world: World, upload: str, at: int, *, then: Callable[[], None] | None = None) -> Resumable:
    """All that is left. `then`: what happens once so much was received that the second blob is on its way."""
    body = BytesBody(DATA[at:], at={RECEIVED: then} if then else {})
    return world.uploads.append(upload, at, body, LENGTH - at)


def goes_on(world: World, upload: str, at: int) -> None:
    assert offset(world, upload) == at
    assert send(world, upload, at).finished
    assert world.get() == DATA
    assert world.store.buffers.free == world.settings.api_threads


def states(world: World) -> list[tuple[object, ...]]:
    rows = "SELECT v.state, b.offset FROM blobs b JOIN versions v ON v.id = b.version_id ORDER BY v.state, b.offset"
    return [tuple(row) for row in world.rows(rows)]


@PUT_FIRST
@pytest.mark.parametrize("error", [BodyCut("gone"), BodyTimeout("silent")])
def test_of_a_body_that_broke_off_both_blobs_are_kept(world: World, error: BovedaError, put_first: bool) -> None:
    gate, upload = Gate(world), begin(world)

    def break_off() -> None:
        assert offset(world, upload) == 0, "nothing counts before it is put"
        gate.open()
        if put_first:
            stands(world, upload, BLOB)
        raise error

    with pytest.raises(type(error)):
        send(world, upload, 0, then=break_off)
    goes_on(world, upload, BLOB + MIB)
    assert {state for state, _ in states(world)} == {"current"}


@PUT_FIRST
def test_a_blob_that_no_node_takes_keeps_what_came_behind_it_from_counting(world: World, put_first: bool) -> None:
    gate, upload = Gate(world), begin(world)

    def fail() -> None:
        gate.open(fails=True)
        if put_first:
            wait_until(lambda: tries(world) == len(world.nodes.stores), what="every node was tried")

    def tries(world: World) -> int:
        return sum(operation == "put" for store in world.nodes.stores.values() for operation, _ in store.calls)

    with pytest.raises(NotEnoughNodes):
        send(world, upload, 0, then=fail)
    assert tries(world) == len(world.nodes.stores), "the second blob was not put"
    gate.fails = False
    goes_on(world, upload, 0)
    assert states(world) == [("current", 0), ("current", BLOB), ("current", 2 * BLOB), ("doomed", 0)]


@PUT_FIRST
def test_of_a_process_that_died_what_landed_counts(
    world: World, monkeypatch: pytest.MonkeyPatch, put_first: bool
) -> None:
    now = [time()]
    monkeypatch.setattr(world.catalogue.database, "_clock", lambda: now[0])
    gate, upload = Gate(world), begin(world)
    landed, dead = world.catalogue.uploads.landed, threading.Event()

    def alive(at: Resumable, holder: Holder, stored: list[tuple[str, str]], end: int) -> float:
        if dead.is_set():
            raise SystemExit
        return landed(at, holder, stored, end)

    def die() -> None:
        if put_first:
            gate.open()
            stands(world, upload, BLOB)
        dead.set()
        gate.open()
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(world.catalogue.uploads, "landed", alive)
        patched.setattr(world.catalogue.uploads, "release", lambda *_: None)
        with pytest.raises(SystemExit):
            send(world, upload, 0, then=die)
    assert world.blobs_on_nodes() == 1
    with pytest.raises(Conflict):
        send(world, upload, BLOB if put_first else 0)
    now[0] += LEASE_SECONDS + 1
    goes_on(world, upload, BLOB if put_first else 0)
    assert ("doomed", 0) in states(world) or put_first


def test_a_put_that_ends_after_the_upload_was_overtaken_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [time()]
    monkeypatch.setattr(world.catalogue.database, "_clock", lambda: now[0])
    gate, upload = Gate(world), begin(world)

    def overtaken() -> None:
        gate.hold()
        now[0] += LEASE_SECONDS + 1
        goes_on_beside(world, upload)
        gate.open()

    with pytest.raises(UploadGone):
        send(world, upload, 0, then=overtaken)
    assert world.get() == DATA
    assert states(world) == [("current", 0), ("current", BLOB), ("current", 2 * BLOB), ("doomed", 0)]
    assert world.store.buffers.free == world.settings.api_threads


def goes_on_beside(world: World, upload: str) -> None:
    assert offset(world, upload) == 0
    assert send(world, upload, 0).finished


@PUT_FIRST
def test_an_upload_that_is_ended_while_a_blob_is_put_is_gone(world: World, put_first: bool) -> None:
    gate, upload = Gate(world), begin(world)

    def end() -> None:
        if put_first:
            gate.open()
            stands(world, upload, BLOB)
        world.uploads.end(upload)
        gate.open()

    with pytest.raises(UploadGone):
        send(world, upload, 0, then=end)
    assert {state for state, _ in states(world)} == {"doomed"}
    assert world.store.buffers.free == world.settings.api_threads


@PUT_FIRST
def test_with_a_checksum_nothing_counts_whichever_is_first(world: World, put_first: bool) -> None:
    gate, upload = Gate(world), begin(world)

    def break_off() -> None:
        gate.open()
        if put_first:
            wait_until(lambda: world.rows("SELECT 1 FROM copies WHERE state = 'stored'"), what="the first blob landed")
        raise BodyCut("gone")

    body = BytesBody(DATA, at={RECEIVED: break_off})
    with pytest.raises(BodyCut):
        world.uploads.append(upload, 0, body, LENGTH, Checksum("sha1", bytes(20)))
    assert states(world) == [("doomed", 0), ("doomed", BLOB)]
    goes_on(world, upload, 0)


@pytest.mark.parametrize("held", [0, 1], ids=["the first copy is late", "the second copy is late"])
def test_a_blob_counts_once_all_its_copies_are_put(world: World, held: int) -> None:
    upload = begin(world, write_copies=2)
    order = nodes_for(world.catalogue.uploads.find(upload).version_id, world.nodes)
    gate = Gate(world, [order[held]])

    def look() -> None:
        gate.hold()
        other = world.nodes.stores[order[1 - held]]
        wait_until(lambda: other.blobs, what="the other copy is put")
        assert offset(world, upload) == 0
        gate.open()
        stands(world, upload, BLOB)

    assert send(world, upload, 0, then=look).finished
    assert world.get() == DATA
