from __future__ import annotations

import pytest

from common.errors import QueueUnavailable
from common.queue.base import BATCH_IDS, QUEUE_OF, Queue, TaskName
from tests.contract.queue.conftest import Subject

IDS = [f"{number:032x}" for number in range(BATCH_IDS)]


def test_an_empty_queue_has_depth_0_everywhere(subject: Subject) -> None:
    assert subject.queue.depths() == {queue.value: 0 for queue in Queue}


@pytest.mark.parametrize("task", TaskName)
def test_a_task_waits_in_its_own_queue(subject: Subject, task: TaskName) -> None:
    subject.queue.publish(task, [] if task is TaskName.SWEEP else IDS[:1])
    depths = subject.queue.depths()
    assert depths.pop(QUEUE_OF[task].value) == 1
    assert set(depths.values()) == {0}


@pytest.mark.parametrize("count", [1, 2, BATCH_IDS])
def test_a_message_carries_its_ids_in_order(subject: Subject, count: int) -> None:
    subject.queue.publish(TaskName.REPLICATE, IDS[:count])
    assert subject.take(Queue.REPLICATE) == (TaskName.REPLICATE, tuple(IDS[:count]))
    assert subject.take(Queue.REPLICATE) is None


def test_messages_wait_in_the_order_they_came(subject: Subject) -> None:
    for number in range(10):
        subject.queue.publish(TaskName.VERIFY if number % 2 else TaskName.JOB, [IDS[number]])
    assert subject.queue.depths()["repair"] == 10
    taken = [subject.take(Queue.REPAIR) for _ in range(10)]
    assert [message and message[1] for message in taken] == [(IDS[number],) for number in range(10)]


def test_more_ids_than_a_message_carries_are_refused(subject: Subject) -> None:
    with pytest.raises(ValueError, match="64"):
        subject.queue.publish(TaskName.DELETE, [*IDS, "f" * 32])
    assert subject.queue.depths()["delete"] == 0


def test_a_dead_queue_says_so(subject: Subject) -> None:
    subject.queue.publish(TaskName.DELETE, IDS[:1])
    subject.break_off()
    with pytest.raises(QueueUnavailable):
        subject.queue.publish(TaskName.DELETE, IDS[:1])
    with pytest.raises(QueueUnavailable):
        subject.queue.depths()
