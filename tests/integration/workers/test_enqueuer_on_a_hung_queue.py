from __future__ import annotations

import time

from common.queue.base import Queue, TaskName
from common.queue.buffered import BufferedEnqueuer
from common.queue.celery import CeleryQueue
from tests.contract.queue.conftest import decode, pop
from tests.support.servers import RealQueue
from tests.support.waiting import wait_until

COUNT, PAUSE = 600, 0.005  # together longer than one publish takes to fail


def test_no_request_waits_for_a_hung_queue_and_every_id_arrives_when_it_goes_on(redis_server: RealQueue) -> None:
    queue = CeleryQueue(redis_server.url)
    enqueuer = BufferedEnqueuer(queue)
    enqueuer.start()
    enqueuer.enqueue(TaskName.REPLICATE, ["first"])
    wait_until(lambda: queue.depths()["replicate"] == 1)
    redis_server.pause()
    slowest = 0.0
    for number in range(COUNT):
        start = time.thread_time()
        enqueuer.enqueue(TaskName.REPLICATE, [str(number)])
        slowest = max(slowest, time.thread_time() - start)
        time.sleep(PAUSE)
    redis_server.resume()
    expected = {"first", *(str(each) for each in range(COUNT))}
    seen: set[str] = set()

    def all_arrived() -> bool:
        while (message := decode(pop(redis_server, Queue.REPLICATE))) is not None:
            seen.update(message[1])
        return seen == expected

    wait_until(all_arrived, 20)
    assert slowest < 0.05
    enqueuer.stop()
    queue.close()
