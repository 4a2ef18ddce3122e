"""The rows of jobs, as a contract.

The errors and the clock are those of `common.catalogue.base`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from common.model.jobs import Job, JobKind, JobState, Scope


class Jobs(Protocol):
    def create(self, kind: JobKind, scope: Scope, dry_run: bool, force: bool) -> Job: ...

    def get(self, job_id: str) -> Job:
        """NoSuchJob."""

    def all(self, limit: int = 200) -> Sequence[Job]: ...

    def open(self) -> Sequence[Job]:
        """Queued and running ones."""

    def start(self, job_id: str) -> Job | None:
        """queued or running → running; None if it has ended."""

    def progress(
        self,
        job_id: str,
        done: int,
        total: int,
        bytes: int,
        report: Mapping[str, object],
        cursor: Mapping[str, object] | None,
        holder: str | None = None,
    ) -> bool:
        """Checkpoint; False if the job was cancelled meanwhile, or `holder` no longer has its lease (`job_lease`)."""

    def finish(
        self,
        job_id: str,
        state: JobState,
        report: Mapping[str, object],
        error: str | None,
        holder: str | None = None,
    ) -> None:
        """Nothing happens if it has ended, or `holder` no longer has its lease."""

    def cancel(self, job_id: str) -> Job:
        """Conflict if it has ended."""

    def retry(self, job_id: str) -> Job:
        """failed or cancelled → queued, from its cursor; Conflict otherwise."""
