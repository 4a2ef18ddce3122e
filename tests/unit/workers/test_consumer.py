"""What a worker tells Flower goes in few messages, and all of it goes."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import CPendingDeprecationWarning

from common.queue.celery import make_app
from common.settings import Settings
from workers.consumer import EVENTS_SECONDS, Consumer


class Hub:
    """The event loop's timers, run by hand."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[..., Any]]] = []

    def call_later(self, seconds: float, callback: Callable[..., Any]) -> None:
        self.due.append((seconds, callback))

    def run(self) -> None:
        due, self.due = self.due, []
        for _, callback in due:
            callback()


class Dispatcher:
    def __init__(self) -> None:
        self.flushes = 0

    def flush(self) -> None:
        self.flushes += 1


def test_events_are_gathered_and_sent_once_a_moment() -> None:
    consumer = Consumer.__new__(Consumer)
    consumer.hub, consumer.event_dispatcher = Hub(), Dispatcher()
    for round_number in (1, 2):
        for _ in range(10):
            consumer.on_send_event_buffered()
        assert [seconds for seconds, _ in consumer.hub.due] == [EVENTS_SECONDS]
        consumer.hub.run()
        assert consumer.event_dispatcher.flushes == round_number


def test_without_a_loop_there_is_nothing_to_gather() -> None:
    consumer = Consumer.__new__(Consumer)
    consumer.hub, consumer.event_dispatcher = None, Dispatcher()
    consumer.on_send_event_buffered()
    assert consumer.event_dispatcher.flushes == 0


def started(options: dict[str, bool]) -> Consumer:
    app = make_app(Settings(redis_url="redis://127.0.0.1:1/0"))
    controller, pool = SimpleNamespace(use_eventloop=False), SimpleNamespace(num_processes=8, is_green=False)
    return Consumer(lambda _request: None, app=app, controller=controller, pool=pool, worker_options=options)


def test_workers_tell_each_other_nothing_whatever_the_command_line_says() -> None:
    consumer = started({"without_gossip": False, "without_mingle": False})
    assert not consumer.gossip.enabled
    steps = {type(step).__name__: step.enabled for step in consumer.blueprint.order}
    assert (steps["Mingle"], steps["Gossip"], steps["Tasks"]) == (False, False, True)


def test_a_broken_connection_that_cannot_be_closed_either_ends_no_worker() -> None:
    """kombu closes it by halves when an acknowledgement had failed, and has no client to ask at its second try."""

    def close() -> None:
        raise AttributeError("'NoneType' object has no attribute 'hostname'")

    consumer = started({})
    consumer.connection = consumer.app.connection()
    consumer.connection.close = close
    with pytest.warns(CPendingDeprecationWarning):
        consumer.on_connection_error_after_connected(ConnectionResetError("by peer"))
    assert consumer.connection is None
