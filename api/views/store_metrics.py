"""The state of the store as Prometheus sees it: asked of the catalogue and the queue at every scrape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api.services import Services
from common.errors import BovedaError
from common.model.actors import Actor, LastEnd
from common.model.nodes import Node
from common.model.scrubbing import Scrub


class StoreMetrics(Collector):
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
        queues = self._parts.dependencies.now().depths
        up.add_metric(["queue"], 0 if queues is None else 1)
        depth = GaugeMetricFamily("boveda_queue_messages", "Messages waiting", labels=["queue"])
        for name, count in (queues or {}).items():
            depth.add_metric([name], count)
        yield depth
        yield up

    def _catalogue(self) -> Iterator[Metric]:
        counts = self._parts.status_cache.now()
        nodes = self._parts.catalogue.nodes.all()
        objects = GaugeMetricFamily("boveda_objects", "Objects by shown state", labels=["state"])
        for state, count in counts.objects.items():
            objects.add_metric([state], count)
        yield objects
        copies = GaugeMetricFamily("boveda_copies_open", "Copy rows that are not true yet", labels=["state"])
        for state in ("missing", "suspect", "doomed"):
            copies.add_metric([state], getattr(counts, f"copies_{state}"))
        yield copies
        oldest = counts.oldest_unprotected or 0.0
        yield GaugeMetricFamily("boveda_oldest_unprotected_seconds", "Age of the oldest unprotected object", oldest)
        yield GaugeMetricFamily("boveda_dead_letters", "Copies whose attempts are exhausted", counts.dead_letters)
        health = GaugeMetricFamily("boveda_node_health", "1 for the shared verdict", labels=["node", "health"])
        for node in nodes:
            health.add_metric([node.spec.name, node.health.value], 1)
        yield health
        away = GaugeMetricFamily("boveda_node_unreachable", "1 for a node that does not show itself", labels=["node"])
        for node in nodes:
            away.add_metric([node.spec.name], 0 if node.reachable else 1)
        yield away
        now = self._parts.catalogue.now()
        yield from _scrubs(nodes, self._parts.catalogue.scrubs.all(), now)
        yield _last_ends(self._parts.catalogue.last_ends.all(), now)


def _last_ends(ends: Mapping[Actor, LastEnd], now: float) -> Metric:
    """Who never came to an end has no age."""
    age = GaugeMetricFamily(
        "boveda_last_end_seconds",
        "Time since a sweep, a scrub's or reclaim's run ended, health was written, a copy made",
        labels=["what"],
    )
    for actor, end in ends.items():
        if end.ended_at is not None:
            age.add_metric([actor.value], max(0.0, now - end.ended_at))
    return age


def _scrubs(nodes: Sequence[Node], scrubs: Mapping[str, Scrub], now: float) -> Iterator[Metric]:
    """A node that was never read whole has no age."""
    coverage = GaugeMetricFamily(
        "boveda_scrub_coverage", "Share of a node's bytes that the present pass of the scrub has read", labels=["node"]
    )
    age = GaugeMetricFamily("boveda_scrub_age_seconds", "Time since a node was last read whole", labels=["node"])
    found = GaugeMetricFamily(
        "boveda_scrub_found", "What the present or last pass found on a node", labels=["node", "what"]
    )
    for node in nodes:
        scrub = scrubs.get(node.id, Scrub(node.id))
        coverage.add_metric([node.spec.name], scrub.coverage)
        if scrub.finished_at is not None:
            age.add_metric([node.spec.name], max(0.0, now - scrub.finished_at))
        for what, count in scrub.found.items():
            found.add_metric([node.spec.name, what], count)
    yield from (coverage, age, found)
