"""`kill -9` of any one process of the cluster, amid uploads: no acknowledged object is lost."""

from __future__ import annotations

import os
import signal

import pytest

from cli.cluster.home import state
from cli.cluster.home.home import Home
from tests.faults.history import History
from tests.support.cluster import START_SECONDS, Cluster
from tests.support.shared import wish
from tests.support.waiting import wait_until

CLUSTER = wish(flower=True)


@pytest.mark.parametrize("name", ["api", "worker1", "control", "beat", "flower", "queue", "node1"])
def test_kill_9_amid_uploads_loses_no_acknowledged_object(cluster: Cluster, name: str) -> None:
    history = History(cluster, f"kill-{name}")
    before = cluster.process(name)["pid"]

    def kill_and_wait() -> None:
        wait_until(lambda: len(history.acknowledged) >= 5, 30, "some uploads")
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: cluster.process(name)["pid"] not in (None, before), 30, f"{name} is started again")
        seen = len(history.acknowledged)
        wait_until(lambda: len(history.acknowledged) >= seen + 5, 30, "uploads go on")

    history.during(kill_and_wait)
    if name != "api":
        assert history.refused == []
    cluster.wait_converged(90)
    assert history.wrong() == []


def test_kill_9_of_one_api_process_loses_no_acknowledged_object(cluster: Cluster) -> None:
    history = History(cluster, "kill-api-child")
    master = cluster.process("api")["pid"]
    children = [int(pid) for pid in open(f"/proc/{master}/task/{master}/children").read().split()]  # noqa: SIM115

    def kill() -> None:
        wait_until(lambda: len(history.acknowledged) >= 5, 30, "some uploads")
        os.kill(children[0], signal.SIGKILL)
        seen = len(history.acknowledged)
        wait_until(lambda: len(history.acknowledged) >= seen + 10, 30, "uploads go on")

    history.during(kill)
    cluster.wait_converged(90)
    assert history.wrong() == []


def test_after_kill_9_of_the_supervisor_amid_uploads_the_next_up_finds_everything(cluster: Cluster) -> None:
    history = History(cluster, "kill-supervisor")
    left = state.read(Home.of(cluster.home))
    assert left is not None
    assert left.supervisor is not None
    killed = left.supervisor

    def kill_and_start() -> None:
        wait_until(lambda: len(history.acknowledged) >= 5, 30, "some uploads")
        os.kill(killed.pid, signal.SIGKILL)
        wait_until(lambda: not killed.alive(), 10, "it is gone")
        started = cluster.boveda("up", "--detach", timeout=START_SECONDS)
        assert started.returncode == 0, started.stderr.decode()
        cluster.wait_ready()
        seen = len(history.acknowledged)
        wait_until(lambda: len(history.acknowledged) >= seen + 5, 30, "uploads go on")

    history.during(kill_and_start)
    assert [row.name for row in left.rows if row.identity is not None and row.identity.alive()] == [], "left running"
    cluster.wait_converged(90)
    assert (history.wrong(), history.wrong_on(cluster.nodes())) == ([], [])
