"""When a server's disk counts as gone from under it, and what becomes of the server."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cli.cluster.supervisor.child import Child, State
from cli.cluster.supervisor.diskwatch import LOOK_SECONDS, LOOKS, DiskWatch
from tests.support.waiting import wait_until
from tests.unit.cli.cluster.fakes import SLEEPS, spec


class Looking:
    """A disk with its mark, and a watch whose clock runs."""

    def __init__(self, folder: Path) -> None:
        self.disk = folder / "disk"
        self.disk.mkdir()
        self.mark = self.disk / "mark"
        self.mark.write_text("one")
        self._watch = DiskWatch(self.mark)
        self._now = 0.0

    def begin(self) -> None:
        self._watch.begin()

    def finds(self, looks: int = LOOKS) -> list[bool]:
        found = []
        for _ in range(looks):
            self._now += LOOK_SECONDS
            found.append(self._watch.gone(self._now))
        return found


@pytest.fixture
def looking(tmp_path: Path) -> Looking:
    made = Looking(tmp_path)
    assert made.finds(3) == [False] * 3
    return made


def emptied(looking: Looking) -> None:
    looking.mark.unlink()


def moved_away(looking: Looking) -> None:
    looking.disk.rename(looking.disk.with_name("elsewhere"))


def replaced(looking: Looking) -> None:
    moved_away(looking)
    looking.disk.mkdir()
    looking.mark.write_text("two")


def a_file(looking: Looking) -> None:
    shutil.rmtree(looking.disk)
    looking.disk.write_text("")


@pytest.mark.parametrize("happening", [emptied, moved_away, replaced, a_file], ids=lambda it: it.__name__)
def test_a_disk_that_is_found_gone_twice_in_a_row_is_gone(
    looking: Looking, happening: Callable[[Looking], None]
) -> None:
    happening(looking)
    assert looking.finds() == [False, True]


def test_a_mark_that_is_away_for_a_moment_is_there(looking: Looking) -> None:
    for _ in range(3):
        looking.mark.unlink()
        assert looking.finds(1) == [False]
        looking.mark.write_text("one")
        assert looking.finds(1) == [False]


def test_a_disk_that_cannot_be_looked_at_is_not_gone(looking: Looking) -> None:
    looking.mark.unlink()
    looking.mark.mkdir()
    assert looking.finds(5) == [False] * 5


def test_a_server_on_an_empty_disk_makes_its_mark_first(tmp_path: Path) -> None:
    looking = Looking(tmp_path)
    looking.mark.unlink()
    assert looking.finds(5) == [False] * 5
    looking.mark.write_text("new")
    assert looking.finds(5) == [False] * 5
    looking.mark.unlink()
    assert looking.finds() == [False, True]


def test_a_server_that_starts_anew_has_the_disk_that_is_there_now(looking: Looking) -> None:
    looking.mark.write_text("two")
    looking.begin()
    assert looking.finds(5) == [False] * 5


def test_a_server_without_a_mark_is_left_alone() -> None:
    assert not DiskWatch(None).gone(1e9)


def test_a_server_whose_disk_is_gone_is_killed_and_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.cluster.supervisor.diskwatch.LOOK_SECONDS", 0.0)
    mark = tmp_path / "mark"
    mark.write_text("one")
    plain = spec(tmp_path, "node1", SLEEPS)
    child = Child(replace(plain, launch=replace(plain.launch, mark=mark)))
    said = [child.start()]
    first = child.pid
    assert [child.poll() for _ in range(5)] == [""] * 5
    mark.unlink()

    def again() -> bool:
        said.append(child.poll())
        return child.state is State.RUNNING and child.pid != first

    wait_until(again)
    told = [line for line in said if line]
    assert "its disk is gone" in told[1]
    assert "died (SIGKILL), starts again in 0.5 s" in told[2]
    child.end(signal.SIGKILL)
    wait_until(lambda: (child.poll(), child.state is State.DOWN)[1])
