"""The use cases of a process: built once, at the first use, after the pool has started and never before a fork."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from common import telemetry
from common.settings import load
from workers.use_cases import DEFAULT_THREADS

if TYPE_CHECKING:
    from workers.use_cases import UseCases


class Process:
    """Safe across threads. `threads`: how many the pool has."""

    def __init__(self) -> None:
        self.threads = DEFAULT_THREADS
        self._lock = Lock()
        self._worker: UseCases | None = None

    def worker(self) -> UseCases:
        with self._lock:
            if self._worker is None:
                # Beat and Flower load the tasks' names too, and need neither database nor nodes.
                from workers.wiring import build

                settings = load()
                telemetry.configure(settings.log_level, settings.log_format)
                self._worker = build(settings, self.threads)
            return self._worker

    def serve_metrics(self) -> None:
        """Show what this process counts, where the settings say so. OSError if the address cannot be had."""
        address = load().worker_metrics
        if address:
            telemetry.serve(address)

    def leave(self) -> None:
        """Long jobs stop at their next checkpoint."""
        if self._worker is not None:
            self._worker.leave()

    def stop(self) -> None:
        with self._lock:
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()
