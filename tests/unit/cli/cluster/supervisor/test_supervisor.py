"""The supervisor with processes that stand in for servers: order, requests, signals, a hung holder of the lock."""

from __future__ import annotations

import fcntl
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from cli.cluster.home import layout, state
from cli.cluster.home.home import Home, HomeLock
from cli.cluster.home.plan import ClusterPlan, Spec
from cli.cluster.host.lockwatch import stuck_holder
from cli.cluster.host.processes import ProcessIdentity
from cli.cluster.supervisor import control
from common.errors import Conflict, NotAllowed, Unavailable
from tests.support.servers import free_port
from tests.support.waiting import wait_until
from tests.unit.cli.cluster.fakes import DEAF, SLEEPS, serving, spec

PROGRAM = """
import sys, pickle
from pathlib import Path
from cli.cluster.board import Plain
from cli.cluster.supervisor.supervisor import Supervisor
plan = pickle.loads(Path(sys.argv[1]).read_bytes())
sys.exit(Supervisor(plan, Plain(plan.url, plan.home.log("cluster"), quiet=True)).run())
"""


class Run:
    """A supervisor in a process of its own, as it always is."""

    def __init__(self, plan: ClusterPlan) -> None:
        self.home = plan.home
        self.home.make()
        packed = self.home.path / "plan"
        packed.write_bytes(pickle.dumps(plan))
        self.process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(packed)], start_new_session=True)

    @property
    def log(self) -> str:
        path = self.home.log("cluster")
        return path.read_text() if path.exists() else ""

    @property
    def rows(self) -> dict[str, state.ProcessRow]:
        found = state.read(self.home)
        return {row.name: row for row in found.rows} if found else {}

    def ask(self, action: str, name: str) -> None:
        found = state.read(self.home)
        assert found is not None
        control.ask(found.control, action, name)

    def pid(self, name: str) -> int | None:
        row = self.rows.get(name)
        return row.identity.pid if row and row.identity else None

    def signalled(self, how: signal.Signals) -> bool:
        """Send it this signal once more; whether it is gone."""
        self.process.send_signal(how)  # nothing, once it is
        return self.process.poll() is not None

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


Start = Callable[[ClusterPlan], Run]


@pytest.fixture
def plan(tmp_path: Path) -> ClusterPlan:
    """Two servers, two things to do first, an API that is ready and two more processes."""
    home = Home.of(tmp_path / "home")
    home.make()
    port = free_port()
    for path in ("healthz", "readyz"):
        (home.logs / path).write_text("{}")
    setup = [spec(home.logs, "migrate", "exit 0", "setup"), spec(home.logs, "keys", "exit 0", "setup")]
    ours = [serving(home.logs, "api", port), spec(home.logs, "worker1", SLEEPS), spec(home.logs, "beat", SLEEPS)]
    return ClusterPlan(
        home, f"http://127.0.0.1:{port}", "localhost", [_server(home, "node1"), _server(home, "queue")], setup, ours
    )


def _server(home: Home, name: str) -> Spec:
    return serving(home.logs, name, free_port(), "node")


@pytest.fixture
def start() -> Iterator[Start]:
    """Start supervisors; whatever the test comes to, they and all of theirs are ended."""
    started: list[Run] = []

    def begin(plan: ClusterPlan) -> Run:
        started.append(Run(plan))
        return started[-1]

    yield begin
    for run in started:
        # A second signal ends what does not want to.
        wait_until(partial(run.signalled, signal.SIGTERM))


@pytest.fixture
def run(plan: ClusterPlan, start: Start) -> Run:
    return start(plan)


def _replaced(specs: Sequence[Spec], new: Spec) -> list[Spec]:
    return [new if old.name == new.name else old for old in specs]


def test_everything_is_started_in_order_and_ended_in_order(run: Run) -> None:
    wait_until(lambda: "up at" in run.log)
    started = [line.split()[2] for line in run.log.splitlines() if "started" in line]
    assert started == ["node1:", "queue:", "api:", "worker1:", "beat:"]
    pids = [run.pid(name) for name in run.rows]
    assert all(pids)
    assert run.end() == 0
    ended = [line.split()[2] for line in run.log.splitlines() if "stopped" in line]
    assert ended[0] == "api:"
    assert set(ended[1:3]) == {"worker1:", "beat:"}
    assert set(ended[3:]) == {"node1:", "queue:"}
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert all(row.identity is None for row in run.rows.values())


def test_what_dies_comes_back_and_what_was_stopped_or_killed_does_not(run: Run) -> None:
    wait_until(lambda: "up at" in run.log)
    first = run.pid("worker1")
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: run.pid("worker1") not in (None, first))
    assert run.rows["worker1"].restarts == 1
    for action in ("stop", "kill"):
        run.ask(action, "worker1")
        wait_until(lambda: run.pid("worker1") is None)
        run.ask("start", "worker1")
        wait_until(lambda: run.pid("worker1") is not None)
    run.ask("stop", "worker1")
    wait_until(lambda: run.pid("worker1") is None)
    time_of = run.home.state.stat().st_mtime_ns
    run.ask("stop", "worker1")  # once more changes nothing
    assert run.pid("worker1") is None
    assert run.home.state.stat().st_mtime_ns == time_of
    with pytest.raises(NotAllowed):
        run.ask("stop", "nobody")
    with pytest.raises(NotAllowed):
        run.ask("dance", "worker1")


def test_a_storage_node_joins_and_leaves_while_the_others_run(
    plan: ClusterPlan, start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "minio"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("BOVEDA_MINIO", str(program))
    layout.establish(plan.home, 1, "minio")
    run = start(plan)
    wait_until(lambda: "up at" in run.log)
    before = {name: run.pid(name) for name in run.rows}
    run.ask("add", "node2")
    wait_until(lambda: run.pid("node2") is not None)
    assert set(run.rows) == {*before, "node2"}
    row = run.rows["node2"]
    assert (row.kind, row.bucket) == ("node", layout.BUCKET)
    assert row.credentials is not None
    assert Path(row.credentials).exists()
    for action, name in (("add", "node2"), ("add", "api"), ("add", "../x"), ("remove", "node2"), ("remove", "node9")):
        with pytest.raises(NotAllowed):  # there already, no node's name, still running, not there
            run.ask(action, name)
    run.ask("stop", "worker1")
    wait_until(lambda: run.pid("worker1") is None)
    with pytest.raises(NotAllowed):
        run.ask("remove", "worker1")
    run.ask("stop", "node2")
    wait_until(lambda: run.pid("node2") is None)
    run.ask("remove", "node2")
    assert "node2" not in run.rows
    known = layout.read(plan.home)
    assert known is not None
    assert list(known.nodes) == ["node1"]
    assert {name: run.pid(name) for name in run.rows} == before | {"worker1": None}


def test_a_storage_node_that_joined_ends_with_the_cluster(
    plan: ClusterPlan, start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "minio"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("BOVEDA_MINIO", str(program))
    layout.establish(plan.home, 1, "minio")
    run = start(plan)
    wait_until(lambda: "up at" in run.log)
    run.ask("add", "node2")
    wait_until(lambda: run.pid("node2") is not None)
    pid = run.pid("node2")
    assert run.end() == 0
    assert not Path(f"/proc/{pid}").exists()


def test_nothing_of_ours_is_started_when_what_must_be_done_first_fails(plan: ClusterPlan, start: Start) -> None:
    broken = spec(plan.home.logs, "migrate", "echo the reason; exit 1", "setup")
    run = start(replace(plan, setup=_replaced(plan.setup, broken)))
    assert run.process.wait(20) == 1
    assert "migrate failed" in run.log
    assert "the reason" in run.log
    assert "api: started" not in run.log
    assert all(row.identity is None for row in run.rows.values())


def test_a_second_signal_ends_even_what_does_not_want_to_at_once(plan: ClusterPlan, start: Start) -> None:
    deaf = spec(plan.home.logs, "worker1", DEAF, grace=600)
    run = start(replace(plan, ours=_replaced(plan.ours, deaf)))
    wait_until(lambda: "up at" in run.log)
    pid = run.pid("worker1")
    run.process.send_signal(signal.SIGINT)
    wait_until(lambda: "beat: stopped" in run.log)
    # Those that come within a moment are taken for the first one, sent twice.
    wait_until(lambda: "worker1: stopped" in run.log or run.signalled(signal.SIGINT))
    assert run.process.wait(20) == 0
    assert not Path(f"/proc/{pid}").exists()


def test_whoever_keeps_the_catalogues_lock_is_ended_if_it_is_ours(plan: ClusterPlan, start: Start) -> None:
    lock = plan.home.writer_lock
    program = (
        f"import fcntl, os, time; f = open({str(lock)!r}, 'w'); fcntl.flock(f, fcntl.LOCK_EX);"
        "f.write(str(os.getpid())); f.flush(); os.utime(f.fileno(), (1, 1)); time.sleep(600)"
    )
    holder = spec(plan.home.logs, "worker1", f'exec {sys.executable} -c "{program}"')
    run = start(replace(plan, ours=_replaced(plan.ours, holder)))
    wait_until(lambda: "keeps the catalogue's lock" in run.log)
    wait_until(lambda: run.rows["worker1"].restarts > 0)
    assert run.end() == 0


def test_a_lock_is_stuck_only_when_it_is_held_and_old(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db.lock"
    assert stuck_holder(path) is None
    path.write_text("42\n")
    written = path.stat().st_mtime
    assert stuck_holder(path, written + 11) is None, "left by a killed holder: nobody has it"
    with path.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert stuck_holder(path, written + 9) is None
        assert stuck_holder(path, written + 11) == 42
        file.truncate(0)
        assert stuck_holder(path, written + 11) is None


def test_a_home_is_held_by_one_until_that_one_is_gone(tmp_path: Path) -> None:
    home = Home.of(tmp_path)
    first, second = HomeLock(home), HomeLock(home)
    first.take()
    with pytest.raises(Conflict):
        second.take()
    first.leave()
    second.take()
    second.leave()


def test_a_path_too_long_for_a_socket_gives_a_private_folder_that_goes_with_it(tmp_path: Path) -> None:
    home = Home.of(tmp_path / ("x" * 120))
    path = home.socket()
    assert len(os.fsencode(path)) <= 107
    assert path.parent.stat().st_mode & 0o077 == 0
    done: list[control.Request] = []

    def refuse(request: control.Request) -> str:
        done.append(request)
        return "no"

    def serve() -> None:
        while not done:
            listener.serve()

    listener = control.Listener(path, refuse)
    assert path.stat().st_mode & 0o077 == 0
    server = threading.Thread(target=serve)
    server.start()
    with pytest.raises(NotAllowed):
        control.ask(str(path), "stop", "api")
    server.join()
    assert done == [control.Request("stop", "api")]
    listener.close()
    assert not path.parent.exists()
    with pytest.raises(Unavailable):
        control.ask(str(path), "stop", "api")


def test_wiping_leaves_what_is_not_ours(tmp_path: Path) -> None:
    home = Home.of(tmp_path / "home")
    home.make()
    (home.path / "catalogue.db-wal").write_text("")
    (home.path / "thesis.txt").write_text("mine")
    assert home.wipe() == ["thesis.txt"]
    assert (home.path / "thesis.txt").read_text() == "mine"
    (home.path / "thesis.txt").unlink()
    assert home.wipe() == []
    assert not home.path.exists()


def test_the_state_says_a_pid_only_while_that_process_lives(tmp_path: Path) -> None:
    me = ProcessIdentity.of(os.getpid())
    row = state.ProcessRow("api", "api", me, None, "/d", "/l", None, None, "", "running", 0)
    assert row.document()["pid"] == os.getpid()
    home = Home.of(tmp_path)
    state.write(home, state.ClusterState("http://x", "/s", me, [row]))
    assert state.read(home) == state.ClusterState("http://x", "/s", me, [row])
    assert home.state.stat().st_mode & 0o077 == 0
    gone = state.ProcessRow(
        "api", "api", ProcessIdentity(os.getpid(), "boot:1"), None, "/d", "/l", None, None, "", "running", 0
    )
    assert gone.document()["pid"] is None
    assert json.loads(home.state.read_text())["rows"][0]["identity"]["pid"] == os.getpid()
