"""Whether those without whom the store does not heal still come to an end, and what to look at where one does not.

By the catalogue's clock. This process must have looked on for as long itself: after a night in which everything was
stopped nothing is late yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from api.http.answers import Document
from api.status.alerts import alert
from api.status.dependencies import DependencyState
from common.model.actors import Actor, LastEnd
from common.model.times import rfc3339
from common.settings import Settings

SILENT_SECONDS: Final = 60.0
SCRUB_SECONDS: Final = 600.0
NAMES: Final = {
    Actor.SWEEP: "sweep-silent",
    Actor.HEALTH: "health-silent",
    Actor.SCRUB: "scrub-late",
    Actor.RECLAIM: "reclaim-late",
    Actor.COPIES: "copies-stalled",
}


def silent(
    ends: Mapping[Actor, LastEnd], now: float, watched: float, looked: DependencyState, settings: Settings
) -> Iterator[Document]:
    """Alerts. `watched`: for how many seconds this process has been looking on."""
    for actor, limit in _limits(settings).items():
        late = ends[actor].late(actor, now)
        if min(late, watched) > limit:
            yield alert(NAMES[actor], now - late, _words(actor, looked))


def last_ends(ends: Mapping[Actor, LastEnd], now: float) -> Document:
    """As `/v1/status` has it."""
    return {actor.value: _document(end, now) for actor, end in ends.items()}


def _document(end: LastEnd, now: float) -> Document:
    age = None if end.ended_at is None else max(0.0, now - end.ended_at)
    return {"ended_at": rfc3339(end.ended_at), "age": age, "awaited_since": rfc3339(end.awaited_since)}


def _limits(settings: Settings) -> Mapping[Actor, float]:
    """Seconds of waiting in vain. A killed worker's copies are free again when its lease is over; a reclaim whose
    message was lost is sent for again an interval later."""
    return {
        Actor.SWEEP: max(SILENT_SECONDS, 10 * settings.sweep_interval),
        Actor.HEALTH: SILENT_SECONDS,
        Actor.SCRUB: max(SCRUB_SECONDS, 2 * settings.lease_seconds),
        Actor.RECLAIM: max(SCRUB_SECONDS, 2 * settings.reclaim_interval),
        Actor.COPIES: max(SILENT_SECONDS, 2 * settings.lease_seconds),
    }


def _words(actor: Actor, looked: DependencyState) -> str:
    if actor is Actor.HEALTH:
        return "no process writes what it sees of the nodes: their health as shown is an old one"
    waits = "the queue is away" if looked.depths is None else None
    if actor is Actor.SWEEP:
        stuck = "the control worker takes no messages" if (looked.depths or {}).get("control") else "beat sends none"
        return f"no sweep comes to its end, so nothing heals by itself: {waits or stuck}"
    if actor is Actor.COPIES:
        stuck = "no worker runs, or nodes refuse them or what they are made from is away"
        return f"copies are missing or suspect, and none is made: {waits or stuck}"
    stuck = "the worker of the queue scrub does not run, or is behind"
    done = "read to find damage" if actor is Actor.SCRUB else "looked through for orphans"
    return f"no node is {done}: {waits or stuck}"
