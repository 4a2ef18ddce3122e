"""Targets and workers die midway, two act at once, one item is poison (scenarios 18, 19, 21): the rest goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from common.queue.base import TaskName
from common.queue.celery import CeleryQueue
from tests.faults.between import proxies
from tests.faults.history import History
from tests.support.cluster import Cluster
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def way(cluster: Cluster) -> Iterator[dict[str, Proxy]]:
    with proxies(cluster, "node2") as made:
        yield made


def start_repair(cluster: Cluster, prefix: str) -> str:
    job = {"kind": "repair", "scope": {"bucket": "archivos", "prefix": prefix}}
    answer = cluster.ask("POST", "/v1/jobs", json=job)
    assert answer.status == 202
    return str(answer.json()["id"])


def ended(cluster: Cluster, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = {}

    def over() -> bool:
        job.update(cluster.ask("GET", f"/v1/jobs/{job_id}").json())
        return job["state"] in ("done", "failed", "cancelled")

    wait_until(over, 60, "the job ends")
    assert job["state"] == "done", job
    return job


def lose(cluster: Cluster, history: History, node: str) -> None:
    """All these objects' blobs from one node's disk."""
    direct = cluster.nodes()[node]
    for key in history.acknowledged:
        for name in cluster.blobs(key):
            direct.remove(name)


def uploaded(cluster: Cluster, prefix: str, count: int) -> History:
    history = History(cluster, prefix)
    history.upload_many(count)
    cluster.wait_converged()
    return history


def test_a_repair_whose_target_dies_midway_is_finished_when_it_is_back(cluster: Cluster, way: dict[str, Proxy]) -> None:
    history = uploaded(cluster, "target", 40)
    assert history.upload(9 << 20)
    cluster.wait_converged()
    lose(cluster, history, "node2")
    job = start_repair(cluster, "target")
    node2 = cluster.nodes()["node2"]
    wait_until(lambda: node2.names(), 30, "a copy is made again")
    cluster.act("kill", "node2")
    cluster.act("start", "node2")
    ended(cluster, job)
    # What could not be asked while it was away is counted as that; once it is back, a repair looks at all of it.
    wait_until(lambda: not unreachable(ended(cluster, start_repair(cluster, "target"))), 60, "a repair asks all copies")
    cluster.wait_converged()
    assert (history.wrong(), history.wrong_on(cluster.nodes())) == ([], [])


def unreachable(job: dict[str, Any]) -> int:
    return int(job["report"]["after"]["unreachable"])


def test_a_repair_goes_on_after_its_worker_was_killed(cluster: Cluster, way: dict[str, Proxy]) -> None:
    history = uploaded(cluster, "worker", 60)
    lose(cluster, history, "node2")
    way["node2"].delay(0.1)
    try:
        job = start_repair(cluster, "worker")
        node2 = cluster.nodes()["node2"]
        some = {name for key in history.acknowledged for name in cluster.blobs(key)}
        wait_until(lambda: node2.names() & some, 30, "a copy is made again")
        for name in ("worker1", "worker2"):
            os.kill(cluster.process(name)["pid"], signal.SIGKILL)
        assert not some <= node2.names(), "it was killed in the middle"
    finally:
        way["node2"].forward()
    ended(cluster, job)
    cluster.wait_converged()
    assert (history.wrong(), history.wrong_on(cluster.nodes())) == ([], [])


def test_many_repairs_of_the_same_copies_at_once_end_with_one_good_copy_each(cluster: Cluster) -> None:
    history = uploaded(cluster, "same", 15)
    lose(cluster, history, "node2")
    damaged = cluster.nodes()["node3"]
    names = [name for key in history.acknowledged for name in cluster.blobs(key)]
    for name in names[:5]:
        damaged.flip(name)
    jobs = [start_repair(cluster, "same") for _ in range(4)]
    queue = CeleryQueue(cluster.queue_url)
    ids = [name.rsplit("/", 1)[1] for name in names]
    for _ in range(10):
        queue.publish(TaskName.VERIFY, ids)
        queue.publish(TaskName.REPLICATE, ids)
    queue.close()
    for job in jobs:
        ended(cluster, job)
    cluster.wait_converged()
    assert (history.wrong(), history.wrong_on(cluster.nodes())) == ([], [])
    evidence = [name.rsplit("/", 1)[1] for name in damaged.names("quarantine/")]
    assert sorted(evidence) == sorted(ids[:5]), "each damaged copy is kept, once"


def test_a_poison_item_blocks_nobody_and_the_oldest_stays_visible(cluster: Cluster, way: dict[str, Proxy]) -> None:
    """Its every copy is damaged, so that no work on it can succeed; whatever comes after it is protected as ever."""
    assert cluster.put("poison", os.urandom(20_000)).status == 201
    cluster.wait_converged()
    (name,) = cluster.blobs("poison")
    damaged = [node.flip(name, 200) for node in cluster.nodes().values()]
    ended(cluster, start_repair(cluster, "poison"))
    assert cluster.get("poison").status == 502
    history = History(cluster, "after-poison")
    history.upload_many(20)
    assert history.refused == []
    wait_until(
        lambda: all({copy["state"] for copy in cluster.copies(key)} == {"stored"} for key in history.acknowledged),
        30,
        "the copies of the others",
    )
    assert history.wrong_on(cluster.nodes()) == []
    wait_until(lambda: all(not depth for depth in cluster.status()["queues"].values()), 20, "it is not tried for ever")
    assert cluster.status()["dead_letters"] >= 1
    assert all(copy["last_error"] for copy in cluster.copies("poison"))
    for node, right in zip(cluster.nodes().values(), damaged, strict=True):
        assert node.read(name) not in (None, right), "the damaged copies stay where they are"
    assert cluster.delete("poison").status == 204
    cluster.wait_converged()
