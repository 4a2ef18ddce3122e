from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest

from common.errors import NodeError
from common.jobs.base import Queue, TaskName
from common.objects import (
    IDENTITY_NAME,
    CopyState,
    NodeHealth,
    NodeMode,
    Preconditions,
    blob_name,
    new_id,
    quarantine_name,
)
from common.work import Job, JobKind, JobState, Scope
from tests.unit.workers.rig import BUCKET, Rig
from workers import reclaim
from workers.reclaim import brakes

OLD, YOUNG = 7200, 60
NODE = 1


@pytest.fixture
def node(rig: Rig) -> str:
    for node_id in rig.ids:
        rig.identify(node_id)
    return rig.ids[NODE]


def leave(rig: Rig, node: str, count: int = 1, age: float = OLD) -> list[str]:
    """Blobs on a node that no row refers to."""
    ids = [new_id() for _ in range(count)]
    for blob_id in ids:
        rig.nodes.stores[node].blobs[blob_name(blob_id)] = b"lost", time.time() - age
    return ids


def left(rig: Rig, node: str, ids: Sequence[str]) -> int:
    return sum(blob_name(blob_id) in rig.nodes.stores[node].blobs for blob_id in ids)


def run(rig: Rig, dry_run: bool = False, force: bool = False, scope: Scope | None = None) -> Job:
    job = rig.catalogue.jobs.create(JobKind.RECLAIM, scope or Scope(node="node2"), dry_run, force)
    rig.worker.run_job(job.id)
    return rig.catalogue.jobs.get(job.id)


def age_all(rig: Rig) -> None:
    """Let everything on the nodes have been there for long."""
    for store in rig.nodes.stores.values():
        store.blobs = {name: (data, time.time() - OLD) for name, (data, _) in store.blobs.items()}


@pytest.mark.parametrize(
    ("orphans", "names", "expected"),
    [
        (0, 0, False),
        (100, 100, False),  # a hundred is what crashes may leave behind
        (101, 101, True),
        (101, 10_100, False),  # one in a hundred
        (101, 10_099, True),
        (10_000, 1_000_000, False),
        (10_001, 1_000_000, True),
    ],
)
def test_the_brake_holds_over_a_hundred_and_over_one_in_a_hundred(orphans: int, names: int, expected: bool) -> None:
    assert brakes(orphans, names) is expected


def test_old_names_without_a_row_go_and_nothing_else_does(rig: Rig, node: str) -> None:
    (data,) = rig.put("a", stored=3)
    age_all(rig)
    old, young = leave(rig, node, 3), leave(rig, node, 2, YOUNG)
    blobs = rig.nodes.stores[node].blobs
    blobs["blobs/xy/what-is-this"] = b"?", 0.0
    job = run(rig)
    assert (job.state, job.error) == (JobState.DONE, None)
    assert (left(rig, node, old), left(rig, node, young)) == (0, 2)
    assert rig.on_nodes(rig.blob_ids("a")[0]) == [data] * 3
    assert {"blobs/xy/what-is-this", IDENTITY_NAME} <= blobs.keys()
    counts = {name: job.report[name] for name in ("names", "orphans", "reclaimed", "young", "unknown", "strays")}
    assert counts == {"names": 7, "orphans": 3, "reclaimed": 3, "young": 2, "unknown": 1, "strays": 0}


def test_a_dry_run_counts_and_removes_nothing(rig: Rig, node: str) -> None:
    old = leave(rig, node, 3)
    evidence = quarantine_name(new_id(), time.time() - 30 * 86400)
    rig.nodes.stores[node].blobs[evidence] = b"wrong", 0.0
    job = run(rig, dry_run=True)
    assert (job.state, job.report["orphans"], job.report["reclaimed"]) == (JobState.DONE, 3, 0)
    assert left(rig, node, old) == 3
    assert evidence in rig.nodes.stores[node].blobs
    assert rig.catalogue.orphans.bury([]) == set()
    assert not {operation for operation, _ in rig.nodes.stores[node].calls} & {"delete", "delete_many", "put"}


def test_the_tombstones_are_there_before_the_names_go_and_a_late_commit_is_refused(rig: Rig, node: str) -> None:
    (old,) = leave(rig, node)
    standing: list[bool] = []

    def look(operation: str, _: str) -> None:
        if operation == "delete_many":
            standing.append(rig.catalogue.orphans.bury([old]) == {old})

    rig.nodes.stores[node].faults.before = look
    with rig.catalogue.database.reading.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM blobs").scalar_one() == 0
        run(rig)
        assert standing == [True]
        assert connection.exec_driver_sql("SELECT id FROM blobs WHERE version_id IS NULL").scalars().all() == [old]


def test_a_blob_that_lands_after_all_is_reclaimed_by_the_next_run(rig: Rig, node: str) -> None:
    (old,) = leave(rig, node)
    run(rig)
    rig.nodes.stores[node].blobs[blob_name(old)] = b"late", time.time() - OLD
    assert run(rig).report["reclaimed"] == 1
    assert left(rig, node, [old]) == 0


def test_tombstones_are_dropped_a_day_later(rig: Rig, node: str) -> None:
    leave(rig, node, 2)
    run(rig)

    def tombstones() -> int:
        rig.worker.sweep()
        with rig.catalogue.database.reading.connect() as connection:
            return int(connection.exec_driver_sql("SELECT count(*) FROM blobs").scalar_one())

    assert tombstones() == 2
    rig.clock.now += 86401
    assert tombstones() == 0


def test_a_copy_that_no_row_wants_here_gets_a_doomed_row_and_goes_only_here(rig: Rig, node: str) -> None:
    (data,) = rig.put("a", stored=2, nodes=[rig.ids[0], rig.ids[2]])
    (blob,) = rig.blob_ids("a")
    rig.nodes.stores[node].blobs[blob_name(blob)] = data, time.time() - OLD
    assert run(rig).report["strays"] == 1
    rig.worker.sweep()
    rig.work()
    assert rig.on_nodes(blob) == [data, None, data]
    assert sorted(node_id for _, node_id in rig.details("a") if node_id) == sorted([rig.ids[0], rig.ids[2]])


@pytest.mark.parametrize("trouble", ["missing", "suspect", "away"])
def test_a_copy_that_no_row_wants_here_stays_while_the_others_cannot_be_counted_on(
    rig: Rig, node: str, trouble: str
) -> None:
    (data,) = rig.put("a", stored=1 if trouble == "missing" else 2, nodes=[rig.ids[0], rig.ids[2]])
    (blob,) = rig.blob_ids("a")
    rig.nodes.stores[node].blobs[blob_name(blob)] = data, time.time() - OLD
    if trouble == "suspect":
        rig.suspect(blob, 0)
    if trouble == "away":
        rig.share_health(NodeHealth.DOWN, NodeHealth.UP, NodeHealth.UP)
    job = run(rig)
    assert (job.report["strays"], job.report["kept"]) == (0, 1)
    assert CopyState.DOOMED not in {row.state for row in rig.details("a").values()}


def test_a_blob_of_an_upload_in_progress_stays_wherever_it_lies(rig: Rig, node: str) -> None:
    version = new_id()
    rig.catalogue.objects.begin(version, rig.bucket.id, "long", 1, rig.clock.now + 3600)
    new = rig._new_blob(0, b"x" * 100, [rig.ids[0]], 0)
    rig.catalogue.objects.add_blob(version, new, (), rig.clock.now + 3600)
    rig.nodes.stores[node].blobs[blob_name(new.blob.id)] = b"x" * 100, time.time() - OLD  # it failed over to here
    job = run(rig)
    assert (job.report["orphans"], job.report["strays"], job.report["kept"]) == (0, 0, 1)
    assert left(rig, node, [new.blob.id]) == 1


def test_a_deleted_object_s_blob_that_came_late_goes(rig: Rig, node: str) -> None:
    rig.put("a", stored=2, nodes=[rig.ids[0], rig.ids[2]])
    (blob,) = rig.blob_ids("a")
    rig.catalogue.objects.delete(BUCKET, "a", Preconditions())
    rig.nodes.stores[node].blobs[blob_name(blob)] = b"late", time.time() - OLD
    assert run(rig).report["strays"] == 1


# -- what stops it


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


# -- evidence


def test_evidence_goes_after_a_week_by_the_time_in_its_name(rig: Rig, node: str) -> None:
    blobs = rig.nodes.stores[node].blobs
    names = [quarantine_name(new_id(), time.time() - days * 86400) for days in (30, 8, 6, 0)]
    for name in names:
        blobs[name] = b"wrong", time.time()
    blobs["quarantine/not-a-time/x"] = b"?", 0.0
    job = run(rig)
    assert job.report["quarantined"] == 2
    assert [name in blobs for name in names] == [False, False, True, True]
    assert "quarantine/not-a-time/x" in blobs


def test_much_old_evidence_is_no_reason_to_stop(rig: Rig, node: str) -> None:
    blobs = rig.nodes.stores[node].blobs
    for number in range(1200):
        blobs[quarantine_name(new_id(), time.time() - 8 * 86400 - number)] = b"wrong", time.time()
    assert run(rig).state is JobState.DONE
    assert not any(name.startswith("quarantine/") for name in blobs)


# -- by itself


def test_the_sweep_sends_for_each_node_once_an_interval(rig: Rig, node: str) -> None:
    def sent() -> list[str]:
        other = rig.another("another process")  # which has not looked yet
        other.sweep()
        other.stop()
        return sorted(i for task, ids in rig.waiting(Queue.SCRUB) if task is TaskName.RECLAIM for i in ids)

    assert sent() == sorted(rig.ids)
    assert sent() == []
    rig.clock.now += 3601
    assert sent() == sorted(rig.ids)


def test_it_reclaims_by_itself_what_a_crash_left_behind(rig: Rig, node: str) -> None:
    old = leave(rig, node, 2)
    rig.worker.sweep()
    rig.rounds()
    assert left(rig, node, old) == 0
