"""Celery tasks: ids in, a use case, nothing out.

A task may come twice, late or never; it ends quietly when there is nothing to do. What goes wrong is logged here, at
the process's edge, shows as failed in Flower, and is left to the sweep: the rows say what is still to do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from celery import Celery, signals

from common import telemetry
from common.errors import BovedaError
from common.jobs.base import TaskName
from workers.wiring import Process, Worker

LOG = structlog.get_logger(__name__)
Work = Callable[[Worker], object]


def register(app: Celery) -> Celery:
    """Give the application its tasks, and the process's start and end their hooks."""
    process = Process()

    def task(name: TaskName, work: Callable[..., Work]) -> None:
        def run(self: Any, *args: Any) -> None:
            with telemetry.bound(task=name.value, task_id=self.request.id):
                perform(process, work(*args))

        # `throws`: what is raised was logged by `perform`; Celery need not write its traceback again.
        app.task(run, name=name.value, bind=True, ignore_result=True, throws=(Exception,))

    task(TaskName.REPLICATE, lambda blob_ids: lambda worker: worker.replicate(blob_ids))
    task(TaskName.VERIFY, lambda blob_ids: lambda worker: worker.verify(blob_ids))
    task(TaskName.DELETE, lambda blob_ids: lambda worker: worker.delete(blob_ids))
    task(TaskName.JOB, lambda job_ids: lambda worker: [worker.run_job(job_id) for job_id in job_ids])
    task(TaskName.SWEEP, lambda: lambda worker: worker.sweep())
    connect(process)
    return app


def perform(process: Process, work: Work) -> None:
    try:
        work(process.worker())
    except BovedaError as error:
        LOG.warning("task_failed", error=type(error).__name__, detail=error.detail)
        raise
    except ExceptionGroup as group:
        LOG.exception("task_failed_in_part", errors=[type(error).__name__ for error in group.exceptions])
        raise
    except Exception:
        LOG.exception("task_unexpected")
        raise


def connect(process: Process) -> None:
    """The pool's threads exist only after the worker is ready: nothing is built before, and nothing before a fork."""

    def starting(sender: Any = None, **_: Any) -> None:
        process.threads = int(getattr(sender, "concurrency", 0) or process.threads)

    def ready(**_: Any) -> None:
        process.worker()

    # Weak references would let the hooks vanish with this call's frame.
    signals.worker_init.connect(starting, weak=False)
    signals.worker_ready.connect(ready, weak=False)
    signals.worker_shutting_down.connect(lambda **_: process.leave(), weak=False)
    signals.worker_shutdown.connect(lambda **_: process.stop(), weak=False)
