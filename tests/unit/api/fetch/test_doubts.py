"""What a node fails at is handed to a worker, within bounds."""

from __future__ import annotations

from api.fetch.doubts import AGAIN_SECONDS, IN_A_SECOND, LATE_TIMES, REMEMBERED, Doubts
from common.queue.base import TaskName
from tests.unit.api.use_cases.world import Enqueued


class Stage:
    def __init__(self) -> None:
        self.now = 1000.0
        self.queue = Enqueued()
        self.doubts = Doubts(self.queue, lambda: self.now)

    @property
    def handed_on(self) -> list[str]:
        return self.queue.ids.get(TaskName.DOUBT, [])


def test_a_blob_is_not_handed_on_again_at_once() -> None:
    stage = Stage()
    for _ in range(5):
        stage.doubts.raise_on("a")
    assert stage.handed_on == ["a"]
    stage.now += AGAIN_SECONDS
    stage.doubts.raise_on("a")
    assert stage.handed_on == ["a", "a"]


def test_only_so_many_blobs_are_handed_on_in_a_second() -> None:
    stage = Stage()
    for number in range(3 * IN_A_SECOND):
        stage.doubts.raise_on(f"blob {number}")
    assert len(stage.handed_on) == IN_A_SECOND
    stage.now += 1.0
    stage.doubts.raise_on("another")
    assert stage.handed_on[-1] == "another"


def test_what_is_remembered_is_bounded_and_the_oldest_is_forgotten_first() -> None:
    stage = Stage()
    for number in range(REMEMBERED + 1):
        stage.doubts.raise_on(f"blob {number}")
        stage.now += 0.05
        if number % IN_A_SECOND == 0:
            stage.now += 1.0
    before = len(stage.handed_on)
    stage.now -= 2000.0  # within a minute of all of them
    stage.doubts.raise_on(f"blob {REMEMBERED}")
    assert len(stage.handed_on) == before


def test_a_blob_that_is_late_again_and_again_is_handed_on() -> None:
    stage = Stage()
    for _ in range(LATE_TIMES - 1):
        stage.doubts.late("a")
        stage.doubts.late("b")
    assert stage.handed_on == []
    stage.doubts.late("a")
    assert stage.handed_on == ["a"]
    stage.doubts.late("a")
    assert stage.handed_on == ["a"], "it is counted anew"
