"""Every queue behind one face: it can be used, taken from as a worker would, and broken."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from common.queue.base import JobQueue, Queue, TaskName
from common.queue.celery import CeleryQueue, list_names
from common.queue.memory import MemoryQueue
from tests.support.servers import RealQueue

Message = tuple[TaskName, tuple[str, ...]]


@dataclass(frozen=True)
class Subject:
    """`take`: the oldest message of a queue. `break_off`: from now on Redis is dead."""

    queue: JobQueue
    take: Callable[[Queue], Message | None]
    break_off: Callable[[], None]


def memory() -> Iterator[Subject]:
    queue = MemoryQueue()
    yield Subject(queue, queue.take, lambda: setattr(queue, "down", True))


def celery(redis: RealQueue) -> Iterator[Subject]:
    queue = CeleryQueue(redis.url)
    yield Subject(queue, lambda name: decode(pop(redis, name)), redis.kill)
    queue.close()


def pop(redis: RealQueue, queue: Queue) -> dict[str, Any] | None:
    """The oldest message as it lies in Redis."""
    with redis.client() as client:
        for name in list_names(queue):
            raw = client.rpop(name)
            if isinstance(raw, bytes):
                return dict(json.loads(raw))
    return None


def decode(message: dict[str, Any] | None) -> Message | None:
    if message is None:
        return None
    args, _, _ = json.loads(base64.b64decode(message["body"]))
    return TaskName(message["headers"]["task"]), tuple(args[0]) if args else ()


@pytest.fixture(params=["memory", "celery"])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    yield from memory() if request.param == "memory" else celery(request.getfixturevalue("redis_server"))
