from __future__ import annotations

import threading
from typing import Any

import pytest

from common.errors import CatalogueUnavailable
from common.model.jobs import Job, JobKind, JobState, Scope
from common.model.names import blob_name
from common.model.nodes import NodeHealth
from common.queue.base import Queue
from tests.support.waiting import wait_until
from tests.unit.workers.rig import BUCKET, Rig, blocked
from workers.jobs import repair


def run(rig: Rig, scope: Scope | None = None, dry_run: bool = False) -> Job:
    job = rig.catalogue.jobs.create(JobKind.REPAIR, scope or Scope(), dry_run, False)
    rig.worker.run_job(job.id)
    return rig.catalogue.jobs.get(job.id)


def counts(good: int, missing: int = 0, damaged: int = 0, unreachable: int = 0) -> dict[str, int]:
    return {"good": good, "missing": missing, "damaged": damaged, "unreachable": unreachable}


def harm(rig: Rig) -> bytes:
    """An object with one copy absent and one wrong, of which the catalogue knows nothing."""
    (data,) = rig.put("a", stored=3)
    (blob,) = rig.blob_ids("a")
    rig.spoil(blob, 0, None)
    rig.spoil(blob, 1, b"x" * 100)
    return data


def test_missing_and_damaged_copies_are_found_and_made_again(rig: Rig) -> None:
    data = harm(rig)
    rig.put("b", stored=3)
    job = run(rig)
    assert rig.on_nodes(rig.blob_ids("a")[0]) == [data] * 3
    assert rig.states("a") == ["stored"] * 3
    assert job.state is JobState.DONE
    assert job.report["before"] == counts(4, 1, 1)
    assert job.report["after"] == counts(6)
    assert (job.report["repaired"], job.report["unreachable"]) == (2, 0)
    assert (job.done, job.total) == (2, 2)


def test_a_dry_run_counts_and_changes_nothing(rig: Rig) -> None:
    harm(rig)
    (blob,) = rig.blob_ids("a")
    before = rig.on_nodes(blob)
    job = run(rig, dry_run=True)
    assert job.report["before"] == job.report["after"] == counts(1, 1, 1)
    assert rig.on_nodes(blob) == before
    assert rig.states("a") == ["stored"] * 3
    assert all(operation in ("get",) for store in rig.nodes.stores.values() for operation, _ in store.calls)


def test_copies_that_are_still_missing_are_made_too(rig: Rig) -> None:
    (data,) = rig.put("a")
    job = run(rig)
    assert rig.on_nodes(rig.blob_ids("a")[0]) == [data] * 3
    assert (job.report["before"], job.report["after"]) == (counts(1, 2), counts(3))


def test_a_right_copy_under_a_row_that_says_missing_is_acknowledged(rig: Rig) -> None:
    (data,) = rig.put("a")
    (blob,) = rig.blob_ids("a")
    rig.nodes.stores[rig.ids[1]].blobs[blob_name(blob)] = data, 0.0
    run(rig)
    assert rig.states("a") == ["stored"] * 3


def test_copies_on_a_node_that_is_down_are_counted_unreachable(rig: Rig) -> None:
    rig.put("a", stored=3)
    rig.nodes.see(rig.ids[2], NodeHealth.DOWN)
    job = run(rig)
    assert job.state is JobState.DONE
    assert job.report["unreachable"] == 1
    assert job.report["after"] == counts(2, unreachable=1)
    assert rig.states("a") == ["stored"] * 3


def test_what_cannot_be_repaired_stays_in_the_report(rig: Rig) -> None:
    rig.put("a", stored=3)
    (blob,) = rig.blob_ids("a")
    for node in range(3):
        rig.spoil(blob, node, bytes([node]) * 100)
    job = run(rig)
    assert job.state is JobState.DONE
    assert job.report["before"] == job.report["after"] == counts(0, damaged=3)
    assert rig.on_nodes(blob) == [bytes([node]) * 100 for node in range(3)]
    assert rig.catalogue.status().dead_letters == 3


@pytest.mark.parametrize(
    ("scope", "repaired"),
    [
        (Scope(), {"x/1", "x/2", "y"}),
        (Scope(bucket=BUCKET), {"x/1", "x/2", "y"}),
        (Scope(bucket=BUCKET, prefix="x/"), {"x/1", "x/2"}),
        (Scope(bucket=BUCKET, key="x/2"), {"x/2"}),
        (Scope(bucket=BUCKET, key="nothing"), set()),
        (Scope(node="node2"), set()),
        (Scope(node="node1"), {"x/1", "x/2", "y"}),
    ],
)
def test_only_what_is_in_scope_is_looked_at(rig: Rig, scope: Scope, repaired: set[str]) -> None:
    keys = {"x/1", "x/2", "y"}
    for key in keys:
        rig.put(key, stored=3)
        rig.spoil(rig.blob_ids(key)[0], 0, None)
    assert run(rig, scope).state is JobState.DONE
    assert {key for key in keys if rig.on_nodes(rig.blob_ids(key)[0])[0] is not None} == repaired


def test_a_bucket_that_is_not_there_fails_the_job_in_words(rig: Rig) -> None:
    job = run(rig, Scope(bucket="nowhere"))
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert "nowhere" in job.error


def test_a_kind_nobody_runs_fails_the_job_in_words(rig: Rig) -> None:
    job = rig.catalogue.jobs.create(JobKind.REWRAP, Scope(), False, False)
    rig.worker.run_job(job.id)
    assert rig.catalogue.jobs.get(job.id).state is JobState.FAILED


def test_a_job_that_ended_or_never_was_is_not_run(rig: Rig) -> None:
    job = run(rig)
    rig.put("a")
    rig.worker.run_job(job.id)
    rig.worker.run_job("0" * 32)
    assert rig.on_nodes(rig.blob_ids("a")[0])[1] is None


def test_a_cancelled_job_stops_at_the_next_checkpoint(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "PAGE_BLOBS", 2)
    rig.put("a", stored=3, blobs=10)
    job = rig.catalogue.jobs.create(JobKind.REPAIR, Scope(), False, False)
    reads = 0

    def cancel(operation: str, _: str) -> None:
        nonlocal reads
        reads += 1
        if reads == 3:
            rig.catalogue.jobs.cancel(job.id)

    rig.nodes.stores[rig.ids[0]].faults.before = cancel
    rig.worker.run_job(job.id)
    assert rig.catalogue.jobs.get(job.id).state is JobState.CANCELLED
    assert reads == 4


def test_a_job_goes_on_from_its_cursor_after_its_worker_was_killed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "PAGE_BLOBS", 2)
    rig.put("a", stored=3, blobs=10)
    for blob in rig.blob_ids("a"):
        rig.spoil(blob, 2, None)
    job = rig.catalogue.jobs.create(JobKind.REPAIR, Scope(), False, False)
    looked: list[str] = []
    rig.nodes.stores[rig.ids[0]].faults.before = lambda _, name: looked.append(name)
    progress = rig.catalogue.jobs.progress

    def killed(*args: Any) -> bool:
        progress(*args)
        if args[1] == 4:
            raise CatalogueUnavailable("the process is gone")
        return True

    with monkeypatch.context() as patch:
        patch.setattr(rig.catalogue.jobs, "progress", killed)
        with pytest.raises(CatalogueUnavailable):
            rig.worker.run_job(job.id)
    assert rig.catalogue.jobs.get(job.id).state is JobState.RUNNING
    seen = set(looked)
    looked.clear()
    rig.worker.sweep()
    rig.work()
    done = rig.catalogue.jobs.get(job.id)
    assert done.state is JobState.DONE
    assert seen.isdisjoint(looked)
    assert (done.done, done.total) == (10, 10)
    assert done.report["before"] == counts(20, 10)
    assert done.report["after"] == counts(30)


def test_two_workers_do_not_run_one_job_at_a_time(rig: Rig) -> None:
    rig.put("a", stored=3)
    job = rig.catalogue.jobs.create(JobKind.REPAIR, Scope(), False, False)
    go_on, inside = threading.Event(), threading.Event()

    def hold(operation: str, _: str) -> None:
        inside.set()
        blocked(go_on)

    rig.nodes.stores[rig.ids[0]].faults.before = hold
    first = threading.Thread(target=rig.worker.run_job, args=(job.id,))
    first.start()
    assert inside.wait(10)
    other = rig.another("worker-2")
    other.run_job(job.id)
    rig.worker.run_job(job.id)
    assert rig.catalogue.jobs.get(job.id).state is JobState.RUNNING
    go_on.set()
    first.join()
    other.stop()
    assert rig.catalogue.jobs.get(job.id).report["blobs"] == 1


def test_copies_another_worker_holds_are_waited_for(rig: Rig) -> None:
    """The report's `after` counts what the other worker made."""
    (data,) = rig.put("a", nodes=rig.ids[:2])
    (blob,) = rig.blob_ids("a")
    go_on, inside = threading.Event(), threading.Event()

    def hold(operation: str, _: str) -> None:
        if operation == "put":
            inside.set()
            blocked(go_on)

    rig.nodes.stores[rig.ids[1]].faults.before = hold
    other = rig.another("worker-2")
    slow = threading.Thread(target=other.replicate, args=([blob],))
    slow.start()
    assert inside.wait(10)
    job = rig.catalogue.jobs.create(JobKind.REPAIR, Scope(), False, False)
    repairing = threading.Thread(target=rig.worker.run_job, args=(job.id,))
    repairing.start()
    wait_until(lambda: len(rig.nodes.stores[rig.ids[1]].calls) >= 3)
    go_on.set()
    repairing.join()
    slow.join()
    other.stop()
    assert rig.catalogue.jobs.get(job.id).report["after"] == counts(2)
    assert rig.on_nodes(blob)[1] == data


def test_a_worker_that_is_to_end_leaves_its_job_to_the_sweep(rig: Rig) -> None:
    rig.put("a", stored=3)
    job = rig.catalogue.jobs.create(JobKind.REPAIR, Scope(), False, False)
    rig.worker.leave()
    rig.worker.run_job(job.id)
    assert rig.catalogue.jobs.get(job.id).state is JobState.RUNNING
    other = rig.another("worker-2")
    rig.worker.sweep()
    for _, ids in rig.waiting(Queue.REPAIR):
        other.run_job(ids[0])
    other.stop()
    assert rig.catalogue.jobs.get(job.id).state is JobState.DONE


def test_a_worker_that_lost_its_lease_overwrites_nothing_of_the_one_that_goes_on(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.put("a", stored=3)
    job = rig.catalogue.jobs.create(JobKind.REPAIR, Scope(), False, False)
    other = rig.another("worker-2")
    overtaken = threading.Event()

    def overtake(operation: str, _: str) -> None:
        if not overtaken.is_set():
            overtaken.set()
            rig.clock.now += 120
            other.run_job(job.id)

    rig.nodes.stores[rig.ids[0]].faults.before = overtake
    rig.spoil(rig.blob_ids("a")[0], 2, None)
    rig.worker.run_job(job.id)
    other.stop()
    done = rig.catalogue.jobs.get(job.id)
    assert done.state is JobState.DONE
    assert (done.report["before"], done.report["repaired"]) == (counts(2, 1), 1)
