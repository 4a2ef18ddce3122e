"""Processes are told to end, or stand still (scenarios 35, 36): what they were at is finished, or done by another."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from cli.cluster import process_control
from cli.cluster.home.home import Home
from tests.faults.bare_upload import BarePut
from tests.faults.between import children
from tests.faults.history import History
from tests.support.cluster import Cluster
from tests.support.shared import QUICK
from tests.support.waiting import wait_until

LEASE = float(QUICK["BOVEDA_LEASE_SECONDS"])
MIB = 1 << 20


@contextmanager
def standing_still(cluster: Cluster, pid: int) -> Iterator[None]:
    """SIGSTOP until the end of the block, and not with the catalogue's lock: who keeps that is ended for it."""
    wait_until(lambda: stopped_without_lock(cluster, pid), 30, "it stands still, without the catalogue's lock")
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def stopped_without_lock(cluster: Cluster, pid: int) -> bool:
    """If not, it runs on."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: state(pid) == "T", 5, "it stands still")
    if free(cluster.home / "catalogue.db.lock"):
        return True
    os.kill(pid, signal.SIGCONT)
    return False


def free(lock: Path) -> bool:
    """Whether it can be had within a second, as it can from whoever runs. It is given back at once."""
    until = time.monotonic() + 1
    with lock.open("r+b") as file:
        while time.monotonic() < until:
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            time.sleep(0.001)
    return False


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def test_requests_in_flight_are_finished_when_the_gateways_are_told_to_end(cluster: Cluster) -> None:
    body, old = os.urandom(MIB // 2), os.urandom(12 * MIB)
    assert cluster.put("in-flight-old", old).status == 201
    cluster.wait_converged()
    download = cluster.get("in-flight-old", preload_content=False)
    got = download.read(MIB)
    upload = BarePut(cluster, "in-flight", len(body))
    upload.send(body[: MIB // 4])
    with ThreadPoolExecutor(1) as operator:
        stopping = operator.submit(cluster.act, "stop", "api")
        try:
            wait_until(
                lambda: process_control.now(Home.of(cluster.home), "api").state == "ending", 5, "it was told to end"
            )
            upload.send(body[MIB // 4 :])
            assert upload.status() == 201
            assert got + download.read() == old
        finally:
            stopping.result()
            cluster.act("start", "api")
            cluster.wait_ready()
    assert cluster.get("in-flight").data == body
    cluster.wait_converged()


@pytest.mark.parametrize("name", ["worker1", "control", "beat", "queue", "node2"])
def test_a_process_told_to_end_amid_uploads_costs_nothing(cluster: Cluster, name: str) -> None:
    history = History(cluster, f"end-{name}")

    def restart() -> None:
        wait_until(lambda: len(history.acknowledged) >= 5, 30, "some uploads")
        cluster.act("stop", name)
        seen = len(history.acknowledged)
        wait_until(lambda: len(history.acknowledged) >= seen + 5, 30, "uploads go on")
        cluster.act("start", name)

    history.during(restart)
    assert history.refused == []
    cluster.wait_converged()
    assert (history.wrong(), history.wrong_on(cluster.nodes())) == ([], [])


def test_while_one_gateway_process_stands_still_the_others_serve_and_nothing_is_lost(cluster: Cluster) -> None:
    history = History(cluster, "still-api")
    history.upload_many(10)
    stopped, *_ = children(cluster.process("api")["pid"])
    with standing_still(cluster, stopped), ThreadPoolExecutor(4) as clients:
        uploads = [clients.submit(history.upload) for _ in range(20)]
        wait_until(lambda: sum(upload.done() for upload in uploads) >= 10, 30, "the others answer")
        os.kill(stopped, signal.SIGCONT)
    assert history.refused == []
    cluster.wait_converged()
    assert (history.wrong(), history.wrong_on(cluster.nodes())) == ([], [])


def test_what_a_worker_that_stands_still_has_claimed_is_done_by_another_and_its_late_end_changes_nothing(
    cluster: Cluster,
) -> None:
    history = History(cluster, "still-worker")
    worker = cluster.process("worker1")["pid"]
    with ThreadPoolExecutor(4) as clients:
        uploads = [clients.submit(history.upload, 200_000) for _ in range(60)]
        wait_until(lambda: len(history.acknowledged) >= 15, 30, "some uploads")
        with standing_still(cluster, worker):
            for upload in uploads:
                upload.result()
            cluster.wait_converged(LEASE + 55)
            assert history.wrong_on(cluster.nodes()) == []
            deleted = list(history.acknowledged)[::3]
            gone = {name for key in deleted for name in cluster.blobs(key)}
            for key in deleted:
                assert cluster.delete(key).status == 204
                del history.acknowledged[key]
            wait_until(
                lambda: not any(gone & node.names() for node in cluster.nodes().values()), 60, "deletes are done"
            )
    assert history.refused == []
    cluster.wait_converged()
    assert (history.wrong(), history.wrong_on(cluster.nodes())) == ([], [])
