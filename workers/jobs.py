"""Run a job by its id, under its lease: a job has one worker at a time, wherever its messages land."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from common.catalogue.base import Catalogue
from common.errors import BovedaError, NoSuchJob, Unavailable
from common.work import Job, JobKind, JobState
from workers.leases import HeldLeases
from workers.sweep import job_lease


class RunsJob(Protocol):
    def __call__(self, job: Job, going: Callable[[], bool]) -> None:
        """Run or resume the job until it ends or `going` says False; the last checkpoint is kept."""


class RunJob:
    """`kinds`: what runs here. `going`: False once this process is to end."""

    def __init__(
        self, catalogue: Catalogue, held: HeldLeases, kinds: Mapping[JobKind, RunsJob], going: Callable[[], bool]
    ) -> None:
        self._catalogue = catalogue
        self._held = held
        self._kinds = kinds
        self._going = going

    def __call__(self, job_id: str) -> None:
        """Nothing if another worker has it, or it has ended. Unavailable parts leave it to the sweep, from its cursor;
        any other error ends it as failed."""
        name = job_lease(job_id)
        if not self._held.take(name):
            return
        try:
            job = self._catalogue.jobs.start(job_id)
            if job is not None:
                self._run(job, lambda: self._going() and self._held.has(name))
        except NoSuchJob:
            return
        finally:
            self._held.give(name)

    def _run(self, job: Job, going: Callable[[], bool]) -> None:
        try:
            if job.kind not in self._kinds:
                raise BovedaError(f"jobs of kind {job.kind.value} do not run in workers")
            self._kinds[job.kind](job, going)
        except Unavailable:
            raise
        except BovedaError as error:
            self._fail(job.id, error.detail)
        except Exception:
            self._fail(job.id, "an unexpected error; see the log")
            raise

    def _fail(self, job_id: str, why: str) -> None:
        self._catalogue.jobs.finish(job_id, JobState.FAILED, self._catalogue.jobs.get(job_id).report, why)
