"""Who stops healing is told of, by the catalogue's clock, and not in the first minute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from api.http.schemas import Status
from api.status.dependencies import DependencyState
from api.status.silence import SCRUB_SECONDS, SILENT_SECONDS, silent
from common.model.actors import Actor, LastEnd
from common.model.times import rfc3339
from common.settings import Settings
from tests.unit.api.conftest import MakeApi

NOW = 1_800_000_000.0
WELL = DependencyState({"control": 0}, None, None, None)
LONG = 10 * 86400.0


def told(
    changes: Mapping[Actor, LastEnd],
    watched: float = LONG,
    looked: DependencyState = WELL,
    settings: Settings | None = None,
) -> Mapping[str, tuple[str, str]]:
    ends = {actor: changes.get(actor, LastEnd(NOW)) for actor in Actor}
    found = silent(ends, NOW, watched, looked, settings or Settings())
    return {str(alert["name"]): (str(alert["since"]), str(alert["detail"])) for alert in found}


LIMITS = {
    Actor.SWEEP: (SILENT_SECONDS, "sweep-silent"),
    Actor.HEALTH: (SILENT_SECONDS, "health-silent"),
    Actor.SCRUB: (SCRUB_SECONDS, "scrub-late"),
    Actor.RECLAIM: (7200.0, "reclaim-late"),
    Actor.COPIES: (120.0, "copies-stalled"),
}


@pytest.mark.parametrize("actor", Actor)
def test_one_that_is_waited_for_and_does_not_end_is_an_alert_since_then(actor: Actor) -> None:
    limit, name = LIMITS[actor]
    for end in (LastEnd(None, NOW - limit - 1), LastEnd(NOW - limit - 1, NOW - limit - 2)):
        assert {key: since for key, (since, _) in told({actor: end}).items()} == {name: rfc3339(NOW - limit - 1)}
    assert told({actor: LastEnd(None, NOW - limit)}) == {}
    assert told({actor: LastEnd(NOW - limit, NOW - 10 * limit)}) == {}, "it ends, and there is more to do"


@pytest.mark.parametrize("actor", [Actor.SCRUB, Actor.RECLAIM, Actor.COPIES])
def test_one_that_has_nothing_to_do_is_never_late(actor: Actor) -> None:
    assert told({actor: LastEnd(NOW - LONG)}) == {}


@pytest.mark.parametrize("actor", [Actor.SWEEP, Actor.HEALTH])
def test_one_that_always_has_is_late_whether_anybody_waits_or_not(actor: Actor) -> None:
    assert told({actor: LastEnd(NOW - LONG)}).keys() == {LIMITS[actor][1]}


def test_a_catalogue_of_which_nothing_is_known_yet_is_no_alert() -> None:
    assert told({actor: LastEnd() for actor in Actor}) == {}


def test_after_a_night_in_which_all_was_stopped_nothing_is_late_before_it_could_have_ended() -> None:
    night = {actor: LastEnd(NOW - 30_000, NOW - 29_000) for actor in Actor}
    assert told(night, watched=59.0) == {}
    assert told(night, watched=61.0).keys() == {"sweep-silent", "health-silent"}
    assert told(night, watched=8000.0).keys() == {name for _, name in LIMITS.values()}


def test_a_clock_that_was_set_back_is_no_alert() -> None:
    assert told({actor: LastEnd(NOW + 3600, NOW + 3600) for actor in Actor}) == {}


@pytest.mark.parametrize(
    ("depths", "words"),
    [({"control": 0}, "beat sends none"), ({"control": 1}, "control worker"), (None, "the queue is away")],
)
def test_a_silent_sweep_says_whom_to_look_at(depths: Mapping[str, int] | None, words: str) -> None:
    _, detail = told({Actor.SWEEP: LastEnd(NOW - 100)}, looked=DependencyState(depths, None, None, None))[
        "sweep-silent"
    ]
    assert words in detail


def test_intervals_that_were_set_are_waited_for() -> None:
    slow = Settings(sweep_interval=60, reclaim_interval=86400, lease_seconds=600)
    ends = {
        Actor.SWEEP: LastEnd(NOW - 599),
        Actor.RECLAIM: LastEnd(None, NOW - 2 * 86400),
        Actor.COPIES: LastEnd(None, NOW - 1199),
    }
    assert told(ends, settings=slow) == {}


def test_status_and_metrics_show_when_each_ended_last(make_api: MakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    time = [NOW]
    api = make_api(clock=lambda: time[0])
    api.catalogue.last_ends.ended(Actor.SWEEP)
    api.catalogue.last_ends.wait_for({Actor.COPIES: True})
    time[0] += 125
    status = Status.model_validate_json(api.client.get("/v1/status").data)
    sweep, copies = status.last_ends.sweep, status.last_ends.copies
    assert (sweep.ended_at, sweep.age, sweep.awaited_since) == (rfc3339(NOW), 125.0, None)
    assert (copies.ended_at, copies.age, copies.awaited_since) == (None, None, rfc3339(NOW))
    names = {"sweep-silent", "copies-stalled"}
    assert names & {alert.name for alert in status.alerts} == set(), "this process has just begun to look"
    monkeypatch.setattr(api.services.dependencies, "_began", api.services.dependencies._began - 125)
    alerts: list[dict[str, Any]] = api.client.get("/v1/status").get_json()["alerts"]
    assert names <= {alert["name"] for alert in alerts}
    assert 'boveda_last_end_seconds{what="sweep"} 125.0' in api.client.get("/metrics").text
