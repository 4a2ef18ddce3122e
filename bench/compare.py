"""Bóveda beside what a user would take instead, on the same three nodes, in one run.

    python -m bench.compare                 all work, three rounds
    python -m bench.compare --rounds 5 --only 16k
    python -m bench.compare --huge          1 GiB as well

Systems: one raw node; `rclone serve s3` over crypt over a union that writes to all three nodes; the prototype's design;
Bóveda with 1, 2 and 3 copies before the answer. Each round does each work on each system, one after the other, so that
what the machine does meanwhile meets all of them. Between two runs everything acknowledged gets its copies; what that
takes is the rate at which *all* copies exist. Small objects: wrk over distinct names, since a node serialises puts to
one name. Large ones: curl. CPU and memory are those of the system's processes, nodes included.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import urllib3

from bench.cluster import running_cluster
from bench.load import Load, curl, wrk
from bench.machine import machine
from bench.report import GIB, compared
from bench.systems import RCLONE, System, systems, upload
from bench.usage import Usage

MIB = 1 << 20


@dataclass(frozen=True)
class Work:
    """`names`: what is stored for GETs, or to be put in a round; wrk takes `seconds`, curl (0) each name once.

    `span`: a range of so many bytes, at a random multiple of it; 0: the whole.
    """

    name: str
    method: str
    size: int
    clients: int
    seconds: float
    names: int
    span: int = 0

    @property
    def moved(self) -> int:
        """Bytes of each request."""
        return self.span or self.size


WORK = (
    Work("PUT 16k", "PUT", 16 * 1024, 8, 4, 12_000),
    Work("GET 16k", "GET", 16 * 1024, 8, 4, 1000),
    Work("PUT 16k, one client", "PUT", 16 * 1024, 1, 3, 6000),
    Work("GET 16k, one client", "GET", 16 * 1024, 1, 3, 1000),
    Work("PUT 1M", "PUT", MIB, 4, 4, 2000),
    Work("GET 1M", "GET", MIB, 4, 4, 100),
    Work("PUT 1M, one client", "PUT", MIB, 1, 3, 1000),
    Work("GET 1M, one client", "GET", MIB, 1, 3, 100),
    Work("PUT 64M", "PUT", 64 * MIB, 1, 0, 3),
    Work("GET 64M", "GET", 64 * MIB, 1, 0, 3),
    Work("GET 64k of 64M", "GET", 64 * MIB, 4, 4, 3, 64 * 1024),
)
HUGE = (
    Work("PUT 1G", "PUT", GIB, 1, 0, 1),
    Work("GET 1G", "GET", GIB, 1, 0, 1),
)


@dataclass(frozen=True)
class Run:
    """`everywhere`: requests/s until the last copy exists. CPU seconds, its settling included; resident MiB after.

    `moved`: bytes of all requests.
    """

    load: Load
    everywhere: float
    cpu: float
    resident: float
    moved: int


class Bench:
    def __init__(self, folder: Path, systems: Sequence[System]) -> None:
        self._folder = folder
        self._systems = systems
        self._puts = 0
        self._there: set[tuple[str, str]] = set()

    def measure(self, rounds: int, work: Sequence[Work], minutes: float) -> Mapping[str, Mapping[str, Sequence[Run]]]:
        """Runs by work and system; no round begins that would not end within so many minutes, if it takes as long."""
        for one in work:
            self._body(one.size)
            if one.method == "GET":
                self._store(one)
        result: dict[str, dict[str, list[Run]]] = {one.name: {} for one in work}
        began, longest = time.monotonic(), 0.0
        for number in range(rounds):
            started = time.monotonic()
            if number and started - began + longest > minutes * 60:
                break
            for one in work:
                for system in self._of(one):
                    result[one.name].setdefault(system.name, []).append(self._run(system, one))
                click.echo(f"round {number + 1} of {rounds}: {one.name}", err=True)
            longest = max(longest, time.monotonic() - started)
        return result

    def _of(self, work: Work) -> Sequence[System]:
        # How many copies there were before the answer is nothing to a reader.
        first = next(system.name for system in self._systems if system.name.startswith("boveda"))
        return [
            system
            for system in self._systems
            if work.method == "PUT" or not system.name.startswith("boveda") or system.name == first
        ]

    def _body(self, size: int) -> Path:
        path = self._folder / f"body-{size}"
        if not path.exists():
            path.write_bytes(os.urandom(size))
        return path

    def _store(self, work: Work) -> None:
        body = self._body(work.size).read_bytes()
        with urllib3.PoolManager(retries=False) as http:
            for system in self._of(work):
                for name in _stored(work):
                    if (system.name, name) not in self._there:
                        upload(http, system, name, body)
                        self._there.add((system.name, name))
                system.wait_whole()
                if work.span:
                    self._check_range(system, work)

    def _check_range(self, system: System, work: Work) -> None:
        """That it answers a range with the range: wrk would not notice."""
        first = work.size // 2
        headers = {"Range": f"bytes={first}-{first + work.span - 1}"}
        address = system.endpoint + system.path("GET", _stored(work)[0])
        answer = urllib3.request("GET", address, headers=headers, retries=False)
        with self._body(work.size).open("rb") as file:
            file.seek(first)
            if answer.data != file.read(work.span):  # rclone sends it with 200
                raise click.ClickException(f"{system.name} answered a range with {len(answer.data)} bytes, not with it")

    def _run(self, system: System, work: Work) -> Run:
        self._puts += 1
        fresh = [f"put-{self._puts}-{number:06}" for number in range(work.names)]
        paths = [system.path(work.method, name) for name in (fresh if work.method == "PUT" else _stored(work))]
        body = self._body(work.size) if work.method == "PUT" else None
        before, start = Usage.of(system.sessions), time.monotonic()
        if work.seconds:
            file = self._folder / "paths"
            file.write_text("\n".join(paths))
            span = (work.span, work.size) if work.span else None
            load = wrk(
                system.endpoint, work.method, file, work.clients, work.seconds, body, form=system.form, span=span
            )
        else:
            load = curl(system.endpoint, paths, body, work.clients, form=system.form)
        if work.method == "PUT" and load.requests > len(paths):
            raise click.ClickException(f"{work.name}: {system.name} used up all {len(paths)} names")
        system.wait_whole()
        everywhere = load.requests / (time.monotonic() - start)
        after = Usage.of(system.sessions)
        return Run(load, everywhere, after.cpu - before.cpu, after.resident, load.requests * work.moved)


def _stored(work: Work) -> Sequence[str]:
    return [f"stored-{work.size}-{number:06}" for number in range(work.names)]


@click.command()
@click.option("--rounds", default=3, show_default=True, help="how often each work is done on each system")
@click.option("--minutes", default=60.0, show_default=True, help="no further round that would end later")
@click.option("--seconds", type=float, help="of each load by wrk, instead of its own")
@click.option("--only", default="", help="only work whose name contains this")
@click.option("--huge", is_flag=True, help="1 GiB as well, which needs 15 GiB of disk for each round")
@click.option("--json", "as_json", is_flag=True, help="one JSON document instead of the table")
def main(rounds: int, minutes: float, seconds: float | None, only: str, huge: bool, as_json: bool) -> None:
    """Compare Bóveda with one raw node, rclone, and the prototype's design."""
    missing = [tool for tool in ("wrk", "curl", RCLONE) if shutil.which(tool) is None]
    if missing:
        raise click.ClickException(
            f"not found: {', '.join(missing)} (wrk and curl: Debian; rclone: requirements/bench.txt)"
        )
    all_work = WORK + HUGE if huge else WORK
    work = [
        replace(one, seconds=seconds) if seconds and one.seconds else one
        for one in all_work
        if only.lower() in one.name.lower()
    ]
    if not work:
        raise click.UsageError(f"no work is called so; there is: {', '.join(one.name for one in all_work)}")
    with (
        tempfile.TemporaryDirectory() as name,
        running_cluster(Path(name) / "home") as cluster,
        systems(cluster) as beside,
    ):
        runs = Bench(Path(name), beside).measure(rounds, work, minutes)
    document = {
        "machine": machine(),
        "rounds": max(len(of) for by in runs.values() for of in by.values()),
        "work": {name: {system: [asdict(run) for run in of] for system, of in by.items()} for name, by in runs.items()},
    }
    if as_json:
        click.echo(json.dumps(document))
    else:
        compared(document).show()


if __name__ == "__main__":
    main()
