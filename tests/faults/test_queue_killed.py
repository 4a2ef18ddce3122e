"""The queue is killed, hangs, and comes back: uploads succeed all the time, and their copies come afterwards."""

from __future__ import annotations

import os
import signal

from tests.faults.history import History
from tests.support.cluster import Cluster


def test_with_the_queue_killed_uploads_succeed_and_converge_when_it_is_back(cluster: Cluster) -> None:
    history = History(cluster, "dead-queue")
    cluster.act("kill", "queue")
    history.upload_many(30)
    assert history.refused == []
    assert history.wrong() == []
    assert cluster.status()["copies"]["missing"] > 0
    cluster.act("start", "queue")
    cluster.wait_converged()
    assert history.wrong() == []


def test_with_the_queue_hung_no_request_waits_for_it(cluster: Cluster) -> None:
    history = History(cluster, "hung-queue")
    pid = cluster.process("queue")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        history.upload_many(20)
        assert history.refused == []
        assert history.wrong() == []
    finally:
        os.kill(pid, signal.SIGCONT)
    cluster.wait_converged()
