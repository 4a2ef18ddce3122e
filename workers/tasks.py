"""Celery tasks: ids in, a use case, nothing out.

A task may come twice, late or never; it ends quietly when there is nothing to do. What goes wrong is logged here, at
the process's edge, shows as failed in Flower, and is left to the sweep: the rows say what is still to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import structlog
from celery import Celery, signals

from common import telemetry
from common.errors import BovedaError
from common.queue.base import TaskName
from workers.process import Process

if TYPE_CHECKING:
    from workers.use_cases import UseCases

LOG = structlog.get_logger(__name__)


def register(app: Celery) -> Celery:
    """Give the application its tasks, and the process's start and end their hooks."""
    process = Process()
    for name, work in WORK.items():
        # `throws`: what is raised was logged by `perform`; Celery need not write its traceback again.
        app.task(_task(process, name, work), name=name.value, bind=True, ignore_result=True, throws=(Exception,))
    connect(process)
    return app


def replicate(worker: UseCases, blob_ids: list[str]) -> None:
    worker.replicate(blob_ids)


def verify(worker: UseCases, blob_ids: list[str]) -> None:
    worker.verify(blob_ids)


def doubt(worker: UseCases, blob_ids: list[str]) -> None:
    worker.doubt(blob_ids)


def delete(worker: UseCases, blob_ids: list[str]) -> None:
    worker.delete(blob_ids)


def drop_surplus(worker: UseCases, blob_ids: list[str]) -> None:
    worker.drop_surplus(blob_ids)


def run_job(worker: UseCases, job_ids: list[str]) -> None:
    for job_id in job_ids:
        worker.run_job(job_id)


def scrub(worker: UseCases, node_ids: list[str]) -> None:
    for node_id in node_ids:
        worker.scrub(node_id)


def reclaim(worker: UseCases, node_ids: list[str]) -> None:
    for node_id in node_ids:
        worker.reclaim(node_id)


def sweep(worker: UseCases) -> None:
    worker.sweep.asked()


WORK: Mapping[TaskName, Callable[..., None]] = {
    TaskName.REPLICATE: replicate,
    TaskName.VERIFY: verify,
    TaskName.DOUBT: doubt,
    TaskName.DELETE: delete,
    TaskName.DROP_SURPLUS: drop_surplus,
    TaskName.JOB: run_job,
    TaskName.SCRUB: scrub,
    TaskName.RECLAIM: reclaim,
    TaskName.SWEEP: sweep,
}


def _task(process: Process, name: TaskName, work: Callable[..., None]) -> Callable[..., None]:
    def run(self: Any, *args: Any) -> None:
        with telemetry.bound(task=name.value, task_id=self.request.id):
            perform(process, work, *args)

    return run


def perform(process: Process, work: Callable[..., None], *args: Any) -> None:
    try:
        work(process.worker(), *args)
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
        try:
            process.serve_metrics()
        except OSError as error:  # the process's edge: copies are made all the same
            LOG.error("metrics_not_served", error=str(error))

    # Weak references would let the hooks vanish with this call's frame.
    signals.worker_init.connect(starting, weak=False)
    signals.worker_ready.connect(ready, weak=False)
    signals.worker_shutting_down.connect(lambda **_: process.leave(), weak=False)
    signals.worker_shutdown.connect(lambda **_: process.stop(), weak=False)
