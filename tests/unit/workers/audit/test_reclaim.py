"""What reclaim removes: orphans, copies nobody wants there, old evidence; and that it does so by itself."""

from __future__ import annotations

import time

import pytest

from common.model.copies import CopyState
from common.model.jobs import JobState
from common.model.names import IDENTITY_NAME, blob_name, new_id, quarantine_name
from common.model.nodes import NodeHealth
from common.model.versions import Preconditions
from common.queue.base import Queue, TaskName
from tests.unit.workers.orphans import OLD, YOUNG, age_all, leave, left, run
from tests.unit.workers.rig import BUCKET, Rig
from workers.audit.reclaim import brakes


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
