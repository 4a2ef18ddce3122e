"""What only a queue over Redis has: hangs, restarts, and a form in which messages lie there for everybody to read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from common.errors import QueueUnavailable
from common.queue.base import QUEUE_OF, Queue, TaskName
from common.queue.celery import CeleryQueue, configuration, list_names, make_app
from common.settings import Settings
from tests.contract.queue.conftest import pop
from tests.support.running_time import running_time
from tests.support.servers import RealQueue

LIMIT = 2.0


@pytest.fixture
def queue(redis_server: RealQueue) -> Iterator[CeleryQueue]:
    made = CeleryQueue(redis_server.url)
    yield made
    made.close()


def seconds_to_fail(call: Callable[[], object]) -> float:
    start = running_time().now()
    with pytest.raises(QueueUnavailable):
        call()
    return running_time().now() - start


def test_a_hung_queue_fails_a_publish_within_two_seconds_warm_or_cold(
    redis_server: RealQueue, queue: CeleryQueue
) -> None:
    queue.publish(TaskName.REPLICATE, ["a"])
    cold = CeleryQueue(redis_server.url)
    redis_server.pause()
    try:
        for each in (queue, queue, cold, cold):
            assert seconds_to_fail(lambda each=each: each.publish(TaskName.REPLICATE, ["b"])) < LIMIT  # type: ignore[misc]
        assert seconds_to_fail(queue.depths) < LIMIT
    finally:
        redis_server.resume()
    queue.publish(TaskName.REPLICATE, ["c"])
    cold.close()


def test_a_dead_queue_fails_at_once_and_is_found_again_when_it_is_back(
    redis_server: RealQueue, queue: CeleryQueue
) -> None:
    queue.publish(TaskName.REPLICATE, ["a"])
    redis_server.kill()
    for _ in range(3):
        assert seconds_to_fail(lambda: queue.publish(TaskName.REPLICATE, ["b"])) < 0.5
    redis_server.start()
    queue.publish(TaskName.REPLICATE, ["c"])
    assert queue.depths()["replicate"] >= 1


def test_nothing_connects_before_the_first_use() -> None:
    CeleryQueue("redis://127.0.0.1:1/0").close()
    make_app(Settings(redis_url="redis://127.0.0.1:1/0"))


def test_a_message_is_json_with_ids_and_nothing_secret(redis_server: RealQueue, queue: CeleryQueue) -> None:
    queue.publish(TaskName.REPLICATE, ["0123"])
    message = pop(redis_server, Queue.REPLICATE)
    assert message is not None
    assert message["content-type"] == "application/json"
    assert message["headers"]["ignore_result"] is True
    assert redis_server.password not in json.dumps(message)


def test_depths_count_every_list_of_a_queue(redis_server: RealQueue, queue: CeleryQueue) -> None:
    with redis_server.client() as client:
        for name in list_names(Queue.REPAIR):
            client.lpush(name, "x")
    assert queue.depths()["repair"] == 4


def test_no_message_expires_by_a_clock(redis_server: RealQueue, queue: CeleryQueue) -> None:
    for task in TaskName:
        queue.publish(task, [] if task is TaskName.SWEEP else ["0123"])
        message = pop(redis_server, QUEUE_OF[task])
        assert message is not None
        assert (message["headers"]["expires"], message["headers"]["eta"]) == (None, None)


def test_no_queue_starves_and_nothing_but_json_is_taken() -> None:
    conf = configuration(10)
    assert conf["broker_transport_options"]["queue_order_strategy"] == "round_robin"
    assert conf["accept_content"] == ["json"]
    assert conf["result_backend"] is None
    assert conf["broker_transport_options"]["socket_timeout"] > 1  # longer than the wait of BRPOP
