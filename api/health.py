"""Whether the process lives, whether it can take an upload, what the whole store looks like, and Prometheus' view."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from flask import Blueprint, Response, g
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api.alerts import alerts
from api.documents import answer
from api.errors import PROBLEM, Answer, problem
from api.openapi import documented
from api.processes import Processes
from api.schemas import Alive, Ready, Status
from api.services import Services, services
from common import telemetry
from common.catalogue.base import StatusCounts
from common.errors import BovedaError, CatalogueUnavailable, Unavailable

blueprint = Blueprint("health", __name__)

_NOT_READY = Answer(503, "not-ready", "Not ready")


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
    document = problem(_NOT_READY, "; ".join(missing), g.request_id) | {"missing": missing}
    response = answer(document, 503, {"Retry-After": "2"})
    response.content_type = PROBLEM
    return response


def _missing(parts: Services) -> Iterator[str]:
    try:
        parts.catalogue.ready()
    except CatalogueUnavailable as error:
        yield f"catalogue: {error.detail}"
    try:
        parts.keys.active()
    except Unavailable as error:
        yield f"keys: {error.detail}"
    writable = len(parts.nodes.candidates())
    if writable < parts.settings.write_copies:
        yield f"nodes: {writable} can be written, {parts.settings.write_copies} are needed"


@blueprint.get("/v1/status")
@documented("The state of the whole store", tag="health", answers={200: Status})
def status() -> Response:
    parts = services()
    counts = parts.counts.now()
    rows = parts.catalogue.nodes.all()
    looked = parts.standing.now()
    return answer(
        {
            "nodes": dict(Counter(node.state for node in rows)),
            "objects": dict(counts.objects),
            "copies": _copies(counts),
            "oldest_unprotected": counts.oldest_unprotected,
            "queues": looked.depths,
            "dead_letters": counts.dead_letters,
            "jobs_open": counts.jobs_open,
            "alerts": list(alerts(rows, counts, looked, parts.catalogue.scrubs.all())),
        }
    )


def _copies(counts: StatusCounts) -> dict[str, int]:
    return {"missing": counts.copies_missing, "suspect": counts.copies_suspect, "doomed": counts.copies_doomed}


@blueprint.get("/metrics")
@documented("Prometheus metrics", tag="health", answers={200: "text"})
def metrics() -> Response:
    text, content_type = telemetry.expose(_Store(services()), Processes())
    return Response(text, content_type=content_type)


class _Store(Collector):
    """The state of the store, asked of the catalogue and the queue at every scrape."""

    def __init__(self, parts: Services) -> None:
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("boveda_up", "Whether the part answered", labels=["part"])
        try:
            yield from self._catalogue()
            up.add_metric(["catalogue"], 1)
        except BovedaError:
            up.add_metric(["catalogue"], 0)
        queues = self._parts.standing.now().depths
        up.add_metric(["queue"], 0 if queues is None else 1)
        depth = GaugeMetricFamily("boveda_queue_messages", "Messages waiting", labels=["queue"])
        for name, count in (queues or {}).items():
            depth.add_metric([name], count)
        yield depth
        yield up

    def _catalogue(self) -> Iterator[Metric]:
        counts = self._parts.counts.now()
        nodes = self._parts.catalogue.nodes.all()
        objects = GaugeMetricFamily("boveda_objects", "Objects by shown state", labels=["state"])
        for state, count in counts.objects.items():
            objects.add_metric([state], count)
        yield objects
        copies = GaugeMetricFamily("boveda_copies_open", "Copy rows that are not true yet", labels=["state"])
        for state, count in _copies(counts).items():
            copies.add_metric([state], count)
        yield copies
        oldest = counts.oldest_unprotected or 0.0
        yield GaugeMetricFamily("boveda_oldest_unprotected_seconds", "Age of the oldest unprotected object", oldest)
        yield GaugeMetricFamily("boveda_dead_letters", "Copies whose attempts are exhausted", counts.dead_letters)
        health = GaugeMetricFamily("boveda_node_health", "1 for the shared verdict", labels=["node", "health"])
        for node in nodes:
            health.add_metric([node.spec.name, node.health.value], 1)
        yield health
