"""Logs and metrics of a process: JSON lines or a console, ids bound once, secrets never.

Events are constant names with fields: `log.warning("copy_suspected", blob=…, node=…)`. Names of objects are not logged,
only ids. Metrics are module-level objects of `prometheus_client` where they are counted; with several processes behind
one address (`share`, before the modules with metrics are loaded) `expose` adds them up; a process without an address of
its own gets one from `serve`.

Of prometheus_client's insides this needs `values.ValueClass`, by which a metric keeps its count.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    generate_latest,
    start_http_server,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

_SECRET = re.compile(r"secret|passw|passphrase|token|authorization|credential|dek$|access_key", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(\w+://[^\s:/@]*:)[^\s@]+@")

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"


def configure(level: str, form: str) -> None:
    """Send structlog's and the standard library's records to standard error. `form`: auto, json or console."""
    if form == "auto":
        form = "console" if sys.stderr.isatty() else "json"
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,  # never the renderers' own: those print the values of locals
        redact,
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if form == "console"
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blot out fields whose name says secret, and passwords inside URLs."""
    for name, value in event.items():
        if _SECRET.search(name):
            event[name] = "**********"
        elif isinstance(value, str) and "://" in value:
            event[name] = _URL_PASSWORD.sub(r"\1**********@", value)
    return event


@contextmanager
def bound(**fields: object) -> Iterator[None]:
    """Add ids (a task's, a job's) to every event inside the block."""
    with structlog.contextvars.bound_contextvars(**fields):
        yield


def share(folder: Path) -> None:
    """Keep the counts of all metrics that are made from now on in this folder, which other processes may have too."""
    os.environ[MULTIPROCESS] = str(folder)
    # Chosen when prometheus_client was loaded: in the embedded cluster by the parent of all processes, for one alone.
    values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]


def serve(address: str) -> None:
    """Answer `/metrics` at host:port from now on, on threads of its own that end with the process. OSError."""
    host, _, port = address.rpartition(":")
    start_http_server(int(port), host.strip("[]"))


def expose(*collectors: Collector) -> tuple[bytes, str]:
    """All metrics of this process, or of all processes that share a folder, and of `collectors` asked now."""
    registry = CollectorRegistry()
    if MULTIPROCESS in os.environ:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(_Whole())
    for collector in collectors:
        registry.register(collector)
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _Whole(Collector):
    def collect(self) -> Iterator[Any]:
        yield from REGISTRY.collect()
