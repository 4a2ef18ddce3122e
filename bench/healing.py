"""How soon copies follow: the lag of replication under a steady load, a node's return, and an empty disk in its place.

    python -m bench.healing lag          seconds from an upload's commit to its last copy, at so many uploads a second
    python -m bench.healing returning    a node comes back and misses so many copies: the first of them, and the last
    python -m bench.healing wiped        a node's disk is replaced by an empty one: seconds from its acceptance

Each runs in an embedded cluster of its own: three nodes, queue, API, workers, beat, Flower, all on this machine.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import click
import urllib3

from bench.cluster import BOVEDA, Running, running_cluster

SIZE = 16 * 1024
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Lag:
    """Milliseconds over so many uploads."""

    uploads: int
    p50: float
    p99: float
    most: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Lag:
        ordered = sorted(seconds)
        return cls(
            len(ordered),
            statistics.median(ordered) * 1000,
            ordered[max(0, int(len(ordered) * 0.99) - 1)] * 1000,
            ordered[-1] * 1000,
        )


def copy_lag(url: str, body: bytes, uploads: int, rate: float, prefix: str = "lag") -> list[float]:
    """Seconds from each upload's commit to its last copy, at `rate` uploads a second; read from the copy rows."""
    http = urllib3.PoolManager(retries=False)
    committed: dict[str, float] = {}
    start = time.monotonic()
    for number in range(uploads):
        name = f"{prefix}-{number:05}"
        time.sleep(max(0.0, start + number / rate - time.monotonic()))
        committed[name] = _put(http, url, name, body)
    end = time.monotonic() + 60
    return [_last_copy(http, url, name, end) - at for name, at in committed.items()]


def _put(http: urllib3.PoolManager, url: str, name: str, body: bytes) -> float:
    """When it was committed."""
    answer = http.request("PUT", f"{url}/v1/buckets/archivos/objects/{name}", body=body)
    if answer.status not in (200, 201):
        raise click.ClickException(f"upload of {name} answered {answer.status}")
    return _seconds(answer.json()["created_at"])


def _last_copy(http: urllib3.PoolManager, url: str, name: str, end: float) -> float:
    while True:
        copies = http.request("GET", f"{url}/v1/buckets/archivos/copies/{name}").json()["copies"]
        if all(copy["state"] == "stored" for copy in copies):
            return max(_seconds(copy["stored_at"]) for copy in copies)
        if time.monotonic() > end:
            raise click.ClickException(f"{name} has not all its copies")
        time.sleep(0.05)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@dataclass(frozen=True)
class Returned:
    """Seconds from the moment the node serves again to the first of its missing copies and to the last."""

    missing: int
    first: float
    last: float


def returning(cluster: Running, objects: int) -> Returned:
    http = urllib3.PoolManager(retries=False, maxsize=8)
    body = os.urandom(SIZE)
    _act(cluster, "kill", "node3")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: _put(http, cluster.url, f"missed-{number:05}", body), range(objects)))
    _wait(lambda: _missing(cluster) == objects, 120)
    _act(cluster, "start", "node3")
    started = time.monotonic()
    first = _wait(lambda: _missing(cluster) < objects, 120) - started
    last = _wait(lambda: _missing(cluster) == 0, 300) - started
    return Returned(objects, first, last)


@dataclass(frozen=True)
class Wiped:
    """Seconds from the acceptance of an empty disk until every copy is on it again."""

    small: int
    large: int
    whole: float


def wiped(cluster: Running, small: int, large: int) -> Wiped:
    """`small` objects of 16 KiB and `large` ones of 16 MiB."""
    http = urllib3.PoolManager(retries=False, maxsize=8)
    bodies = {f"small-{number:05}": SIZE for number in range(small)}
    bodies |= {f"large-{number:03}": 16 << 20 for number in range(large)}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda item: _put(http, cluster.url, item[0], os.urandom(item[1])), bodies.items()))
    cluster.wait_converged()
    (node,) = [node for node in cluster.nodes() if node["name"] == "node3"]
    _act(cluster, "stop", "node3")
    for entry in Path(node["data"]).iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    _act(cluster, "start", "node3")
    _wait(lambda: _health(cluster, "node3") == "foreign", 60)
    # Each API process looks at the disks for itself: one that has not seen the new disk yet refuses.
    started = _wait(lambda: _accepted(cluster, "node3"), 30)
    whole = _wait(lambda: _all_protected(cluster), 600)
    return Wiped(small, large, whole - started)


def _accepted(cluster: Running, name: str) -> bool:
    answer = urllib3.request("PATCH", f"{cluster.url}/v1/nodes/{name}", json={"accept": True}, retries=False)
    return answer.status == 200


def _health(cluster: Running, name: str) -> str:
    nodes = urllib3.request("GET", f"{cluster.url}/v1/nodes", retries=False).json()["nodes"]
    return str(next(node["health"] for node in nodes if node["name"] == name))


def _all_protected(cluster: Running) -> bool:
    status = urllib3.request("GET", f"{cluster.url}/v1/status", retries=False).json()
    return bool(sum(status["objects"].values()) == status["objects"]["protected"])


def _act(cluster: Running, action: str, name: str) -> None:
    subprocess.run([*BOVEDA, "cluster", action, name], check=True, capture_output=True, env=cluster.environment)


def _missing(cluster: Running) -> int:
    return int(urllib3.request("GET", f"{cluster.url}/v1/status", retries=False).json()["copies"]["missing"])


def _wait(condition: Callable[[], bool], seconds: float) -> float:
    """When it held."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise click.ClickException(f"not within {seconds:.0f} s")
        time.sleep(POLL_SECONDS)
    return time.monotonic()


@click.group()
def main() -> None:
    """How soon copies follow."""


@main.command("lag")
@click.option("--uploads", default=600, show_default=True)
@click.option("--rate", default=20.0, show_default=True, help="uploads a second")
@click.option("--rounds", default=2, show_default=True)
def lag(uploads: int, rate: float, rounds: int) -> None:
    """Seconds from an upload's commit to its last copy."""
    with tempfile.TemporaryDirectory() as name, running_cluster(Path(name) / "home") as cluster:
        for number in range(rounds):
            seconds = copy_lag(cluster.url, os.urandom(SIZE), uploads, rate, f"lag{number}")
            click.echo(json.dumps(asdict(Lag.of(seconds))))


@main.command("wiped")
@click.option("--small", default=1000, show_default=True, help="objects of 16 KiB")
@click.option("--large", default=20, show_default=True, help="objects of 16 MiB")
def wiped_(small: int, large: int) -> None:
    """A node's disk is replaced by an empty one."""
    with tempfile.TemporaryDirectory() as name, running_cluster(Path(name) / "home") as cluster:
        click.echo(json.dumps(asdict(wiped(cluster, small, large))))


@main.command("returning")
@click.option("--objects", default=1000, show_default=True)
def returning_(objects: int) -> None:
    """A node comes back and misses so many copies."""
    with tempfile.TemporaryDirectory() as name, running_cluster(Path(name) / "home") as cluster:
        click.echo(json.dumps(asdict(returning(cluster, objects))))


@main.command("all")
@click.pass_context
def all_(context: click.Context) -> None:
    """Each of them, one after the other."""
    for command in (lag, returning_, wiped_):
        click.echo(f"{command.name}: {command.help}")
        context.invoke(command)


if __name__ == "__main__":
    main()
