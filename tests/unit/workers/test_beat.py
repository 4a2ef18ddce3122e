"""A sweep is sent for again and again, whatever the time of day is said to be, and one message at a time."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from common.model.actors import Actor
from common.queue.base import Queue, TaskName
from common.queue.memory import MemoryQueue
from tests.unit.workers.rig import Rig
from workers.beat import Beat


class Running:
    """Beat at its turns: it sleeps for as long as it says."""

    def __init__(self, interval: float = 2.0) -> None:
        self.queue = MemoryQueue()
        self.now = 1000.0
        self.beat = Beat(self.queue, interval, lambda: self.now)

    def turns(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += self.beat.turn()

    def taken(self) -> int:
        count = 0
        while (message := self.queue.take(Queue.CONTROL)) is not None:
            assert message == (TaskName.SWEEP, ())
            count += 1
        return count


def test_a_sweep_is_sent_for_every_interval_beginning_now() -> None:
    running = Running()
    sent = []
    for _ in range(5):
        running.now += running.beat.turn()
        sent.append(running.taken())
    assert sent == [1] * 5
    assert running.now == pytest.approx(1010)


def test_while_nobody_takes_the_message_no_other_follows() -> None:
    running = Running()
    running.turns(3600)
    assert running.taken() == 1
    running.turns(3)
    assert running.taken() == 1


def test_a_machine_that_slept_catches_nothing_up() -> None:
    running = Running()
    running.turns(1)
    running.now += 86400
    running.turns(1)
    assert running.taken() == 1


def test_an_hour_without_the_queue_is_a_line_in_the_log_and_its_return_another() -> None:
    running = Running()
    running.queue.down = True
    with capture_logs() as logs:
        running.turns(3600)
        running.queue.down = False
        running.turns(4)
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("beat_queue_away", "warning"),
        ("beat_queue_back", "info"),
    ]
    assert running.taken() == 1


def test_an_error_that_nobody_foresaw_ends_no_beat_and_is_told_once() -> None:
    running = Running()
    publish = running.queue.publish
    running.queue.publish = lambda *_: [][0]  # type: ignore[method-assign]
    with capture_logs() as logs:
        running.turns(3600)
        running.queue.publish = publish  # type: ignore[method-assign]
        running.turns(4)
    assert [line["event"] for line in logs] == ["beat_unexpected", "beat_queue_back"]
    assert running.taken() == 1


# -- the other end


def test_a_sweep_that_follows_on_the_heels_of_another_does_nothing(rig: Rig) -> None:
    rig.worker.sweep.asked()
    first = rig.clock.now
    rig.put("a")
    rig.clock.now += rig.settings.sweep_interval / 4
    rig.worker.sweep.asked()
    assert rig.catalogue.last_ends.all()[Actor.SWEEP].ended_at == first
    rig.clock.now += rig.settings.sweep_interval / 2
    rig.worker.sweep.asked()
    assert rig.catalogue.last_ends.all()[Actor.SWEEP].ended_at == rig.clock.now


def test_a_clock_that_was_ahead_once_keeps_no_sweep_away(rig: Rig) -> None:
    rig.worker.sweep.asked()
    rig.clock.now -= 3 * 3600
    rig.worker.sweep.asked()
    assert rig.catalogue.last_ends.all()[Actor.SWEEP].ended_at == rig.clock.now
