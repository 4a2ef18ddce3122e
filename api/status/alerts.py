"""What needs a person's eye now, each with the moment since when, where one is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from api.http.answers import Document
from api.status.dependencies import DependencyState
from common.catalogue.status import StatusCounts
from common.model.nodes import Node, NodeHealth, NodeMode
from common.model.scrubbing import Scrub
from common.model.times import rfc3339


def alerts(
    nodes: Sequence[Node],
    counts: StatusCounts,
    looked: DependencyState,
    scrubs: Mapping[str, Scrub],
    locked: Mapping[str, int],
) -> Iterator[Document]:
    yield from _unreachable([node for node in nodes if node.mode is not NodeMode.RETIRED])
    for node in nodes:
        reclaimed = scrubs.get(node.id, Scrub(node.id)).reclaimed
        if reclaimed.stopped is not None:
            yield alert("reclaim-stopped", reclaimed.at, f"node {node.spec.name}: {reclaimed.stopped}")
        if node.id in locked:
            names = f"{locked[node.id]} names that it can neither read nor delete; their copies lie elsewhere"
            what = "remove them on its disk, then start a reclaim job"
            yield alert("names-locked", None, f"node {node.spec.name} has {names}: {what}")
        if node.health in (NodeHealth.DOWN, NodeHealth.FOREIGN) and node.mode is not NodeMode.RETIRED:
            yield alert(f"node-{node.health.value}", node.since, f"node {node.spec.name}")
    if looked.depths is None:
        yield alert("queue-unavailable", looked.queue_away_since, "uploads go on; copies wait for the queue")
    if counts.dead_letters:
        yield alert("dead-letters", counts.dead_since, f"{counts.dead_letters} copies need a look")
    if counts.objects.get("unavailable"):
        yield alert("objects-unavailable", None, f"{counts.objects['unavailable']} objects")
    if looked.keys_away is not None:
        yield alert("keys-unavailable", looked.keys_away_since, looked.keys_away)


def _unreachable(nodes: Sequence[Node]) -> Iterator[Document]:
    """Nodes that do not show themselves, whatever the reason is believed to be. Where none does, that is one alert."""
    if nodes and not any(node.reachable for node in nodes):
        since = max(node.since if node.unreachable_since is None else node.unreachable_since for node in nodes)
        errors = sorted({node.last_error for node in nodes if node.last_error})
        yield alert("nodes-unreachable", since, f"no node answers: {'; '.join(errors) or 'none showed itself yet'}")
        return
    for node in nodes:
        if node.in_service and not node.reachable:
            yield alert("node-unreachable", node.unreachable_since, f"node {node.spec.name}: {node.last_error}")


def alert(name: str, since: float | None, detail: str) -> Document:
    """As `/v1/status` has it."""
    return {"name": name, "since": rfc3339(since), "detail": detail}
