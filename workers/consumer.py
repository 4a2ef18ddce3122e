"""Celery's consumer: it keeps to itself, and its events are gathered for a moment.

What the workers of one host would tell each other nobody reads, and they would wait a second for it at each start. So
that part is left out here, whatever a command line says.

When Redis goes amid work, an acknowledgement fails, and kombu closes the broken connection by halves: its second try
ends in an AttributeError, which Celery takes for the worker's end. So whatever comes of closing what broke is logged.

A worker tells Flower of each task three times, and Celery publishes what it has to tell at every turn of its loop. Each
publish costs about as much as the work for a small copy; gathered for half a second, they cost next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
from celery.worker.consumer import Consumer as CeleryConsumer

EVENTS_SECONDS = 0.5

LOG = structlog.get_logger(__name__)


class Consumer(CeleryConsumer):  # type: ignore[misc]
    """Named in the setting `worker_consumer`."""

    _flush_due = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options, without_gossip=True, without_mingle=True)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        self.connection.close = partial(_throw_away, self.connection.close)
        super().on_connection_error_after_connected(exc)

    def on_send_event_buffered(self) -> None:
        if self.hub and not self._flush_due:
            self._flush_due = True
            self.hub.call_later(EVENTS_SECONDS, self._flush_gathered)

    def _flush_gathered(self, *_: Any) -> None:
        self._flush_due = False
        self._flush_events()


def _throw_away(close: Callable[[], object]) -> None:
    try:
        close()
    except Exception as error:  # noqa: BLE001 - the edge of a driver: it is given up whatever comes of it
        LOG.info("broken_connection_not_closed", error=type(error).__name__)
