"""Who heals notes its end, the sweep what is waited for: so it shows who stands still, and nobody who only rests."""

from __future__ import annotations

import pytest

from common.model.actors import Actor, LastEnd
from common.model.nodes import NodeHealth, NodeMode
from common.model.versions import Preconditions
from common.queue.base import Queue, TaskName
from tests.unit.workers.rig import Rig

COPIES, SCRUB, RECLAIM, SWEEP = Actor.COPIES, Actor.SCRUB, Actor.RECLAIM, Actor.SWEEP


def end(rig: Rig, actor: Actor) -> LastEnd:
    return rig.catalogue.last_ends.all()[actor]


def sweep(rig: Rig, seconds: float = 25) -> float:
    """Later, a pass; when that was."""
    rig.clock.now += seconds
    rig.worker.sweep()
    return rig.clock.now


def test_a_pass_notes_its_end_whatever_failed_in_it(rig: Rig) -> None:
    first = sweep(rig)
    assert end(rig, SWEEP).ended_at == first
    rig.queue.down = True
    with pytest.raises(ExceptionGroup):
        sweep(rig)
    assert end(rig, SWEEP).ended_at == rig.clock.now


def test_copies_are_waited_for_until_one_is_made_and_no_longer_than_some_are_missing(rig: Rig) -> None:
    sweep(rig)
    assert end(rig, COPIES) == LastEnd()
    rig.put("a")
    first = sweep(rig)
    sweep(rig)
    assert end(rig, COPIES) == LastEnd(None, first), "since the first pass that found them"
    while rig.work():
        pass
    made = end(rig, COPIES)
    assert made == LastEnd(rig.clock.now)
    sweep(rig)
    assert end(rig, COPIES) == made


@pytest.mark.parametrize("mode", [NodeMode.PAUSED, NodeMode.ACTIVE])
def test_copies_for_a_node_that_is_away_or_paused_are_waited_for_by_nobody(rig: Rig, mode: NodeMode) -> None:
    rig.put("a", nodes=rig.ids[:2])
    assert sweep(rig) == end(rig, COPIES).awaited_since
    rig.change(1, NodeHealth.DOWN if mode is NodeMode.ACTIVE else NodeHealth.UP, mode)
    sweep(rig)
    assert end(rig, COPIES).awaited_since is None


def test_a_deleted_object_is_waited_for_no_more(rig: Rig) -> None:
    rig.put("a")
    sweep(rig)
    rig.catalogue.objects.delete("papers", "a", Preconditions())
    sweep(rig)
    assert end(rig, COPIES) == LastEnd()


def test_a_scrub_that_is_due_is_waited_for_until_a_run_ends(rig: Rig) -> None:
    for node_id in rig.ids:
        rig.identify(node_id)
    first = sweep(rig)
    assert end(rig, SCRUB) == LastEnd(None, first)
    sweep(rig)
    assert end(rig, SCRUB).awaited_since == first
    rig.rounds()
    assert end(rig, SCRUB) == LastEnd(rig.clock.now)


def test_nodes_that_are_not_scrubbed_are_not_waited_for(rig: Rig) -> None:
    sweep(rig)
    rig.change(0, mode=NodeMode.PAUSED)
    rig.change(1, NodeHealth.DOWN)
    rig.change(2, mode=NodeMode.RETIRED)
    sweep(rig)
    assert end(rig, SCRUB) == LastEnd()


def test_a_run_that_finds_another_one_at_its_node_is_no_end(rig: Rig) -> None:
    for node_id in rig.ids:
        rig.identify(node_id)
    sweep(rig)
    for node_id in rig.ids:
        assert rig.catalogue.leases.acquire(f"scrub:{node_id}", "one that hangs", 3600)
        assert rig.catalogue.leases.acquire(f"reclaim:{node_id}", "one that hangs", 3600)
    rig.rounds()
    assert (end(rig, SCRUB).ended_at, end(rig, RECLAIM).ended_at) == (None, None)


def test_a_reclaim_is_waited_for_from_when_it_was_sent_for_until_a_run_ends(rig: Rig) -> None:
    for node_id in rig.ids:
        rig.identify(node_id)
    first = sweep(rig)
    assert end(rig, RECLAIM) == LastEnd(None, first)
    rig.waiting(Queue.SCRUB)  # the messages are lost
    sweep(rig)
    assert end(rig, RECLAIM).awaited_since == first
    rig.queue.publish(TaskName.RECLAIM, rig.ids[:1])
    rig.rounds()
    assert end(rig, RECLAIM) == LastEnd(rig.clock.now)


def test_a_reclaim_is_waited_for_no_more_when_no_node_may_be_looked_at(rig: Rig) -> None:
    sweep(rig)
    for number in range(3):
        rig.change(number, mode=NodeMode.PAUSED)
    sweep(rig)
    assert end(rig, RECLAIM) == LastEnd()
