"""Jobs over HTTP: rows that workers take up."""

from __future__ import annotations

import re

from flask import Blueprint, Response, request
from pydantic import BaseModel, ConfigDict, Field

from api.http.answers import answer
from api.http.bodies import read_json
from api.http.openapi import documented
from api.http.schemas import JobDocument, JobList
from api.services import services
from api.views.documents import job_document
from common.errors import Conflict, NoSuchJob, NoSuchNode, NotAllowed
from common.model.jobs import Job, JobKind, Scope
from common.model.names import check_bucket_name, check_key
from common.queue.base import TaskName

blueprint = Blueprint("jobs", __name__)

BUILT = (JobKind.REPAIR, JobKind.SCRUB, JobKind.REBALANCE, JobKind.RECLAIM)
_ID = re.compile(r"[0-9a-f]{32}")


class JobScope(BaseModel):
    """What the job is about; nothing: everything. `prefix` and `key` belong to a bucket."""

    model_config = ConfigDict(extra="forbid")

    bucket: str | None = None
    prefix: str | None = None
    key: str | None = None
    node: str | None = None


class NewJob(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: str
    scope: JobScope = Field(default_factory=JobScope)
    dry_run: bool = False
    force: bool = False


@blueprint.post("/v1/jobs")
@documented("Start a job", tag="jobs", body=NewJob, answers={202: JobDocument})
def create() -> Response:
    wanted = read_json(request, NewJob)
    kind = _kind(wanted.kind)
    if kind is JobKind.RECLAIM and wanted.scope.bucket is not None:
        raise NotAllowed("scope.bucket", "reclaim is about nodes: what it removes is in no bucket")
    job = services().catalogue.jobs.create(kind, _scope(wanted.scope), wanted.dry_run, wanted.force)
    return _enqueued(job)


@blueprint.get("/v1/jobs")
@documented("List the latest jobs", tag="jobs", answers={200: JobList})
def list_jobs() -> Response:
    return answer({"jobs": [job_document(job) for job in services().catalogue.jobs.all()]})


@blueprint.get("/v1/jobs/<job_id>")
@documented("One job and its report", tag="jobs", answers={200: JobDocument})
def get_job(job_id: str) -> Response:
    return answer(job_document(services().catalogue.jobs.get(_id(job_id))))


@blueprint.post("/v1/jobs/<job_id>/cancel")
@documented("Cancel a job that has not ended", tag="jobs", answers={200: JobDocument}, raises=(Conflict,))
def cancel(job_id: str) -> Response:
    return answer(job_document(services().catalogue.jobs.cancel(_id(job_id))))


@blueprint.post("/v1/jobs/<job_id>/retry")
@documented("Queue a failed or cancelled job again", tag="jobs", answers={202: JobDocument}, raises=(Conflict,))
def retry(job_id: str) -> Response:
    return _enqueued(services().catalogue.jobs.retry(_id(job_id)))


def _enqueued(job: Job) -> Response:
    services().enqueuer.enqueue(TaskName.JOB, [job.id])
    return answer(job_document(job), 202, {"Location": f"/v1/jobs/{job.id}"})


def _id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise NoSuchJob("there is no such job")
    return text


def _kind(text: str) -> JobKind:
    try:
        kind = JobKind(text)
    except ValueError:
        raise NotAllowed("kind", "must be one of " + ", ".join(BUILT)) from None
    if kind not in BUILT:
        raise NotAllowed("kind", f"{text} is not available in this release; there is " + ", ".join(BUILT))
    return kind


def _scope(scope: JobScope) -> Scope:
    parts = services()
    if scope.bucket is None and (scope.prefix is not None or scope.key is not None):
        raise NotAllowed("scope.bucket", "is needed with a prefix or a key")
    if scope.prefix is not None and scope.key is not None:
        raise NotAllowed("scope.key", "cannot be together with a prefix")
    if scope.bucket is not None:
        parts.catalogue.buckets.get(check_bucket_name(scope.bucket, "scope.bucket"))
    if scope.key is not None:
        check_key(scope.key, "scope.key")
    if scope.prefix:
        check_key(scope.prefix, "scope.prefix")
    if scope.node is not None and all(node.spec.name != scope.node for node in parts.catalogue.nodes.all()):
        raise NoSuchNode("there is no node of that name")
    return Scope(scope.bucket, scope.prefix, scope.key, scope.node)
