from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from common.errors import CatalogueUnavailable
from common.model.names import blob_name, new_id
from common.model.nodes import NodeHealth, NodeMode
from common.model.scrubbing import Scrub, scrub_lease
from common.model.versions import Preconditions
from common.model.work import CopyAction
from common.queue.base import Queue, TaskName
from tests.unit.workers.rig import BUCKET, Rig
from workers.audit import scrub

NODE = 1


@pytest.fixture
def node(rig: Rig) -> str:
    """The node that is scrubbed here."""
    for node_id in rig.ids:
        rig.identify(node_id)
    return rig.ids[NODE]


def reads(rig: Rig) -> list[str]:
    """Blobs that were read on the node, in order."""
    return [name.split("/")[-1] for operation, name in rig.nodes.stores[rig.ids[NODE]].calls if operation == "get"]


def blobs_read(rig: Rig) -> list[str]:
    return [name for name in reads(rig) if name != "identity.json"]


def whole_pass(rig: Rig, node: str, runs: int = 50) -> Scrub:
    """Runs, ten seconds apart, until a pass has ended."""
    passes = rig.catalogue.scrubs.get(node).passes
    for _ in range(runs):
        rig.worker.scrub(node)
        found = rig.catalogue.scrubs.get(node)
        if found.passes > passes:
            return found
        rig.clock.now += 10
    raise AssertionError("the pass did not end")


def test_a_pass_verifies_every_right_copy_on_the_node_and_ends(rig: Rig, node: str) -> None:
    rig.put("a", stored=3, blobs=3)
    rig.put("b", stored=1)
    found = whole_pass(rig, node)
    verified = {key for key, row in rig.details("a").items() if row.verified_at is not None}
    assert verified == {(number, node) for number in range(3)}
    assert rig.details("b")[0, node].verified_at is None, "it is not there yet"
    assert (found.blobs, found.bytes, found.total) == (3, 300, 300)
    assert found.found == {"missing": 0, "damaged": 0, "orphans": 0}
    assert (found.running, found.coverage, found.finished_at) == (False, 1.0, rig.clock.now)


def test_it_finds_what_is_absent_or_wrong_and_sends_for_a_look_but_repairs_nothing(rig: Rig, node: str) -> None:
    for key in ("absent", "wrong", "short"):
        rig.put(key, stored=3)
    before = {}
    for key, data in (("absent", None), ("wrong", b"x" * 100), ("short", b"x")):
        rig.spoil(rig.blob_ids(key)[0], NODE, data)
        before[key] = rig.on_nodes(rig.blob_ids(key)[0])
    found = whole_pass(rig, node)
    assert (found.found["missing"], found.found["damaged"]) == (1, 2)
    for key in ("absent", "wrong", "short"):
        assert rig.states(key) == ["stored", "suspect", "stored"]
        assert rig.on_nodes(rig.blob_ids(key)[0]) == before[key]
    rig.worker.stop()  # what waits for the queue is handed over
    sent = {blob for task, ids in rig.waiting(Queue.REPAIR) if task is TaskName.VERIFY for blob in ids}
    assert sent == {rig.blob_ids(key)[0] for key in ("absent", "wrong", "short")}


def test_copies_that_were_never_verified_are_read_first(rig: Rig, node: str) -> None:
    for key in ("a", "b", "c"):
        rig.put(key, stored=3)
    rig.catalogue.scrubs.verified([(rig.details("a")[0, node].copy_id, 0)], rig.clock.now)
    rig.clock.now += 3600
    whole_pass(rig, node)
    assert blobs_read(rig) == [rig.blob_ids(key)[0] for key in ("b", "c", "a")]


def test_a_copy_is_verified_as_of_before_it_was_read(rig: Rig, node: str) -> None:
    rig.put("a", stored=3)
    began: list[float] = []

    def pass_time(operation: str, name: str) -> None:
        if operation == "get" and name.endswith(rig.blob_ids("a")[0]):
            began.append(rig.clock.now)
            rig.clock.now += 30

    rig.nodes.stores[node].faults.before = pass_time
    whole_pass(rig, node)
    assert [rig.details("a")[0, node].verified_at] == began


def test_what_was_verified_since_the_pass_began_is_not_read_again_in_it(rig: Rig, node: str) -> None:
    rig.put("a", stored=3)
    whole_pass(rig, node)
    assert len(blobs_read(rig)) == 1
    rig.clock.now += 3600
    whole_pass(rig, node)
    assert len(blobs_read(rig)) == 2


def test_a_pass_follows_the_last_only_after_its_time(rig: Rig, node: str) -> None:
    rig.put("a", stored=3)
    whole_pass(rig, node)
    rig.clock.now += 60
    rig.worker.scrub(node)
    assert len(blobs_read(rig)) == 1


def test_a_run_reads_what_has_accrued_and_the_next_goes_on_from_there(rig: Rig, node: str) -> None:
    rig.put("a", stored=3, blobs=6, size=1024 * 1024)
    rig.worker.scrub(node)
    assert len(blobs_read(rig)) == 1, "a second's worth at first"
    rig.clock.now += 9
    rig.worker.scrub(node)
    assert blobs_read(rig) == rig.blob_ids("a")
    found = rig.catalogue.scrubs.get(node)
    assert (found.blobs, found.passes) == (6, 1)


def test_the_time_between_two_passes_is_no_credit(rig: Rig, node: str) -> None:
    whole_pass(rig, node)
    rig.put("a", stored=3, blobs=6, size=1024 * 1024)
    rig.clock.now += 7200
    rig.worker.scrub(node)
    assert len(blobs_read(rig)) == 1


def test_a_killed_run_goes_on_from_the_last_checkpoint(rig: Rig, node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.put("a", stored=3, blobs=8)
    monkeypatch.setattr(scrub, "PAGE", 2)
    monkeypatch.setattr(scrub, "CHECKPOINT_SECONDS", -1.0)
    verified = rig.catalogue.scrubs.verified
    calls = 0

    def killed(read: Sequence[tuple[int, int]], at: float) -> int:
        nonlocal calls
        calls += len(read) > 0
        if calls == 3:
            raise CatalogueUnavailable("the process is gone")
        return verified(read, at)

    with monkeypatch.context() as patch:
        patch.setattr(rig.catalogue.scrubs, "verified", killed)
        with pytest.raises(CatalogueUnavailable):
            rig.worker.scrub(node)
    assert blobs_read(rig) == rig.blob_ids("a")[:6]
    rig.clock.now += 10
    other = rig.another("worker-2")
    other.scrub(node)
    other.stop()
    assert blobs_read(rig) == rig.blob_ids("a")[:6] + rig.blob_ids("a")[4:]
    assert all(row.verified_at is not None for row in rig.details("a").values() if row.node_id == node)


def test_a_run_that_was_overtaken_writes_nothing(rig: Rig, node: str) -> None:
    rig.put("a", stored=3)
    rig.nodes.stores[node].faults.before = lambda *_: overtake()
    before = rig.catalogue.scrubs.get(node)

    def overtake() -> None:
        rig.clock.now += 120
        rig.nodes.stores[node].faults.before = None
        assert rig.catalogue.leases.acquire(scrub_lease(node), "another", 60)

    rig.worker.scrub(node)
    assert rig.catalogue.scrubs.get(node) == before


@pytest.mark.parametrize("health", [NodeHealth.SUSPECT, NodeHealth.DOWN, NodeHealth.FOREIGN])
def test_a_node_that_is_not_well_is_left_alone(rig: Rig, node: str, health: NodeHealth) -> None:
    rig.put("a", stored=3)
    rig.nodes.see(node, health)
    rig.worker.scrub(node)
    assert reads(rig) == []


@pytest.mark.parametrize("mode", [NodeMode.PAUSED, NodeMode.RETIRED])
def test_a_node_that_takes_no_part_is_left_alone(rig: Rig, node: str, mode: NodeMode) -> None:
    rig.put("a", stored=3)
    rig.nodes.see(node, mode=mode)
    rig.worker.scrub(node)
    assert reads(rig) == []


def test_a_node_in_trouble_is_left_at_once_and_no_copy_is_blamed(rig: Rig, node: str) -> None:
    rig.put("a", stored=3, blobs=5)
    rig.nodes.stores[node].faults.down = True
    rig.worker.scrub(node)
    assert len(blobs_read(rig)) == 1
    assert rig.states("a") == ["stored"] * 3
    rig.nodes.stores[node].faults.down = False
    rig.clock.now += 10
    assert whole_pass(rig, node).blobs == 5


def test_a_copy_that_cannot_be_read_does_not_keep_the_others_from_being_read(rig: Rig, node: str) -> None:
    rig.put("a", stored=3, blobs=3)
    poison = blob_name(rig.blob_ids("a")[0])

    def fail(operation: str, name: str) -> None:
        rig.nodes.stores[node].faults.down = name == poison

    rig.nodes.stores[node].faults.before = fail
    whole_pass(rig, node)
    assert [row.verified_at is not None for key, row in rig.details("a").items() if key[1] == node] == [
        False,
        True,
        True,
    ]
    assert rig.states("a") == ["stored"] * 3


def test_a_copy_that_changed_while_it_was_read_is_not_called_verified(rig: Rig, node: str) -> None:
    rig.put("a", stored=3)
    (blob,) = rig.blob_ids("a")

    def doubted(operation: str, name: str) -> None:
        if name == blob_name(blob):
            rig.suspect(blob, NODE)

    rig.nodes.stores[node].faults.before = doubted
    rig.worker.scrub(node)
    assert rig.details("a")[0, node].verified_at is None


def test_names_without_a_row_are_counted_when_they_are_old_enough_and_stay(rig: Rig, node: str) -> None:
    rig.put("a", stored=3)
    blobs = rig.nodes.stores[node].blobs
    for age in (7200, 7200, 60):
        blobs[blob_name(new_id())] = b"lost", time.time() - age
    count = len(blobs)
    assert whole_pass(rig, node).found["orphans"] == 2
    assert len(blobs) == count


# -- a node that was taken in anew


def test_an_accepted_empty_node_has_its_copies_missing_at_once_and_made_again(rig: Rig, node: str) -> None:
    contents = rig.put("a", stored=3, blobs=40)
    rig.nodes.stores[node].blobs.clear()
    rig.identify(node, 2)
    while rig.catalogue.nodes.doubt(node):
        pass
    rig.catalogue.nodes.taken_in(node, 2)
    rig.worker.scrub(node)
    assert {row.state.value for key, row in rig.details("a").items() if key[1] == node} == {"missing"}
    rig.worker.sweep()
    rig.work()
    assert [rig.on_nodes(blob)[NODE] for blob in rig.blob_ids("a")] == contents
    assert {row.state.value for row in rig.details("a").values()} == {"stored"}


def test_what_an_accepted_node_still_has_stays_suspect_until_it_was_read(rig: Rig, node: str) -> None:
    rig.put("a", stored=3, blobs=2)
    gone, there = rig.blob_ids("a")
    rig.spoil(gone, NODE, None)
    while rig.catalogue.nodes.doubt(node):
        pass
    rig.catalogue.nodes.taken_in(node, 1)
    rig.worker.scrub(node)
    rows = rig.details("a")
    assert [rows[number, node].state.value for number in (0, 1)] == ["missing", "suspect"]
    rig.worker.verify([there])
    assert rig.details("a")[1, node].state.value == "stored"


def test_a_listing_of_a_node_that_is_another_one_afterwards_is_not_used(rig: Rig, node: str) -> None:
    rig.put("a", stored=3)
    rig.catalogue.nodes.doubt(node)
    rig.catalogue.nodes.taken_in(node, 1)

    def swap(operation: str, name: str) -> None:
        if operation == "list":
            rig.nodes.stores[node].blobs.clear()

    rig.nodes.stores[node].faults.before = swap
    rig.worker.scrub(node)
    assert rig.details("a")[0, node].state.value == "suspect"


def test_a_copy_that_a_worker_holds_is_left_to_it(rig: Rig, node: str) -> None:
    rig.put("a", stored=3)
    (blob,) = rig.blob_ids("a")
    rig.spoil(blob, NODE, None)
    rig.catalogue.nodes.doubt(node)
    (claim,) = rig.catalogue.copies.claim(CopyAction.VERIFY, [blob], [node], "w", 60)
    rig.catalogue.nodes.taken_in(node, 1)
    rig.worker.scrub(node)
    assert rig.details("a")[0, node].state.value == "suspect"
    assert rig.catalogue.copies.expire_leases() == []
    assert claim.node_id == node


def test_an_acceptance_stops_the_run_that_goes_on(rig: Rig, node: str) -> None:
    rig.put("a", stored=3)

    def accepted(operation: str, name: str) -> None:
        rig.nodes.stores[node].faults.before = None
        rig.catalogue.nodes.taken_in(node, 1)

    rig.nodes.stores[node].faults.before = accepted
    rig.worker.scrub(node)
    assert rig.catalogue.scrubs.get(node).cursor == {"phase": "census"}


# -- sent for by the sweep


def test_the_sweep_sends_for_every_node_that_is_due_and_not_again_until_it_was_there(rig: Rig, node: str) -> None:
    rig.put("a", stored=3)
    rig.catalogue.nodes.set_mode("node3", NodeMode.PAUSED.value, None)

    def sent() -> list[str]:
        rig.worker.sweep()
        return sorted(i for task, ids in rig.waiting(Queue.SCRUB) if task is TaskName.SCRUB for i in ids)

    assert sent() == sorted(rig.ids[:2])
    assert sent() == []
    for node_id in rig.ids[:2]:
        rig.worker.scrub(node_id)
    assert sent() == []
    rig.clock.now += 10
    rig.share_health(*[NodeHealth.UP] * 3)
    rig.worker.scrub(node)
    rig.clock.now += 3600
    rig.share_health(*[NodeHealth.UP] * 3)
    assert node in sent()


def test_a_deleted_object_is_no_finding(rig: Rig, node: str) -> None:
    rig.put("a", stored=3)
    rig.catalogue.objects.delete(BUCKET, "a", Preconditions())
    assert whole_pass(rig, node).found["missing"] == 0
    assert blobs_read(rig) == []
