"""The queue over Celery and Redis (or Valkey): settings, names and lists. Nothing connects before the first use.

A message is JSON, carries ids only and leaves no result. Redis may lose, repeat or reorder it (a worker that is killed
between taking a message and noting it has lost it, whatever the settings): the sweep finds what was lost.

Two Celery applications share one configuration: the workers' reads with BRPOP, so its sockets wait longer than that
does; the publisher's gives up soon, because somebody may wait for it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from celery import Celery
from kombu.entity import Queue as KombuQueue
from kombu.exceptions import KombuError
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from common.errors import QueueUnavailable
from common.queue.base import BATCH_IDS, QUEUE_OF, JobQueue, Queue, TaskName
from common.settings import Settings

PUBLISH_SECONDS: Final = 1.5
WORKER_SOCKET_SECONDS: Final = 10
VISIBILITY_SECONDS: Final = 600
# Kombu keeps a list for each priority step of a queue; the first has the queue's own name.
PRIORITY_STEPS: Final = (0, 3, 6, 9)
_SEPARATOR: Final = "\x06\x16"
_REDIS_ERRORS: Final = (KombuError, RedisError, OSError)


def configuration(socket_seconds: float) -> dict[str, Any]:
    """Celery's settings of every process."""
    return {
        "result_backend": None,
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "task_queues": [_declared(queue) for queue in Queue],
        "task_default_queue": Queue.CONTROL.value,
        "task_routes": {task.value: {"queue": queue.value} for task, queue in QUEUE_OF.items()},
        "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1},
        "broker_connection_timeout": 2,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            "visibility_timeout": VISIBILITY_SECONDS,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_timeout": socket_seconds,
            "socket_connect_timeout": 1,
            "health_check_interval": 10,
            "retry_on_timeout": False,
            # "priority" would starve the later queues for as long as the first has messages.
            "queue_order_strategy": "round_robin",
        },
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        # What Flower shows. That a task was sent would cost the sender a message more for each.
        "worker_send_task_events": True,
        "task_send_sent_event": False,
        "worker_consumer": "workers.consumer:Consumer",
        "beat_scheduler": "workers.beat:SweepScheduler",
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
    }


def checked(redis_url: str) -> str:
    """The URL as both of its clients take it. With `rediss:` the server's certificate is checked unless the URL says
    otherwise: kombu alone would not, and would send the password to whoever answers.

    Celery's words for it (`ssl_cert_reqs=CERT_REQUIRED`) become redis-py's (`required`).
    """
    parts = urlsplit(redis_url)
    if parts.scheme != "rediss":
        return redis_url
    query = dict(parse_qsl(parts.query))
    wanted = query.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    return urlunsplit(parts._replace(query=urlencode({**query, "ssl_cert_reqs": wanted})))


def make_app(settings: Settings) -> Celery:
    """The application that workers, beat and Flower run."""
    app = Celery("boveda", broker=checked(settings.redis_url.get_secret_value()), set_as_current=False)
    app.conf.update(configuration(WORKER_SOCKET_SECONDS))
    return app


class CeleryQueue(JobQueue):
    """Publishes through a Celery application of its own, made at the first use in each process (never before a fork).

    A publish ends within 2 s, whatever Redis does.
    """

    def __init__(self, redis_url: str, timeout: float = PUBLISH_SECONDS) -> None:
        self._url = checked(redis_url)
        self._timeout = timeout
        self._lock = Lock()
        self._pid = 0
        self._app: Celery | None = None
        self._redis: Redis | None = None

    def publish(self, task: TaskName, ids: Sequence[str]) -> None:
        if len(ids) > BATCH_IDS:
            raise ValueError(f"a message carries up to {BATCH_IDS} ids")
        app, _ = self._clients()
        args = [list(ids)] if task is not TaskName.SWEEP else []
        try:
            app.send_task(task.value, args=args, queue=QUEUE_OF[task].value, retry=False, ignore_result=True)
        except _REDIS_ERRORS as error:
            raise QueueUnavailable("the queue did not take a message") from error

    def depths(self) -> dict[str, int]:
        _, redis = self._clients()
        try:
            with redis.pipeline(transaction=False) as pipe:
                for queue in Queue:
                    for name in list_names(queue):
                        pipe.llen(name)
                lengths = pipe.execute()
        except _REDIS_ERRORS as error:
            raise QueueUnavailable("the queue cannot be reached") from error
        steps = len(PRIORITY_STEPS)
        return {queue.value: sum(lengths[i * steps : (i + 1) * steps]) for i, queue in enumerate(Queue)}

    def close(self) -> None:
        """Close idle connections."""
        with self._lock:
            app, redis, self._app, self._redis = self._app, self._redis, None, None
        if app is not None and redis is not None:
            app.close()
            redis.close()

    def _clients(self) -> tuple[Celery, Redis]:
        with self._lock:
            if self._app is None or self._redis is None or self._pid != os.getpid():
                self._app, self._redis = self._connectors()
                self._pid = os.getpid()
            return self._app, self._redis

    def _connectors(self) -> tuple[Celery, Redis]:
        app = Celery("boveda-publisher", broker=self._url, set_as_current=False)
        app.conf.update(configuration(self._timeout))
        app.conf.broker_transport_options = dict(_publishing(app.conf.broker_transport_options))
        redis = Redis.from_url(
            self._url,
            socket_timeout=self._timeout,
            socket_connect_timeout=min(1.0, self._timeout),
            retry=Retry(NoBackoff(), 0),
        )
        return app, redis


def list_names(queue: Queue) -> list[str]:
    """The Redis lists in which a queue's messages wait."""
    return [f"{queue.value}{_SEPARATOR}{step}" if step else queue.value for step in PRIORITY_STEPS]


def _declared(queue: Queue) -> KombuQueue:
    return KombuQueue(queue.value, routing_key=queue.value)  # type: ignore[no-untyped-call]


def _publishing(options: Mapping[str, Any]) -> Mapping[str, Any]:
    # A health check before a command, or a second try to connect, would wait for a hung Redis once more.
    return {**options, "health_check_interval": 0, "max_retries": 0}
