"""Celery's consumer: it keeps to itself, and its events are gathered for a moment.

What the workers of one host would tell each other nobody reads. They would wait a second for it at each start, and what
listens to it can end a worker when Redis comes back (an AttributeError inside kombu). So that part is left out here,
whatever a command line says.

A worker tells Flower of each task three times, and Celery publishes what it has to tell at every turn of its loop. Each
publish costs about as much as the work for a small copy; gathered for half a second, they cost next to nothing.
"""

from __future__ import annotations

from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer

EVENTS_SECONDS = 0.5


class Consumer(CeleryConsumer):  # type: ignore[misc]
    """Named in the setting `worker_consumer`."""

    _flush_due = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options, without_gossip=True, without_mingle=True)

    def on_send_event_buffered(self) -> None:
        if self.hub and not self._flush_due:
            self._flush_due = True
            self.hub.call_later(EVENTS_SECONDS, self._flush_gathered)

    def _flush_gathered(self, *_: Any) -> None:
        self._flush_due = False
        self._flush_events()
