"""`kill -9` of any one process of the cluster, amid uploads: no acknowledged object is lost."""

from __future__ import annotations

import os
import signal

import pytest

from tests.cluster import Cluster, wait
from tests.faults.history import History


@pytest.mark.parametrize("name", ["api", "worker1", "control", "beat", "queue", "node1"])
def test_kill_9_amid_uploads_loses_no_acknowledged_object(cluster: Cluster, name: str) -> None:
    history = History(cluster, f"kill-{name}")
    before = cluster.process(name)["pid"]

    def kill_and_wait() -> None:
        wait(lambda: len(history.acknowledged) >= 5, 30, "some uploads")
        os.kill(before, signal.SIGKILL)
        wait(lambda: cluster.process(name)["pid"] not in (None, before), 30, f"{name} is started again")
        seen = len(history.acknowledged)
        wait(lambda: len(history.acknowledged) >= seen + 5, 30, "uploads go on")

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
        wait(lambda: len(history.acknowledged) >= 5, 30, "some uploads")
        os.kill(children[0], signal.SIGKILL)
        seen = len(history.acknowledged)
        wait(lambda: len(history.acknowledged) >= seen + 10, 30, "uploads go on")

    history.during(kill)
    cluster.wait_converged(90)
    assert history.wrong() == []
