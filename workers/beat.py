"""What Celery's beat does here: it sends for a sweep, every interval of its own running time.

Nothing is kept over a restart and no clock is asked for the time of day: a moment that was written down once and lies
in the future, or that another machine compares with a clock of its own, would keep the sweep away. One message is
enough while nobody takes it; so a queue that is not read does not fill up with them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import structlog
from celery.beat import Scheduler

from common import telemetry
from common.errors import QueueUnavailable
from common.queue.base import QUEUE_OF, JobQueue, TaskName
from common.queue.celery import CeleryQueue
from common.settings import load

LOG = structlog.get_logger(__name__)


class Beat:
    """`turn` is called again after as many seconds as it says. The log has a line when the queue goes, and one when it
    is back."""

    def __init__(self, queue: JobQueue, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._queue = queue
        self._interval = interval
        self._clock = clock
        self._next = clock()
        self._away_since: float | None = None

    def turn(self) -> float:
        now = self._clock()
        if now >= self._next:
            self._next = now + self._interval
            self._send(now)
        return max(0.01, self._next - self._clock())

    def _send(self, now: float) -> None:
        try:
            if not self._queue.depths().get(QUEUE_OF[TaskName.SWEEP].value):
                self._queue.publish(TaskName.SWEEP, [])
        except QueueUnavailable as error:
            if self._away_since is None:
                self._away_since = now
                LOG.warning("beat_queue_away", detail=error.detail)
            return
        except Exception:  # the edge of a process that has to go on: without it nothing heals
            if self._away_since is None:
                self._away_since = now
                LOG.exception("beat_unexpected")
            return
        if self._away_since is not None:
            LOG.info("beat_queue_back", seconds=round(now - self._away_since))
            self._away_since = None


class SweepScheduler(Scheduler):  # type: ignore[misc]
    """Named in the setting `beat_scheduler`."""

    def setup_schedule(self) -> None:
        settings = load()
        telemetry.configure(settings.log_level, settings.log_format)
        self._queue = CeleryQueue(settings.redis_url.get_secret_value())
        self._beat = Beat(self._queue, settings.sweep_interval)

    def tick(self, *_: Any, **__: Any) -> float:
        return self._beat.turn()

    def close(self) -> None:
        self._queue.close()
