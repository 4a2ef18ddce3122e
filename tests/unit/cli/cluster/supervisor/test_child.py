"""One supervised process: back-off, the end by request, and what it leaves behind."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from cli.cluster.host.processes import ProcessIdentity, members
from cli.cluster.supervisor import child as module
from cli.cluster.supervisor.child import Child, State, delay
from tests.support.waiting import wait_until
from tests.unit.cli.cluster.fakes import DEAF, DIES, SLEEPS, spec


def _polled(child: Child, state: State) -> None:
    wait_until(lambda: (child.poll(), child.state is state)[1])


@pytest.mark.parametrize(("deaths", "seconds"), [(1, 0.5), (2, 1), (3, 2), (6, 16), (7, 30), (8, 30), (5000, 30)])
def test_the_back_off_doubles_up_to_half_a_minute(deaths: int, seconds: float) -> None:
    assert delay(deaths) == seconds


def test_what_dies_is_started_again_after_a_while(tmp_path: Path) -> None:
    child = Child(spec(tmp_path, "worker1", SLEEPS))
    assert child.start().startswith("started")
    first = child.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    _polled(child, State.WAITING)
    assert child.pid is None
    _polled(child, State.RUNNING)
    assert child.pid not in (None, first)
    assert child.restarts == 1
    child.end(signal.SIGKILL)
    _polled(child, State.DOWN)


def test_each_death_in_a_row_waits_longer_until_one_run_was_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_DELAY", 0.01)
    child = Child(spec(tmp_path, "worker1", DIES))
    said = [child.start()]
    while len(said) < 8:
        if what := child.poll():
            said.append(what)
    waits = [line.split("starts again in ")[1].split(" s")[0] for line in said if "again" in line]
    assert waits[:3] == ["0.01", "0.02", "0.04"]
    assert "died (status 3)" in said[1]
    monkeypatch.setattr(module, "LONG_RUN", 0.0)
    last = ""
    while "again" not in last:
        last = child.poll()
    assert "again in 0.01 s" in last
    child.end(signal.SIGKILL)


def test_what_was_ended_stays_down(tmp_path: Path) -> None:
    child = Child(spec(tmp_path, "worker1", SLEEPS))
    child.start()
    child.end()
    _polled(child, State.DOWN)
    assert child.poll() == ""
    assert child.state is State.DOWN


def test_what_waits_for_its_restart_can_be_ended_and_started(tmp_path: Path) -> None:
    child = Child(spec(tmp_path, "worker1", DIES))
    child.start()
    _polled(child, State.WAITING)
    child.end()
    assert child.state is State.DOWN
    assert child.start().startswith("started")
    child.end(signal.SIGKILL)
    _polled(child, State.DOWN)


def test_what_does_not_end_when_asked_to_is_killed_after_its_grace(tmp_path: Path) -> None:
    child = Child(spec(tmp_path, "worker1", DEAF, grace=0.2))
    child.start()
    wait_until(lambda: "deaf" in child.spec.log.read_text())
    child.end()
    _polled(child, State.DOWN)
    assert child.status == -signal.SIGKILL


def test_what_hangs_is_woken_to_end(tmp_path: Path) -> None:
    child = Child(spec(tmp_path, "worker1", SLEEPS, grace=30))
    child.start()
    assert child.pid is not None
    os.kill(child.pid, signal.SIGSTOP)
    child.end()
    _polled(child, State.DOWN)
    assert child.status == -signal.SIGTERM


def test_the_children_of_a_killed_process_end_with_it(tmp_path: Path) -> None:
    child = Child(spec(tmp_path, "api", "sleep 600 & sleep 600 & wait"), restart=False)
    child.start()
    leader = child.identity
    assert leader is not None
    wait_until(lambda: len(members(leader)) == 3)
    os.kill(leader.pid, signal.SIGKILL)
    _polled(child, State.DOWN)
    wait_until(lambda: not members(leader))


def test_a_program_that_is_not_there_is_tried_again(tmp_path: Path) -> None:
    there = spec(tmp_path, "node1", SLEEPS)
    child = Child(replace(there, launch=replace(there.launch, argv=("/nowhere/minio",))))
    assert "cannot be started" in child.start()
    assert child.state is State.WAITING


def test_a_large_log_is_set_aside_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOG_MAX", 10)
    child = Child(spec(tmp_path, "worker1", "echo new; exec sleep 600"))
    child.spec.log.write_text("x" * 11)
    child.start()
    wait_until(lambda: child.spec.log.read_text() == "new\n")
    assert child.spec.log.with_suffix(".log.1").read_text() == "x" * 11
    child.end(signal.SIGKILL)
    _polled(child, State.DOWN)


def test_a_pid_with_another_start_time_is_another_process() -> None:
    me = ProcessIdentity.of(os.getpid())
    assert me is not None
    assert me.alive()
    assert not ProcessIdentity(me.pid, me.started + "1").alive()
    assert members(ProcessIdentity(os.getsid(0), f"another-boot:{0}")) == []
