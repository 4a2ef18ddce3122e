"""What a read costs when one byte of one copy is damaged, and what comes out of it.

    python -m bench.flipped                 sizes of 16 KiB, 1 MiB and 16 MiB, nine objects of each on each system

1. Each object is stored, has all its copies, and is read a few times as it is.
2. On one node after the other one byte amid its copy is changed, behind the system's back; the object is read at once,
   and a few times more; then the copy is put right. Which copy a system reads is its own business: the slowest of an
   object's first reads is the one that met the damage.
3. Every byte that came is compared: right, wrong with an answer that looked complete, or failed.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click
import urllib3
from minio import Minio

from bench import report
from bench.cluster import Running, running_cluster
from bench.systems import System, node_client, systems, upload

SIZES = (16 * 1024, 1 << 20, 16 << 20)
READS = 5  # as it is, and after the first read of each damage


@dataclass
class Outcome:
    """Of all reads with a damaged copy. Milliseconds: as it is, of the read that met the damage, and of later ones."""

    right: int = 0
    wrong: int = 0
    failed: int = 0
    clean: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    later: list[float] = field(default_factory=list)

    def count(self, content: bytes | None, expected: bytes) -> None:
        if content is None:
            self.failed += 1
        elif content == expected:
            self.right += 1
        else:
            self.wrong += 1


class Disk:
    """A node, asked directly."""

    def __init__(self, client: Minio) -> None:
        self._client = client

    def names(self) -> set[tuple[str, str]]:
        return {
            (bucket.name, str(found.object_name))
            for bucket in self._client.list_buckets()
            for found in self._client.list_objects(bucket.name, recursive=True)
        }

    def read(self, place: tuple[str, str]) -> bytes:
        answer = self._client.get_object(*place)
        try:
            return bytes(answer.read())
        finally:
            answer.close()
            answer.release_conn()

    def write(self, place: tuple[str, str], content: bytes) -> None:
        self._client.put_object(*place, io.BytesIO(content), len(content))


class Bench:
    def __init__(self, cluster: Running) -> None:
        self._cluster = cluster
        self._disks = [Disk(node_client(node)) for node in cluster.nodes()]

    def damage(self, system: System, name: str, body: bytes, outcome: Outcome) -> None:
        before = [disk.names() for disk in self._disks]
        with urllib3.PoolManager(retries=False) as http:
            upload(http, system, name, body)
        system.wait_whole()
        for _ in range(READS):
            content, took = _read(system, name)
            if content != body:
                raise click.ClickException(f"{system.name} does not give back {name} as it was stored")
            outcome.clean.append(took)
        firsts = []
        for disk, had in zip(self._disks, before, strict=True):
            place = _copy_of(disk, had, system)
            good = disk.read(place)
            damaged = bytearray(good)
            damaged[len(damaged) // 2] ^= 1
            disk.write(place, bytes(damaged))
            content, took = _read(system, name)
            outcome.count(content, body)
            firsts.append(took)
            for _ in range(READS):
                content, took = _read(system, name)
                outcome.count(content, body)
                outcome.later.append(took)
            disk.write(place, good)
            system.wait_whole()
        outcome.first.append(max(firsts))


def _copy_of(disk: Disk, had: set[tuple[str, str]], system: System) -> tuple[str, str]:
    """The largest is looked into: an object of several blobs has several names."""
    new = sorted(place for place in disk.names() - had if not place[1].startswith("quarantine/"))
    if not new:
        raise click.ClickException(f"{system.name} left nothing on a node")
    return max(new, key=lambda place: len(disk.read(place)))


def _read(system: System, name: str) -> tuple[bytes | None, float]:
    """The content, None without a complete answer of success; milliseconds."""
    started = time.perf_counter()
    try:
        answer = urllib3.request("GET", system.endpoint + system.path("GET", name), retries=False, timeout=30)
        content = answer.data if answer.status == 200 else None
    except urllib3.exceptions.HTTPError:
        content = None
    return content, (time.perf_counter() - started) * 1000


@click.command()
@click.option("--objects", default=9, show_default=True, help="of each size on each system")
@click.option("--json", "as_json", is_flag=True, help="one JSON document instead of the table")
def main(objects: int, as_json: bool) -> None:
    """What a read costs when one byte of one copy is damaged."""
    result: dict[str, dict[str, Outcome]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        running_cluster(Path(folder) / "home") as cluster,
        systems(cluster) as compared,
    ):
        bench = Bench(cluster)
        several = [system for system in compared if len(system.sessions) > 1]
        for size in SIZES:
            for number in range(objects):
                for system in several:
                    outcome = result.setdefault(_words(size), {}).setdefault(system.name, Outcome())
                    bench.damage(system, f"damaged-{size}-{number}", os.urandom(size), outcome)
            click.echo(f"{_words(size)} is done", err=True)
    document = {size: {name: asdict(of) for name, of in by.items()} for size, by in result.items()}
    if as_json:
        click.echo(json.dumps(document))
    else:
        report.flipped(document).show()
    if any(of.wrong for name in result.values() for system, of in name.items() if system.startswith("boveda")):
        raise click.ClickException("wrong bytes came out of Bóveda")


def _words(size: int) -> str:
    return f"{size >> 20} MiB" if size >> 20 else f"{size >> 10} KiB"


if __name__ == "__main__":
    main()
