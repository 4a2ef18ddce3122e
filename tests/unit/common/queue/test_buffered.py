from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from prometheus_client import REGISTRY

from common.errors import QueueUnavailable
from common.queue.base import BATCH_IDS, JobQueue, TaskName
from common.queue.buffered import FULL, BufferedEnqueuer
from tests.support.waiting import wait_until

R, V = TaskName.REPLICATE, TaskName.VERIFY


class Publishing(JobQueue):
    """Notes what was published and when; `down`: takes nothing; `gate`: waits before each message.

    `unaskable`: it does not tell its depths, which are `waiting`.
    """

    def __init__(self) -> None:
        self.messages: list[tuple[TaskName, list[str]]] = []
        self.times: list[float] = []
        self.tries = 0
        self.down = self.unaskable = False
        self.looks = 0
        self.waiting: dict[str, int] = {}
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def publish(self, task: TaskName, ids: Sequence[str]) -> None:
        self.tries += 1
        assert self.gate.wait(20)
        if self.error is not None:
            raise self.error
        if self.down:
            raise QueueUnavailable("down")
        self.messages.append((task, list(ids)))
        self.times.append(time.monotonic())

    def depths(self) -> dict[str, int]:
        self.looks += 1
        if self.unaskable:
            raise QueueUnavailable("down")
        return self.waiting

    @property
    def ids(self) -> list[str]:
        return [blob_id for _, ids in self.messages for blob_id in ids]


Make = Callable[..., BufferedEnqueuer]


@pytest.fixture
def queue() -> Publishing:
    return Publishing()


@pytest.fixture
def make(queue: Publishing) -> Iterator[Make]:
    made: list[BufferedEnqueuer] = []

    def start(**options: object) -> BufferedEnqueuer:
        made.append(BufferedEnqueuer(queue, **options))  # type: ignore[arg-type]
        made[-1].start()
        return made[-1]

    yield start
    queue.gate.set()
    for enqueuer in made:
        enqueuer.stop(1)


def counted(name: str, task: TaskName) -> float:
    return REGISTRY.get_sample_value(name, {"task": task.value}) or 0.0


def test_the_first_id_goes_at_once(queue: Publishing, make: Make) -> None:
    enqueuer = make(interval=60)
    enqueuer.enqueue(R, ["a"])
    wait_until(lambda: queue.messages == [(R, ["a"])])


def test_ids_that_follow_closely_gather_into_one_message(queue: Publishing, make: Make) -> None:
    enqueuer = make(interval=0.2)
    enqueuer.enqueue(R, ["first"])
    wait_until(lambda: queue.messages)
    for number in range(20):
        enqueuer.enqueue(R, [str(number)])
    wait_until(lambda: len(queue.ids) == 21)
    assert queue.messages[1:] == [(R, [str(number) for number in range(20)])]
    assert queue.times[1] - queue.times[0] >= 0.19


def test_while_many_ids_come_they_gather_three_times_as_long(queue: Publishing, make: Make) -> None:
    enqueuer = make(interval=0.1)
    for count in (4, 1, 1):
        enqueuer.enqueue(R, [f"{len(queue.ids)}/{number}" for number in range(count)])
        messages = len(queue.messages)
        wait_until(lambda messages=messages: len(queue.messages) > messages)  # type: ignore[misc]
    first, second, third = queue.times
    assert second - first >= 0.29
    assert 0.09 <= third - second < 0.29


def test_many_ids_go_in_messages_of_64(queue: Publishing, make: Make) -> None:
    make().enqueue(R, [str(number) for number in range(150)])
    wait_until(lambda: len(queue.ids) == 150)
    assert [len(ids) for _, ids in queue.messages] == [BATCH_IDS, BATCH_IDS, 22]
    assert queue.ids == [str(number) for number in range(150)]


def test_kinds_of_work_go_in_messages_of_their_own(queue: Publishing, make: Make) -> None:
    enqueuer = BufferedEnqueuer(queue)
    enqueuer.enqueue(R, ["a"])
    enqueuer.enqueue(V, ["a"])
    enqueuer.enqueue(R, ["b", "a"])
    enqueuer.start()
    enqueuer.stop()
    assert queue.messages == [(R, ["a", "b"]), (V, ["a"])]


def test_enqueue_never_waits_while_a_publish_hangs(queue: Publishing, make: Make) -> None:
    enqueuer = make()
    queue.gate.clear()
    enqueuer.enqueue(R, ["a"])
    wait_until(lambda: queue.tries == 1)
    slowest = 0.0
    for number in range(1000):
        start = time.thread_time()
        enqueuer.enqueue(R, [f"b{number}"])
        slowest = max(slowest, time.thread_time() - start)
    assert slowest < 0.05
    queue.gate.set()
    wait_until(lambda: len(queue.ids) == 1001)


def test_a_dead_queue_is_tried_rarely_and_loses_nothing_that_fits(queue: Publishing, make: Make) -> None:
    queue.down = True
    failures = counted("boveda_publish_failures_total", R)
    enqueuer = make(pauses=(0.05, 60))
    for number in range(500):
        enqueuer.enqueue(R, [str(number)])
    wait_until(lambda: queue.tries == 2)
    for number in range(500, 1000):
        enqueuer.enqueue(R, [str(number)])
    assert queue.tries == 2
    assert counted("boveda_publish_failures_total", R) == failures + 2


def test_what_a_dead_queue_did_not_take_goes_when_it_is_back(queue: Publishing, make: Make) -> None:
    queue.down = True
    enqueuer = make(pauses=(0.01,))
    enqueuer.enqueue(R, [str(number) for number in range(100)])
    wait_until(lambda: queue.tries >= 3)
    enqueuer.enqueue(R, ["late"])
    queue.down = False
    wait_until(lambda: len(queue.ids) == 101)
    assert queue.ids == [*(str(number) for number in range(100)), "late"]


def test_an_unexpected_error_ends_no_thread(queue: Publishing, make: Make) -> None:
    queue.error = RuntimeError("a bug")
    enqueuer = make(pauses=(0.01,))
    enqueuer.enqueue(R, ["a"])
    wait_until(lambda: queue.tries >= 2)
    queue.error = None
    wait_until(lambda: queue.ids == ["a"])


def test_a_full_buffer_drops_and_counts_what_comes(queue: Publishing) -> None:
    dropped = counted("boveda_ids_dropped_total", V)
    enqueuer = BufferedEnqueuer(queue, capacity=10)
    enqueuer.enqueue(V, [str(number) for number in range(12)])
    enqueuer.enqueue(V, ["late"])
    assert counted("boveda_ids_dropped_total", V) == dropped + 3
    enqueuer.start()
    enqueuer.stop()
    assert queue.ids == [str(number) for number in range(10)]


def test_room_comes_back_when_ids_are_published(queue: Publishing, make: Make) -> None:
    enqueuer = make(capacity=3, interval=0)
    for number in range(10):
        enqueuer.enqueue(R, [str(number)])
        wait_until(lambda number=number: str(number) in queue.ids)  # type: ignore[misc]


def test_stop_hands_over_what_waits(queue: Publishing) -> None:
    enqueuer = BufferedEnqueuer(queue, interval=60)
    enqueuer.start()
    enqueuer.enqueue(R, ["a"])
    wait_until(lambda: queue.ids == ["a"])
    enqueuer.enqueue(R, ["b"])
    enqueuer.stop()
    assert queue.ids == ["a", "b"]


def test_stop_is_bounded_when_the_queue_hangs(queue: Publishing) -> None:
    enqueuer = BufferedEnqueuer(queue)
    enqueuer.start()
    queue.gate.clear()
    enqueuer.enqueue(R, ["a"])
    wait_until(lambda: queue.tries == 1)
    start = time.monotonic()
    enqueuer.stop(0.2)
    assert time.monotonic() - start < 2
    queue.gate.set()


def test_ids_of_many_threads_all_arrive(queue: Publishing, make: Make) -> None:
    enqueuer = make(interval=0.01)

    def enqueue(first: int) -> None:
        for number in range(first, first + 100):
            enqueuer.enqueue(R, [str(number)])

    threads = [threading.Thread(target=enqueue, args=(first,)) for first in range(0, 800, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: sorted(queue.ids, key=int) == [str(number) for number in range(800)])


def test_a_queue_in_which_many_messages_wait_gets_no_more_and_the_others_do(
    make: Make, queue: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.queue.buffered.LOOK_SECONDS", 0.0)
    queue.waiting = {"replicate": FULL, "repair": FULL - 1}
    before = counted("boveda_ids_dropped_total", R)
    enqueuer = make()
    enqueuer.enqueue(R, ["a", "b"])
    enqueuer.enqueue(V, ["c"])
    wait_until(lambda: queue.ids == ["c"] and counted("boveda_ids_dropped_total", R) == before + 2)
    queue.waiting = {"replicate": FULL - 1}
    enqueuer.enqueue(R, ["a"])
    wait_until(lambda: queue.ids == ["c", "a"])


def test_ids_wait_on_while_a_queue_cannot_be_asked(make: Make, queue: Publishing) -> None:
    queue.unaskable = True
    enqueuer = make(pauses=(0.01,))
    enqueuer.enqueue(R, ["a"])
    wait_until(lambda: queue.looks > 1)
    assert queue.tries == 0
    queue.unaskable = False
    wait_until(lambda: queue.ids == ["a"])
