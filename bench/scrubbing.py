"""How fast a scrub job reads, and what readers notice of it.

    python -m bench.scrubbing    objects of 8 MiB less a byte are scrubbed while two clients read objects of 16 KiB

Rounds of the same readers without and with the job, one after the other, in an embedded cluster of its own.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import urllib3

from bench.cluster import Running, running_cluster

READERS = 2
SMALL, SMALL_OBJECTS = 16 * 1024, 50
LARGE = (8 << 20) - 1  # one blob each


@dataclass(frozen=True)
class Round:
    """MB/s of ciphertext that the job read; the readers' p99 in milliseconds without and with it; reads beside it."""

    megabytes_per_second: float
    p99_without: float
    p99_with: float
    reads_with: int


class Readers:
    """Clients that read small objects one after the other until they are told to stop; seconds of each read."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stopping = threading.Event()
        self.seconds: list[float] = []

    def run(self) -> None:
        http = urllib3.PoolManager(retries=False)
        number = 0
        while not self._stopping.is_set():
            number += 1
            started = time.perf_counter()
            name = f"{self._url}/v1/buckets/archivos/objects/small-{number % SMALL_OBJECTS}"
            answer = http.request("GET", name)
            if answer.status != 200:
                raise click.ClickException(f"a read answered {answer.status}")
            self.seconds.append(time.perf_counter() - started)

    def stop(self) -> None:
        self._stopping.set()

    @property
    def p99(self) -> float:
        ordered = sorted(self.seconds)
        return ordered[int(len(ordered) * 0.99) - 1] * 1000


def fill(cluster: Running, objects: int) -> None:
    http = urllib3.PoolManager(retries=False)
    bodies = {f"small-{number}": SMALL for number in range(SMALL_OBJECTS)}
    bodies |= {f"large-{number}": LARGE for number in range(objects)}
    for name, size in bodies.items():
        answer = http.request("PUT", f"{cluster.url}/v1/buckets/archivos/objects/{name}", body=os.urandom(size))
        if answer.status not in (200, 201):
            raise click.ClickException(f"upload of {name} answered {answer.status}")
    cluster.wait_converged()


def one_round(cluster: Running, seconds: float) -> Round:
    with ThreadPoolExecutor(READERS) as pool:
        alone = Readers(cluster.url)
        readers = [pool.submit(alone.run) for _ in range(READERS)]
        time.sleep(seconds)
        alone.stop()
        for reader in readers:
            reader.result()
        beside = Readers(cluster.url)
        readers = [pool.submit(beside.run) for _ in range(READERS)]
        started = time.monotonic()
        job = scrub(cluster.url)
        took = time.monotonic() - started
        beside.stop()
        for reader in readers:
            reader.result()
    return Round(job["progress"]["bytes"] / took / 1e6, alone.p99, beside.p99, len(beside.seconds))


def scrub(url: str) -> dict[str, Any]:
    """The job document once it is done."""
    job = urllib3.request("POST", f"{url}/v1/jobs", json={"kind": "scrub"}, retries=False).json()
    while job["state"] in ("queued", "running"):
        time.sleep(0.05)
        job = urllib3.request("GET", f"{url}/v1/jobs/{job['id']}", retries=False).json()
    if job["state"] != "done":
        raise click.ClickException(f"the scrub ended as {job['state']}: {job['error']}")
    return dict(job)


@click.command()
@click.option("--objects", default=120, show_default=True, help="objects of 8 MiB")
@click.option("--seconds", default=8.0, show_default=True, help="of reading without a scrub, each round")
@click.option("--rounds", default=3, show_default=True)
def main(objects: int, seconds: float, rounds: int) -> None:
    """How fast a scrub reads, and what readers notice of it."""
    with tempfile.TemporaryDirectory() as name, running_cluster(Path(name) / "home") as cluster:
        fill(cluster, objects)
        for _ in range(rounds):
            click.echo(json.dumps(asdict(one_round(cluster, seconds))))


if __name__ == "__main__":
    main()
