"""Run a job by its id, under its lease: a job has one worker at a time, wherever its messages land."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from common.catalogue.base import Catalogue
from common.errors import BovedaError, NoSuchJob, Unavailable
from common.model.jobs import Job, JobKind, JobState, job_lease
from workers.leases import HeldLeases


class JobTurn:
    """A worker's turn at a job. Called, it says whether to go on. What it writes is written only while the job's lease
    is still this turn's: a worker that was overtaken overwrites nothing of the one that goes on."""

    def __init__(self, catalogue: Catalogue, job_id: str, holder: str, going: Callable[[], bool]) -> None:
        self._jobs = catalogue.jobs
        self._job_id = job_id
        self._holder = holder
        self._going = going

    def __call__(self) -> bool:
        """False once the job's lease is lost or this process is to end."""
        return self._going()

    def open(self) -> bool:
        """The same, and False once the job was cancelled: for steps that are longer than what may follow that. It asks
        the catalogue each time."""
        return self._going() and self._jobs.get(self._job_id).state is JobState.RUNNING

    def progress(
        self,
        done: int,
        total: int,
        bytes: int,
        report: Mapping[str, object],
        cursor: Mapping[str, object] | None,
    ) -> bool:
        """Checkpoint; False if the job was cancelled or is another worker's now."""
        return self._jobs.progress(self._job_id, done, total, bytes, report, cursor, self._holder)

    def finish(self, report: Mapping[str, object], error: str | None = None) -> None:
        """Done, or failed with the words of `error`."""
        state = JobState.DONE if error is None else JobState.FAILED
        self._jobs.finish(self._job_id, state, report, error, self._holder)


class RunsJob(Protocol):
    def __call__(self, job: Job, going: JobTurn) -> None:
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
                holder = self._held.holder(name)
                self._run(job, JobTurn(self._catalogue, job_id, holder, lambda: self._going() and self._held.has(name)))
        except NoSuchJob:
            return
        finally:
            self._held.give(name)

    def _run(self, job: Job, turn: JobTurn) -> None:
        try:
            if job.kind not in self._kinds:
                raise BovedaError(f"jobs of kind {job.kind.value} do not run in workers")
            self._kinds[job.kind](job, turn)
        except Unavailable:
            raise
        except BovedaError as error:
            self._fail(job.id, turn, error.detail)
        except Exception:
            self._fail(job.id, turn, "an unexpected error; see the log")
            raise

    def _fail(self, job_id: str, turn: JobTurn, why: str) -> None:
        turn.finish(self._catalogue.jobs.get(job_id).report, why)
