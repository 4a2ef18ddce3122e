"""What an embedded cluster consists of, as values: from the settings and the home's layout to processes to start.

1. nodes and queue, 2. what must be done once before the others start (schema and rows, keyring), 3. API, workers, beat,
Flower.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from cli.cluster.home import layout, programs, servers
from cli.cluster.home.home import Home
from cli.cluster.home.layout import Layout
from cli.cluster.home.servers import Launch
from cli.cluster.host import ports
from common.settings import Settings

Kind = Literal["node", "queue", "setup", "api", "worker", "beat", "flower"]
SHARED_QUEUES = "replicate,repair,delete"
LIBRARIES = (
    *("structlog", "pydantic_settings", "blake3", "minio"),
    *("sqlalchemy.dialects.sqlite", "sqlalchemy.dialects.postgresql", "sqlite3"),
    *("celery.bin.celery", "celery.app.control", "celery.app.log", "celery.worker.components"),
    *("celery.worker.consumer", "celery.worker.strategy", "celery.concurrency.thread", "kombu.transport.redis"),
)
"""What most of our processes need; the supervisor loads it once for all of them. None is our own code: a process that
is started again runs what lies on the disk then."""
SHOWN_TASKS = 5000
"""How many tasks Flower keeps, at 5 KB each."""
_API_GRACE, _WORKER_GRACE = 4.0, 5.0


@dataclass(frozen=True, slots=True)
class Spec:
    """One process: how it is started, what it is called, where its data and its log are."""

    name: str
    kind: Kind
    launch: Launch
    data: Path
    log: Path
    bucket: str | None = None
    credentials: Path | None = None

    def end_of_log(self) -> str:
        """Its last words, under a line that says where they stand."""
        lines = self.log.read_text(errors="replace").splitlines()[-8:] if self.log.exists() else []
        return "\n".join((f"the end of {self.log}:", *lines))


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    home: Home
    url: str
    hostname: str
    servers: Sequence[Spec]
    setup: Sequence[Spec]
    ours: Sequence[Spec]
    libraries: Sequence[str] = ()


def make(home: Home, settings: Settings, places: Layout, workers: int) -> ClusterPlan:
    """The plan of this start. ConfigurationError if a server's program is not there."""
    nodes = [node(home, places, name) for name in places.nodes]
    environment = _environment(home, settings, places)
    return ClusterPlan(
        home=home,
        url=own_url(settings),
        hostname=settings.allowed_hosts[0] if settings.allowed_hosts else "localhost",
        servers=[*nodes, _queue(home, places)],
        setup=_setup(home, environment),
        ours=_ours(home, settings, places, environment, workers),
        libraries=LIBRARIES,
    )


def own_url(settings: Settings) -> str:
    """Where this cluster's API can be reached from this machine, whatever BOVEDA_URL says."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared, not bound
    return replace_host(host, settings.port)


def replace_host(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def node(home: Home, places: Layout, name: str) -> Spec:
    place = places.nodes[name]
    _, program = programs.choose_node(place.kind)
    launch = servers.node(place.kind, program, home.node(name), place.ports, layout.credentials(home, name))
    return Spec(
        name=name,
        kind="node",
        launch=launch,
        data=home.node(name) / "data",
        log=home.log(name),
        bucket=layout.BUCKET,
        credentials=home.credentials / f"{name}.json",
    )


def _queue(home: Home, places: Layout) -> Spec:
    data = home.path / "queue"
    launch = servers.queue(programs.choose_queue(), data, places.queue_port, places.queue_password)
    return Spec("queue", "queue", launch, data, home.log("queue"))


def _setup(home: Home, environment: Mapping[str, str]) -> list[Spec]:
    commands = {
        "migrate": ("common.catalogue.migrate:main", ("migrate",)),
        "keys": ("cli.main:main", ("boveda", "keys", "init", "--if-absent")),
    }
    return [
        Spec(name, "setup", _forked(main, argv, environment), home.path, home.log(name))
        for name, (main, argv) in commands.items()
    ]


def _ours(home: Home, settings: Settings, places: Layout, environment: Mapping[str, str], workers: int) -> list[Spec]:
    url = own_url(settings)
    argv = ("gunicorn", "-c", "python:api.gunicorn_conf", "api.wsgi:app")
    api = _forked("gunicorn.app.wsgiapp:run", argv, environment)
    api = replace(api, endpoint=url, ready="/healthz", grace=_API_GRACE)
    beat = _celery(environment, "beat", "--pidfile=")
    queues = {f"worker{number}": (SHARED_QUEUES, 8) for number in range(1, workers + 1)}
    queues |= {"control": ("control", 4), "scrub": ("scrub", 2)}
    metrics = ports.pick(len(queues), [*places.used(), settings.port, settings.flower_port])
    return [
        Spec("api", "api", api, home.path, home.log("api")),
        *(
            _worker(home, environment, name, *of, port)
            for (name, of), port in zip(queues.items(), metrics, strict=True)
        ),
        Spec("beat", "beat", beat, home.path, home.log("beat")),
        *([_flower(home, environment, settings.flower_port)] if settings.flower_port else []),
    ]


def _flower(home: Home, environment: Mapping[str, str], port: int) -> Spec:
    at = (f"--address={servers.HOST}", f"--port={port}", f"--max-tasks={SHOWN_TASKS}")
    launch = _celery(environment, "flower", *at)
    launch = replace(launch, endpoint=replace_host(servers.HOST, port), ready="/healthcheck")
    return Spec("flower", "flower", launch, home.path, home.log("flower"))


def _worker(home: Home, environment: Mapping[str, str], name: str, queues: str, threads: int, metrics: int) -> Spec:
    """`metrics`: the port where it shows what it counts; that is its endpoint."""
    arguments = ("worker", "--pool", "threads", "-c", str(threads), "-Q", queues, "-n", f"{name}@%h")
    environment = {**environment, "BOVEDA_WORKER_METRICS": f"{servers.HOST}:{metrics}"}
    # A heartbeat tells Flower that the worker lives, and costs more than anything else that it does while idle.
    launch = _celery(environment, *arguments, "--heartbeat-interval", "10")
    launch = replace(launch, endpoint=replace_host(servers.HOST, metrics), ready="/metrics")
    return Spec(name, "worker", launch, home.path, home.log(name))


def _celery(environment: Mapping[str, str], *arguments: str) -> Launch:
    return _forked("celery.__main__:main", ("celery", "-A", "workers.celery", *arguments), environment)


def _forked(main: str, argv: Sequence[str], environment: Mapping[str, str]) -> Launch:
    return Launch(argv, environment, endpoint="", grace=_WORKER_GRACE, main=main)


_PATHS = ("admin_token_file", "keyring_file", "passphrase_file", "secrets_dir")


def _environment(home: Home, settings: Settings, places: Layout) -> dict[str, str]:
    """Ours with all paths absolute, since the processes run in the home folder, and with what this cluster decides."""
    environment = dict(os.environ)
    for name in _PATHS:
        path: Path | None = getattr(settings, name)
        if path is not None:
            environment[f"BOVEDA_{name.upper()}"] = str(path.absolute())
    queue = f"redis://:{places.queue_password}@{servers.HOST}:{places.queue_port}/0"
    return environment | {
        "BOVEDA_HOME": str(home.path),
        "BOVEDA_NODES_FILE": str(home.nodes_file),
        "BOVEDA_CREDENTIALS_DIR": str(home.credentials),
        "BOVEDA_REDIS_URL": queue,
        "PYTHONUNBUFFERED": "1",
    }
