"""Worker processes on real nodes and a real queue: what they do, and what is left when they are killed."""

from __future__ import annotations

import signal
from pathlib import Path

import urllib3

from common.blobstore.base import Deadline
from common.model.jobs import JobKind, JobState, Scope
from common.model.names import blob_name
from common.model.versions import Preconditions
from common.queue.base import Queue, TaskName
from common.queue.celery import CeleryQueue, list_names
from tests.conftest import NodeFactory, QueueFactory
from tests.integration.workers.plant import BUCKET, Plant
from tests.support.servers import free_port
from tests.support.waiting import wait_until


def publish(plant: Plant, task: TaskName, *ids: str) -> None:
    queue = CeleryQueue(plant.redis.url)
    queue.publish(task, ids)
    queue.close()


def test_copies_are_made_repaired_and_deleted_by_a_worker(plant: Plant) -> None:
    plant.worker()
    blob, data = plant.put("a")
    publish(plant, TaskName.REPLICATE, blob)
    plant.wait_whole("a")
    assert plant.on_nodes(blob) == [data] * 3

    plant.stores[1].put(blob_name(blob), b"rot", Deadline(5))
    job = plant.catalogue.jobs.create(JobKind.REPAIR, Scope(bucket=BUCKET), False, False)
    publish(plant, TaskName.JOB, job.id)
    wait_until(lambda: plant.catalogue.jobs.get(job.id).state is JobState.DONE, 30)
    assert plant.on_nodes(blob) == [data] * 3
    report = plant.catalogue.jobs.get(job.id).report
    assert report["before"] == {"good": 2, "missing": 0, "damaged": 1, "unreachable": 0}
    assert report["after"] == {"good": 3, "missing": 0, "damaged": 0, "unreachable": 0}
    (evidence,) = plant.stores[1].list("quarantine/", Deadline(5)).blobs
    assert plant.stores[1].read(evidence.name, Deadline(5), 16 << 20) == b"rot"

    plant.catalogue.objects.delete(BUCKET, "a", Preconditions())
    for _ in range(2):  # one sweep dooms the copies, and enqueues them
        publish(plant, TaskName.SWEEP)
    wait_until(lambda: plant.on_nodes(blob) == [None] * 3, 30)


def test_a_worker_shows_what_it_counts(plant: Plant) -> None:
    address = f"127.0.0.1:{free_port()}"
    plant.env["BOVEDA_WORKER_METRICS"] = address
    plant.worker()
    blob, _ = plant.put("a")
    publish(plant, TaskName.REPLICATE, blob)
    plant.wait_whole("a")

    def shown() -> list[str]:
        return urllib3.request("GET", f"http://{address}/metrics").data.decode().splitlines()

    up = [f'boveda_node_seen{{node="node{number}"}} 2.0' for number in (1, 2, 3)]

    def counted() -> bool:
        lines = shown()
        puts = [line for line in lines if line.startswith("boveda_node_call_seconds_count") and "put" in line]
        return (
            "boveda_commit_to_all_copies_seconds_count 1.0" in lines
            and 'boveda_copies_ended_total{result="stored"} 2.0' in lines
            and [line for line in lines if line.startswith("boveda_node_seen{")] == up
            and len(puts) == 3
        )

    wait_until(counted, 10, "everything is counted")


def somebody_waits(plant: Plant) -> bool:
    with plant.redis.client() as client:
        return bool(client.info("clients")["blocked_clients"])


def test_a_message_lost_with_a_killed_worker_is_found_by_the_sweep(plant: Plant) -> None:
    """The message was popped by a worker that never noted it: Redis has forgotten it, the catalogue has not."""
    worker = plant.worker("replicate")
    for key in "abcdefgh":
        blob, data = plant.put(key)
        wait_until(lambda: somebody_waits(plant), 10, "the worker waits for a message")
        with plant.redis.client() as client:
            plant.signal(worker, signal.SIGSTOP)
            publish(plant, TaskName.REPLICATE, blob)
            lost = not any(client.exists(name) for name in [*list_names(Queue.REPLICATE), "unacked"])
        if lost:
            break
        plant.signal(worker, signal.SIGCONT)  # it was stopped between two waits: not the case meant
        plant.wait_whole(key)
    assert lost
    plant.kill(worker)
    plant.worker()
    plant.beat()
    plant.wait_whole(key)
    assert plant.on_nodes(blob) == [data] * 3


def test_a_worker_killed_in_the_middle_of_a_put_is_replaced(
    node_factory: NodeFactory, queue_factory: QueueFactory, tmp_path: Path
) -> None:
    servers = [node_factory(), node_factory()]
    plant = Plant(tmp_path, queue_factory(), [(server.spec, server) for server in servers])
    try:
        worker = plant.worker("replicate")
        blob, data = plant.put("a", 3_000_000)
        servers[1].pause()
        publish(plant, TaskName.REPLICATE, blob)
        wait_until(lambda: attempts(plant, "a") == 1, 10, "the row is claimed")
        plant.kill(worker)
        servers[1].resume()
        plant.worker()
        plant.beat()
        plant.wait_whole("a")
        assert plant.on_nodes(blob) == [data] * 2
    finally:
        plant.close()


def attempts(plant: Plant, key: str) -> int:
    return max(row.attempts for row in plant.catalogue.objects.copies(BUCKET, key)[1])


def test_workers_go_on_after_the_queue_was_killed_and_has_lost_everything(plant: Plant) -> None:
    plant.worker()
    plant.beat()
    plant.redis.kill()
    blob, data = plant.put("a")
    plant.redis.start()
    plant.redis.flush()
    plant.wait_whole("a", 60)
    assert plant.on_nodes(blob) == [data] * 3


def test_a_worker_outlives_a_queue_that_restarts_again_and_again_amid_its_work(plant: Plant) -> None:
    worker = plant.worker()
    plant.beat()
    for turn in range(4):
        keys = [f"{turn}-{number}" for number in range(20)]
        publish(plant, TaskName.REPLICATE, *[plant.put(key)[0] for key in keys])
        plant.redis.kill()
        plant.redis.start()
        for key in keys:
            plant.wait_whole(key, 60)
        assert worker.poll() is None


def test_a_worker_ends_soon_and_quietly_when_it_is_told_to(plant: Plant) -> None:
    worker = plant.worker()
    blob, _ = plant.put("a")
    publish(plant, TaskName.REPLICATE, blob)
    plant.wait_whole("a")
    plant.signal(worker, signal.SIGTERM)
    assert worker.wait(15) == 0
    log = plant.log("worker0")
    assert "Traceback" not in log
    assert plant.redis.password not in log
