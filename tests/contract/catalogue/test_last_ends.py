"""Who heals writes down when it ended; the sweep, what is waited for."""

from __future__ import annotations

from common.catalogue.migrate import upgrade
from common.catalogue.sql import SqlCatalogue
from common.model.actors import Actor, LastEnd
from common.model.nodes import NodeHealth
from tests.contract.catalogue.stage import Stage

SCRUB, SWEEP, HEALTH, COPIES = Actor.SCRUB, Actor.SWEEP, Actor.HEALTH, Actor.COPIES


def test_nothing_is_known_of_those_that_never_ended_and_nobody_waits_for(catalogue: SqlCatalogue) -> None:
    outcomes = catalogue.last_ends.all()
    assert [outcomes[actor] for actor in (SCRUB, Actor.RECLAIM, COPIES)] == [LastEnd()] * 3
    assert {end.ended_at for end in outcomes.values()} == {None}


def test_an_end_is_dated_by_the_catalogue_and_ends_the_waiting(catalogue: SqlCatalogue) -> None:
    before = catalogue.now()
    catalogue.last_ends.wait_for({SCRUB: True})
    waited = catalogue.last_ends.all()[SCRUB].awaited_since
    assert waited is not None
    assert before <= waited <= catalogue.now()
    catalogue.last_ends.wait_for({SCRUB: True})
    assert catalogue.last_ends.all()[SCRUB] == LastEnd(None, waited), "since the first time"
    catalogue.last_ends.ended(SCRUB)
    ended = catalogue.last_ends.all()[SCRUB]
    assert ended.awaited_since is None
    assert ended.ended_at is not None
    assert waited <= ended.ended_at <= catalogue.now()
    catalogue.last_ends.ended(SCRUB)
    assert (catalogue.last_ends.all()[SCRUB].ended_at or 0) >= ended.ended_at
    assert catalogue.last_ends.all()[COPIES] == LastEnd()


def test_what_is_not_waited_for_any_more_keeps_its_last_end(catalogue: SqlCatalogue) -> None:
    catalogue.last_ends.ended(SCRUB)
    ended = catalogue.last_ends.all()[SCRUB].ended_at
    catalogue.last_ends.wait_for({SCRUB: True, COPIES: True})
    catalogue.last_ends.wait_for({SCRUB: False})
    assert catalogue.last_ends.all()[SCRUB] == LastEnd(ended)
    assert catalogue.last_ends.all()[COPIES].awaited_since is not None


def test_health_ends_where_the_verdict_is_written_and_not_where_the_lease_is_lost(catalogue: SqlCatalogue) -> None:
    stage = Stage(catalogue)
    first = catalogue.last_ends.all()[HEALTH].ended_at
    assert first is not None
    assert not catalogue.nodes.write_health({stage.nodes[0]: (NodeHealth.UP, None, None)}, "another")
    assert catalogue.last_ends.all()[HEALTH].ended_at == first
    assert catalogue.nodes.write_health({stage.nodes[0]: (NodeHealth.UP, None, None)}, "test")
    assert (catalogue.last_ends.all()[HEALTH].ended_at or 0) > first


def test_a_migrated_catalogue_waits_for_its_first_sweep_and_the_next_migration_changes_nothing(
    catalogue: SqlCatalogue,
) -> None:
    upgrade(catalogue)
    outcomes = catalogue.last_ends.all()
    assert {actor for actor, end in outcomes.items() if end.awaited_since is not None} == {SWEEP, HEALTH}
    catalogue.last_ends.ended(SWEEP)
    before = catalogue.last_ends.all()
    upgrade(catalogue)
    assert catalogue.last_ends.all() == before
