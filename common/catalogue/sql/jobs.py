"""Jobs: what an operator asked for, how far it is, and what came out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, exists, insert, select, update

from common.catalogue.sql.engine.database import Database, unseen
from common.catalogue.sql.engine.rows import AnyRow
from common.catalogue.sql.engine.tables import jobs, leases
from common.errors import Conflict, NoSuchJob
from common.model.jobs import Job, JobKind, JobState, Scope, job_lease
from common.model.names import new_id

OPEN = (JobState.QUEUED.value, JobState.RUNNING.value)


def _job(row: AnyRow) -> Job:
    return Job(
        row.id,
        JobKind(row.kind),
        Scope(**row.scope),
        row.dry_run,
        row.force,
        JobState(row.state),
        row.done,
        row.total,
        row.bytes,
        row.report,
        row.cursor,
        row.error,
        row.created_at,
        row.finished_at,
    )


def _one(connection: Connection, job_id: str, lock: bool = False) -> Job:
    statement = select(jobs).where(jobs.c.id == job_id)
    row = connection.execute(statement.with_for_update() if lock else statement).first()
    if row is None:
        raise NoSuchJob(f"there is no job '{job_id}'")
    return _job(row)


class SqlJobs:
    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, kind: JobKind, scope: Scope, dry_run: bool, force: bool) -> Job:
        def work(connection: Connection) -> Job:
            job_id = new_id()
            connection.execute(
                insert(jobs).values(
                    id=job_id,
                    kind=kind.value,
                    scope=asdict(scope),
                    dry_run=dry_run,
                    force=force,
                    state=JobState.QUEUED.value,
                    done=0,
                    total=0,
                    bytes=0,
                    report={},
                    created_at=self._database.now(connection),
                )
            )
            return _one(connection, job_id)

        return self._database.write(work, landed=unseen)

    def get(self, job_id: str) -> Job:
        return self._database.read(lambda connection: _one(connection, job_id))

    def all(self, limit: int = 200) -> Sequence[Job]:
        statement = select(jobs).order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit)
        return self._database.read(lambda connection: [_job(row) for row in connection.execute(statement)])

    def open(self) -> Sequence[Job]:
        statement = select(jobs).where(jobs.c.state.in_(OPEN)).order_by(jobs.c.created_at, jobs.c.id)
        return self._database.read(lambda connection: [_job(row) for row in connection.execute(statement)])

    def start(self, job_id: str) -> Job | None:
        def work(connection: Connection) -> Job | None:
            job = _one(connection, job_id, lock=True)
            if job.state.value not in OPEN:
                return None
            now = self._database.now(connection)
            connection.execute(
                update(jobs).where(jobs.c.id == job_id).values(state=JobState.RUNNING.value, started_at=now)
            )
            return _one(connection, job_id)

        return self._database.write(work)

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
        values = {"done": done, "total": total, "bytes": bytes, "report": dict(report)}
        if cursor is not None:
            values["cursor"] = dict(cursor)
        return self._while_open(job_id, values, holder=holder)

    def finish(
        self,
        job_id: str,
        state: JobState,
        report: Mapping[str, object],
        error: str | None,
        holder: str | None = None,
    ) -> None:
        values = {"state": state.value, "report": dict(report), "error": error}
        self._while_open(job_id, values, ends=True, holder=holder)

    def cancel(self, job_id: str) -> Job:
        if not self._while_open(job_id, {"state": JobState.CANCELLED.value}, ends=True, landed=unseen):
            raise Conflict(f"job '{self.get(job_id).id}' has ended; there is nothing to cancel")
        return self.get(job_id)

    def retry(self, job_id: str) -> Job:
        def work(connection: Connection) -> Job:
            job = _one(connection, job_id, lock=True)
            if job.state not in (JobState.FAILED, JobState.CANCELLED):
                raise Conflict(f"job '{job_id}' is {job.state.value}; only a failed or cancelled one can be retried")
            connection.execute(
                update(jobs)
                .where(jobs.c.id == job_id)
                .values(state=JobState.QUEUED.value, error=None, finished_at=None)
            )
            return _one(connection, job_id)

        return self._database.write(work, landed=unseen)

    def _while_open(
        self,
        job_id: str,
        values: dict[str, Any],
        ends: bool = False,
        holder: str | None = None,
        landed: Callable[[Connection], bool] | None = None,
    ) -> bool:
        def work(connection: Connection) -> bool:
            if ends:
                values["finished_at"] = self._database.now(connection)
            statement = update(jobs).where(jobs.c.id == job_id, jobs.c.state.in_(OPEN))
            if holder is not None:
                held = exists().where(leases.c.name == job_lease(job_id), leases.c.owner == holder)
                statement = statement.where(held)
            return bool(connection.execute(statement.values(**values)).rowcount)

        return self._database.write(work, landed)
