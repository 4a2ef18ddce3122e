"""Whether the process lives, whether it can take an upload, what the whole store looks like, and Prometheus' view."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from flask import Blueprint, Response

from api.http.answers import answer
from api.http.error_handlers import respond
from api.http.openapi import documented
from api.http.problems import NOT_READY
from api.http.schemas import Alive, Ready, Status
from api.services import Services, services
from api.status.alerts import alerts
from api.status.processes import Processes
from api.status.silence import last_ends, silent
from api.views.store_metrics import StoreMetrics
from common import telemetry
from common.catalogue.status import StatusCounts
from common.errors import CatalogueUnavailable, Unavailable
from common.model.times import rfc3339

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
@documented("Whether the process lives", tag="health", answers={200: Alive})
def live() -> Response:
    return answer({"status": "ok"})


@blueprint.get("/readyz")
@documented("Whether an upload could be taken now", tag="health", answers={200: Ready})
def ready() -> Response:
    """503 says in `missing` what is not there."""
    missing = list(_missing(services()))
    if not missing:
        return answer({"status": "ready", "missing": []})
    return respond(NOT_READY, "; ".join(missing), {"missing": missing}, {"Retry-After": "2"})


def _missing(parts: Services) -> Iterator[str]:
    try:
        parts.catalogue.ready()
    except CatalogueUnavailable as error:
        yield f"catalogue: {error.detail}"
    try:
        parts.keys.active()
    except Unavailable as error:
        yield f"keys: {error.detail}"
    needed, writable, answering = parts.settings.write_copies, parts.nodes.candidates(), parts.nodes.answering()
    if len(writable) < needed:
        yield f"nodes: {len(writable)} can be written, {needed} are needed"
    elif len(answering) < needed:
        yield f"nodes: of {len(writable)} that can be written {len(answering)} answered lately, {needed} are needed"


@blueprint.get("/v1/status")
@documented("The state of the whole store", tag="health", answers={200: Status})
def status() -> Response:
    parts = services()
    counts = parts.status_cache.now()
    rows = parts.catalogue.nodes.all()
    looked = parts.dependencies.now()
    ends, now = parts.catalogue.last_ends.all(), parts.catalogue.now()
    return answer(
        {
            "nodes": dict(Counter(node.state for node in rows)),
            "objects": dict(counts.objects),
            "copies": _copies(counts),
            "oldest_unprotected": counts.oldest_unprotected,
            "counted_at": rfc3339(counts.counted_at),
            "queues": looked.depths,
            "dead_letters": counts.dead_letters,
            "jobs_open": counts.jobs_open,
            "last_ends": last_ends(ends, now),
            "alerts": [
                *alerts(rows, counts, looked, parts.catalogue.scrubs.all(), parts.catalogue.locked_names.counts()),
                *silent(ends, now, parts.dependencies.watched(), looked, parts.settings),
            ],
        }
    )


def _copies(counts: StatusCounts) -> dict[str, int]:
    return {"missing": counts.copies_missing, "suspect": counts.copies_suspect, "doomed": counts.copies_doomed}


@blueprint.get("/metrics")
@documented("Prometheus metrics", tag="health", answers={200: "text"})
def metrics() -> Response:
    text, content_type = telemetry.expose(StoreMetrics(services()), Processes())
    return Response(text, content_type=content_type)
