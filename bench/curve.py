"""What another API process or another worker gives, on the cores there are.

    python -m bench.curve                   each setting a cluster of its own, three rounds

Clusters run one after the other, not side by side: an idle one would cost the others some of the cores. In each, wrk
puts and reads distinct objects of 16 KiB with 8 connections.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from bench.cluster import running_cluster
from bench.load import wrk
from bench.machine import machine
from bench.report import curved
from bench.systems import Boveda

SIZE = 16 * 1024
CLIENTS = 8
NAMES = 12_000
READ = 1000


@dataclass(frozen=True)
class Setting:
    api_processes: int
    workers: int


SETTINGS = (Setting(1, 2), Setting(2, 2), Setting(3, 2), Setting(3, 1))


@dataclass(frozen=True)
class Rates:
    """Requests a second; `everywhere`: uploads a second until the last copy exists."""

    put: float
    everywhere: float
    get: float


def measure(folder: Path, setting: Setting, seconds: float) -> Rates:
    body, paths = folder / "body", folder / "paths"
    body.write_bytes(os.urandom(SIZE))
    home = folder / f"home-{time.monotonic_ns()}"
    api_processes = str(setting.api_processes)
    with running_cluster(home, workers=setting.workers, BOVEDA_API_PROCESSES=api_processes) as cluster:
        bucket = Boveda(cluster, 1, [])
        names = [bucket.path("PUT", f"object-{number:06}") for number in range(NAMES)]
        paths.write_text("\n".join(names))
        started = time.monotonic()
        put = wrk(cluster.url, "PUT", paths, CLIENTS, seconds, body)
        bucket.wait_whole()
        settled = time.monotonic() - started
        # wrk tries its script once without sending the first request; the last ones were broken off.
        paths.write_text("\n".join(names[1 : min(READ, put.requests - CLIENTS)]))
        get = wrk(cluster.url, "GET", paths, CLIENTS, seconds)
    if put.bad or get.bad or put.requests > NAMES:
        raise click.ClickException(f"{put.bad} puts and {get.bad} reads failed, of {put.requests} and {get.requests}")
    return Rates(put.rate, put.requests / settled, get.rate)


@click.command()
@click.option("--rounds", default=3, show_default=True, help="how often each setting is tried")
@click.option("--seconds", default=4.0, show_default=True, help="of each load")
@click.option("--json", "as_json", is_flag=True, help="one JSON document instead of the table")
def main(rounds: int, seconds: float, as_json: bool) -> None:
    """What another API process or another worker gives."""
    if shutil.which("wrk") is None:
        raise click.ClickException("not found: wrk")
    runs: dict[Setting, list[Rates]] = {setting: [] for setting in SETTINGS}
    with tempfile.TemporaryDirectory() as name:
        for number in range(rounds):
            for setting, of in runs.items():
                of.append(measure(Path(name), setting, seconds))
            click.echo(f"round {number + 1} of {rounds}", err=True)
    document = {
        "machine": machine(),
        "settings": [{**asdict(setting), "rates": [asdict(rates) for rates in of]} for setting, of in runs.items()],
    }
    if as_json:
        click.echo(json.dumps(document))
    else:
        curved(document).show()


if __name__ == "__main__":
    main()
