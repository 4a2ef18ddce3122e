"""gunicorn's configuration, from the settings: `gunicorn -c python:api.gunicorn_conf api.wsgi:app`.

The master loads this once: it prepares the folder that the processes' metrics share (before any module that has
metrics is loaded), and the code, so that the processes share its memory. It opens the keyring for all of them. Clients
and threads are made in each process, after the fork.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import shutil
import sys
from typing import Any

from common import telemetry
from common.errors import ConfigurationError
from common.settings import load

FILES = 4096
KEPT_BYTES = 16 << 20  # of each thread's heap, when it was needed once
ON_HEAP_BYTES = 4 << 20  # chunks of objects, not whole blobs
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h

try:
    settings = load()
except ConfigurationError as error:
    sys.exit(str(error))

# Every connection is a file; the usual soft limit is less than `worker_connections` and the nodes' need.
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
if _soft != resource.RLIM_INFINITY:
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(_soft, min(_hard, FILES) if _hard > 0 else FILES), _hard))

# Otherwise glibc gives the memory of each chunk back to the system, and every page of the next chunk is a fault: half
# of the time that opening it takes.
_mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
if _mallopt is not None:
    _mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
    _mallopt(_M_MMAP_THRESHOLD, ON_HEAP_BYTES)

_metrics = settings.home.resolve() / "api-metrics"
shutil.rmtree(_metrics, ignore_errors=True)
_metrics.mkdir(parents=True, exist_ok=True)
telemetry.share(_metrics)

import api.application  # noqa: E402 - loaded once, before the fork; starts nothing
import api.wiring  # noqa: E402
from api.http.auth import read_secret  # noqa: E402
from api.server.worker import Log, Worker  # noqa: E402

try:
    if settings.auth == "token" and settings.admin_token_file is not None:
        read_secret(settings.admin_token_file)
except ConfigurationError as error:
    sys.exit(str(error))

telemetry.configure(settings.log_level, settings.log_format)
api.wiring.keyring(settings.keyring, settings.passphrase).open()

bind = f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"
workers = settings.api_processes
threads = settings.api_threads
worker_class = Worker
logger_class = Log
loglevel = settings.log_level
accesslog = None
keepalive = 60
graceful_timeout = 30
timeout = 60
backlog = 1024
limit_request_line = 8190  # a key of 1,024 bytes, each percent-encoded, fits
limit_request_field_size = 16 * 1024  # our own limit for stored headers is lower, and answers 422
limit_request_fields = 5000  # what may be stored, in the shortest headers; the head's bytes are bounded
forwarded_allow_ips = ""  # nothing here depends on what a proxy says of the client
http_parser = "python"  # what `api/server/request_head.py` changes, another parser would pass over
sendfile = False  # the sockets never block; what is sent is counted
control_socket_disable = True
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108 - the heartbeat; a disk may stall


def when_ready(server: Any) -> None:
    # The processes share what was loaded here until they write to it, and a garbage collection writes to all it sees.
    gc.collect()
    gc.freeze()


def post_worker_init(worker: Any) -> None:
    parts = worker.wsgi.extensions["boveda"]
    worker.idle_seconds = parts.settings.idle_timeout
    # Settings as plain attributes: gunicorn looks up twenty of them for each request, through `__getattr__`.
    vars(worker.cfg).update({name: setting.get() for name, setting in worker.cfg.settings.items()})
    parts.start()


def worker_exit(server: Any, worker: Any) -> None:
    application = getattr(worker, "wsgi", None)
    if application is not None:
        application.extensions["boveda"].stop()


def child_exit(server: Any, worker: Any) -> None:
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
