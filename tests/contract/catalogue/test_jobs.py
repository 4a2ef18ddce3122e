from __future__ import annotations

from common.model.jobs import JobKind, JobState, Scope, job_lease
from tests.contract.catalogue.stage import Stage


def test_who_no_longer_has_a_job_s_lease_writes_neither_progress_nor_end(stage: Stage) -> None:
    jobs, leases = stage.catalogue.jobs, stage.catalogue.leases
    job = jobs.create(JobKind.REPAIR, Scope(), False, False)
    assert leases.acquire(job_lease(job.id), "one", -1)
    assert jobs.progress(job.id, 1, 9, 10, {"by": "one"}, {"after": 1}, "one")
    assert leases.acquire(job_lease(job.id), "two", 60)
    assert not jobs.progress(job.id, 2, 9, 20, {"by": "one"}, {"after": 2}, "one")
    jobs.finish(job.id, JobState.DONE, {"by": "one"}, None, "one")
    left = jobs.get(job.id)
    assert (left.state, left.done, left.report, left.cursor) == (JobState.QUEUED, 1, {"by": "one"}, {"after": 1})
    jobs.finish(job.id, JobState.DONE, {"by": "two"}, None, "two")
    assert jobs.get(job.id).report == {"by": "two"}
