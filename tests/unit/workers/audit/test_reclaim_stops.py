"""What keeps reclaim from deleting: another disk, too much at once, a restore, a node that is not to be touched."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from common.errors import NodeError
from common.model.jobs import JobKind, JobState, Scope
from common.model.names import IDENTITY_NAME, new_id
from common.model.nodes import NodeHealth, NodeMode
from tests.unit.workers.orphans import NODE, leave, left, run
from tests.unit.workers.rig import BUCKET, Rig
from workers.audit import reclaim


def stop_by_identity(rig: Rig, node: str) -> None:
    rig.nodes.stores[node].blobs[IDENTITY_NAME] = rig.nodes.stores[rig.ids[0]].blobs[IDENTITY_NAME]


def stop_by_no_identity(rig: Rig, node: str) -> None:
    del rig.nodes.stores[node].blobs[IDENTITY_NAME]


def stop_by_old_disk(rig: Rig, node: str) -> None:
    rig.identify(node, 0)


def stop_by_old_catalogue(rig: Rig, node: str) -> None:
    rig.identify(node, 7)


def stop_by_other_catalogue(rig: Rig, node: str) -> None:
    with rig.catalogue.database.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE cluster SET generation = '{new_id()}'")


STOPS = [stop_by_identity, stop_by_no_identity, stop_by_old_disk, stop_by_old_catalogue, stop_by_other_catalogue]


@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: stop.__name__)
@pytest.mark.parametrize("force", [False, True])
def test_a_node_with_another_identity_loses_nothing_whatever_the_job_says(
    rig: Rig, node: str, stop: Callable[[Rig, str], None], force: bool
) -> None:
    old = leave(rig, node, 3)
    stop(rig, node)
    job = run(rig, force=force)
    assert job.state is JobState.FAILED
    assert "node2" in (job.error or "")
    assert left(rig, node, old) == 3


def test_a_disk_that_is_changed_between_two_batches_stops_it(
    rig: Rig, node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reclaim, "BATCH", 2)
    old = leave(rig, node, 6)

    def swap(operation: str, _: str) -> None:
        if operation == "delete_many":
            rig.identify(node, 0)

    rig.nodes.stores[node].faults.before = swap
    assert run(rig).state is JobState.FAILED
    assert left(rig, node, old) == 4


def test_it_stops_when_too_much_would_go_until_a_job_says_force(rig: Rig, node: str) -> None:
    rig.put("a", stored=3)
    old = leave(rig, node, 101)
    job = run(rig)
    assert job.state is JobState.FAILED
    assert "101 of 102" in (job.error or "")
    assert left(rig, node, old) == 101
    stopped = rig.catalogue.scrubs.get(node).reclaimed
    assert (stopped.stopped is not None, stopped.at) == (True, rig.clock.now)
    rig.clock.now += 60
    rig.worker.reclaim(node)
    assert rig.catalogue.scrubs.get(node).reclaimed == stopped, "since when it stops, not when it did last"
    assert left(rig, node, old) == 101
    job = run(rig, force=True)
    assert (job.state, job.report["reclaimed"]) == (JobState.DONE, 101)
    assert left(rig, node, old) == 0
    assert rig.catalogue.scrubs.get(node).reclaimed.stopped is None
    assert rig.on_nodes(rig.blob_ids("a")[0])[NODE] is not None


@pytest.mark.parametrize("force", [False, True])
def test_a_job_that_is_cancelled_deletes_no_further_batch(
    rig: Rig, node: str, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    monkeypatch.setattr(reclaim, "BATCH", 2)
    old = leave(rig, node, 6)
    job = rig.catalogue.jobs.create(JobKind.RECLAIM, Scope(node="node2"), False, force)

    def cancel(operation: str, _: str) -> None:
        if operation == "delete_many" and rig.catalogue.jobs.get(job.id).state is JobState.RUNNING:
            rig.catalogue.jobs.cancel(job.id)

    rig.nodes.stores[node].faults.before = cancel
    rig.worker.run_job(job.id)
    assert rig.catalogue.jobs.get(job.id).state is JobState.CANCELLED
    assert left(rig, node, old) == 4


@pytest.mark.parametrize("at", ["list", "delete_many"])
def test_a_force_that_is_broken_off_lifts_no_hold_and_clears_no_stop(
    rig: Rig, node: str, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    monkeypatch.setattr(reclaim, "BATCH", 2)
    leave(rig, node, 6)
    rig.identify(node, 9)
    rig.catalogue.nodes.set_identity(node, "known", 9)
    run(rig)
    before = rig.catalogue.scrubs.get(node).reclaimed
    assert before.held is not None
    assert before.stopped is not None
    job = rig.catalogue.jobs.create(JobKind.RECLAIM, Scope(node="node2"), False, True)

    def cancel(operation: str, _: str) -> None:
        if operation == at and rig.catalogue.jobs.get(job.id).state is JobState.RUNNING:
            rig.catalogue.jobs.cancel(job.id)

    rig.nodes.stores[node].faults.before = cancel
    rig.worker.run_job(job.id)
    assert rig.catalogue.jobs.get(job.id).state is JobState.CANCELLED
    assert rig.catalogue.scrubs.get(node).reclaimed == before


def test_a_hundred_orphans_go_without_being_asked_about(rig: Rig, node: str) -> None:
    old = leave(rig, node, 100)
    assert run(rig).report["reclaimed"] == 100
    assert left(rig, node, old) == 0


@pytest.mark.parametrize("reclaimed_before", [True, False])
def test_after_a_restore_nothing_goes_until_a_job_says_force(rig: Rig, node: str, reclaimed_before: bool) -> None:
    if reclaimed_before:
        run(rig)
    old = leave(rig, node, 2)
    stop_by_other_catalogue(rig, node)
    rig.identify(node)  # a restore writes the new generation to all nodes
    job = run(rig)
    assert job.state is JobState.FAILED
    assert "restored" in (job.error or "")
    assert left(rig, node, old) == 2
    assert run(rig, force=True).state is JobState.DONE
    assert left(rig, node, old) == 0
    later = leave(rig, node)
    assert run(rig).state is JobState.DONE
    assert left(rig, node, later) == 0


def test_a_rolled_back_catalogue_removes_nothing_until_a_job_says_force(rig: Rig, node: str) -> None:
    old = leave(rig, node, 2)
    rig.identify(node, 9)
    rig.catalogue.nodes.set_identity(node, "known", 9)  # the next probe says so
    for _ in range(2):
        assert run(rig).state is JobState.FAILED
    assert left(rig, node, old) == 2
    assert run(rig, force=True).state is JobState.DONE
    assert left(rig, node, old) == 0
    assert rig.catalogue.scrubs.get(node).reclaimed.held is None


def test_one_node_that_stops_it_does_not_keep_the_others_from_their_turn(rig: Rig, node: str) -> None:
    on_others = [(other, leave(rig, other, 1)) for other in (rig.ids[0], rig.ids[2])]
    leave(rig, node, 101)
    job = run(rig, scope=Scope())
    assert job.state is JobState.FAILED
    assert job.report["stopped"] == {"node2": job.error.removeprefix("node2: ")} if job.error else False
    assert [left(rig, other, ids) for other, ids in on_others] == [0, 0]


def test_a_node_that_fails_is_reported_and_the_rest_is_done(rig: Rig, node: str) -> None:
    (other,) = leave(rig, rig.ids[0])

    def fail(operation: str, _: str) -> None:
        raise NodeError("the node is down")

    rig.nodes.stores[node].faults.before = fail
    job = run(rig, scope=Scope())
    assert job.state is JobState.FAILED
    assert left(rig, rig.ids[0], [other]) == 0


@pytest.mark.parametrize(
    ("health", "mode", "word"),
    [
        (NodeHealth.UP, NodeMode.PAUSED, "paused"),
        (NodeHealth.UP, NodeMode.RETIRED, "retired"),
        (NodeHealth.DOWN, NodeMode.ACTIVE, "down"),
    ],
)
@pytest.mark.parametrize("force", [False, True])
def test_a_node_that_is_not_to_be_touched_is_left_alone_and_reported(
    rig: Rig, node: str, health: NodeHealth, mode: NodeMode, word: str, force: bool
) -> None:
    old, other = leave(rig, node, 2), leave(rig, rig.ids[0], 2)
    rig.change(NODE, health, mode)
    calls = len(rig.nodes.stores[node].calls)
    job = run(rig, force=force, scope=Scope())
    assert (job.state, job.report["stopped"]) == (JobState.FAILED, {"node2": f"the node is {word}"})
    assert (left(rig, node, old), left(rig, rig.ids[0], other)) == (2, 0)
    rig.worker.reclaim(node)
    assert len(rig.nodes.stores[node].calls) == calls
    assert rig.catalogue.scrubs.get(node).reclaimed.stopped is None


def test_a_bucket_is_no_scope_of_it(rig: Rig, node: str) -> None:
    job = run(rig, scope=Scope(bucket=BUCKET))
    assert job.state is JobState.FAILED
    assert "scope.bucket" in (job.error or "")
