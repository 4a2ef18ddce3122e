"""The queue forgets, repeats, reorders, starts anew (scenarios 5, 6): it is a hint, and the rows are the truth."""

from __future__ import annotations

import os
import random
import shutil
import signal

import redis

from common.queue.base import Queue, TaskName
from common.queue.celery import CeleryQueue, list_names
from tests.faults.history import History
from tests.support.cluster import Cluster
from tests.support.waiting import wait_until


def test_tasks_flushed_from_the_queue_again_and_again_are_done_all_the_same(cluster: Cluster) -> None:
    history = History(cluster, "flushed")
    client = redis.Redis.from_url(cluster.queue_url)

    def flush() -> None:
        for seen in range(10, 60, 10):
            wait_until(lambda seen=seen: len(history.acknowledged) >= seen, 30, "some uploads")  # type: ignore[misc]
            client.flushdb()

    history.during(flush)
    client.close()
    assert history.refused == []
    cluster.wait_converged()
    assert (history.wrong(), history.wrong_on(cluster.nodes())) == ([], [])


def test_a_queue_that_restarts_empty_amid_uploads_delays_copies_and_loses_none(cluster: Cluster) -> None:
    history = History(cluster, "restarted")

    def restart() -> None:
        wait_until(lambda: len(history.acknowledged) >= 5, 30, "some uploads")
        cluster.act("kill", "queue")
        shutil.rmtree(cluster.home / "queue" / "appendonlydir")
        cluster.act("start", "queue")
        seen = len(history.acknowledged)
        wait_until(lambda: len(history.acknowledged) >= seen + 10, 30, "uploads go on")

    history.during(restart)
    assert history.refused == []
    cluster.wait_converged()
    assert (history.wrong(), history.wrong_on(cluster.nodes())) == ([], [])


def test_tasks_that_come_twice_in_any_order_and_for_the_wrong_things_change_nothing(cluster: Cluster) -> None:
    """All kinds of tasks about all blobs at once, many times: those that are whole, deleted, and about to be."""
    history = History(cluster, "repeated")
    history.upload_many(12)
    cluster.wait_converged()
    gone = [key for number, key in enumerate(history.acknowledged) if number % 4 == 0]
    blobs = [name.rsplit("/", 1)[1] for key in history.acknowledged for name in cluster.blobs(key)]
    names = {key: cluster.blobs(key) for key in history.acknowledged}
    queue = CeleryQueue(cluster.queue_url)
    tasks = [TaskName.REPLICATE, TaskName.VERIFY, TaskName.DELETE, TaskName.SWEEP]
    chosen = random.Random(6)
    for turn in range(40):
        if turn == 20:
            for key in gone:
                assert cluster.delete(key).status == 204
                del history.acknowledged[key]
        queue.publish(chosen.choice(tasks), chosen.sample([*blobs, "0" * 32], 10))
    queue.close()
    wait_until(
        lambda: not any(names[key] & node.names() for key in gone for node in cluster.nodes().values()), 30, "deletes"
    )
    cluster.wait_converged()
    assert (history.wrong(), history.wrong_on(cluster.nodes())) == ([], [])
    assert cluster.status()["dead_letters"] == 0


def test_what_was_committed_and_never_enqueued_is_found_by_the_sweep(cluster: Cluster) -> None:
    """The gateways are killed with ids in their buffers that a hung queue did not take."""
    history = History(cluster, "never-enqueued")
    cluster.signal("queue", signal.SIGSTOP)
    try:
        history.upload_many(10)
        assert history.refused == []
        os.killpg(cluster.process("api")["pid"], signal.SIGKILL)
    finally:
        cluster.signal("queue", signal.SIGCONT)
    client = redis.Redis.from_url(cluster.queue_url)
    client.delete(*list_names(Queue.REPLICATE))
    client.close()
    cluster.wait_ready()
    assert history.wrong() == []
    cluster.wait_converged()
    assert history.wrong_on(cluster.nodes()) == []
