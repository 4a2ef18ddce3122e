from __future__ import annotations

import time
from typing import Any

import pytest

from common.errors import CatalogueUnavailable
from common.model.jobs import Job, JobKind, JobState, Scope
from common.model.names import blob_name, new_id
from common.model.nodes import NodeHealth
from common.queue.base import Queue, TaskName
from tests.unit.workers.rig import BUCKET, Rig
from workers.jobs import scrub_job


def run(rig: Rig, scope: Scope | None = None, dry_run: bool = False) -> Job:
    job = rig.catalogue.jobs.create(JobKind.SCRUB, scope or Scope(), dry_run, False)
    rig.worker.run_job(job.id)
    return rig.catalogue.jobs.get(job.id)


def counts(job: Job) -> tuple[object, ...]:
    return tuple(job.report[finding] for finding in ("good", "missing", "damaged", "unreachable"))


def harm(rig: Rig) -> str:
    """An object with one copy absent and one wrong, of which the catalogue knows nothing."""
    rig.put("a", stored=3)
    (blob,) = rig.blob_ids("a")
    rig.spoil(blob, 0, None)
    rig.spoil(blob, 1, b"x" * 100)
    return blob


def test_it_counts_what_it_found_and_has_it_looked_at_but_repairs_nothing(rig: Rig) -> None:
    blob = harm(rig)
    rig.put("b", stored=3)
    before = rig.on_nodes(blob)
    job = run(rig)
    assert (job.state, counts(job)) == (JobState.DONE, (4, 1, 1, 0))
    assert (job.done, job.total, job.bytes) == (2, 2, 400)
    assert rig.on_nodes(blob) == before
    assert rig.states("a") == ["suspect", "suspect", "stored"]
    rig.worker.stop()
    assert {i for task, ids in rig.waiting(Queue.REPAIR) if task is TaskName.VERIFY for i in ids} == {blob}


def test_what_was_right_is_verified(rig: Rig) -> None:
    harm(rig)
    run(rig)
    rows = rig.details("a")
    assert [rows[0, node].verified_at is not None for node in rig.ids] == [False, False, True]


def test_what_was_right_is_verified_as_of_before_it_was_read(rig: Rig) -> None:
    rig.put("a", stored=1)
    began = rig.clock.now

    def pass_time(operation: str, _: str) -> None:
        if operation == "get":
            rig.clock.now += 30

    rig.nodes.stores[rig.ids[0]].faults.before = pass_time
    run(rig)
    assert rig.clock.now > began
    assert rig.details("a")[0, rig.ids[0]].verified_at == began


def test_a_dry_run_counts_and_changes_nothing(rig: Rig) -> None:
    harm(rig)
    job = run(rig, dry_run=True)
    assert counts(job) == (1, 1, 1, 0)
    assert rig.states("a") == ["stored"] * 3
    assert all(row.verified_at is None for row in rig.details("a").values())


def test_copies_that_are_still_to_be_made_are_counted_and_left_to_be_made(rig: Rig) -> None:
    rig.put("a", stored=1)
    assert counts(run(rig)) == (1, 2, 0, 0)
    assert rig.states("a") == ["stored", "missing", "missing"]


def test_what_cannot_be_read_is_unreachable_and_nobody_is_blamed(rig: Rig) -> None:
    rig.put("a", stored=3)
    rig.nodes.see(rig.ids[0], NodeHealth.DOWN)
    rig.nodes.stores[rig.ids[1]].faults.down = True
    assert counts(run(rig)) == (1, 0, 0, 2)
    assert rig.states("a") == ["stored"] * 3


@pytest.mark.parametrize(
    ("scope", "blobs", "good", "orphans"),
    [
        (Scope(), 3, 9, 1),
        (Scope(node="node2"), 3, 3, 1),
        (Scope(node="node1"), 3, 3, 0),
        (Scope(bucket=BUCKET), 3, 9, None),
        (Scope(bucket=BUCKET, prefix="x/"), 2, 6, None),
        (Scope(bucket=BUCKET, key="x/2"), 1, 3, None),
        (Scope(bucket=BUCKET, key="x/2", node="node3"), 1, 1, None),
        (Scope(bucket=BUCKET, key="nothing"), 0, 0, None),
    ],
)
def test_only_what_is_in_scope_is_read(rig: Rig, scope: Scope, blobs: int, good: int, orphans: int | None) -> None:
    for key in ("x/1", "x/2", "y"):
        rig.put(key, stored=3)
    rig.nodes.stores[rig.ids[1]].blobs[blob_name(new_id())] = b"lost", time.time() - 7200
    job = run(rig, scope)
    assert (job.report["blobs"], counts(job)[0], job.report["orphans"]) == (blobs, good, orphans)


def test_it_goes_on_from_its_cursor_after_its_worker_was_killed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrub_job, "PAGE_BLOBS", 2)
    rig.put("a", stored=3, blobs=10)
    job = rig.catalogue.jobs.create(JobKind.SCRUB, Scope(), False, False)
    looked: list[str] = []
    rig.nodes.stores[rig.ids[0]].faults.before = lambda operation, name: looked.append(f"{operation} {name}")
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
    assert rig.catalogue.jobs.get(job.id).report["eta_seconds"] is not None
    rig.worker.sweep()
    rig.work()
    done = rig.catalogue.jobs.get(job.id)
    assert (done.state, counts(done), done.done) == (JobState.DONE, (30, 0, 0, 0), 10)
    read = [name for name in looked if name.startswith("get ")]
    assert sorted(read) == sorted(f"get {blob_name(blob)}" for blob in rig.blob_ids("a")), "none twice"


def test_a_cancelled_job_stops_at_the_next_checkpoint(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrub_job, "PAGE_BLOBS", 2)
    rig.put("a", stored=3, blobs=10)
    job = rig.catalogue.jobs.create(JobKind.SCRUB, Scope(), False, False)
    rig.nodes.stores[rig.ids[0]].faults.before = lambda *_: cancel()

    def cancel() -> None:
        rig.nodes.stores[rig.ids[0]].faults.before = None
        rig.catalogue.jobs.cancel(job.id)

    rig.worker.run_job(job.id)
    assert rig.catalogue.jobs.get(job.id).state is JobState.CANCELLED
    assert len(rig.nodes.stores[rig.ids[0]].calls) == 2
