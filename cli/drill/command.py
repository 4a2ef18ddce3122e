"""`boveda drill`: break the embedded cluster on purpose, under load, and watch it heal."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from cli.client.http import Refused
from cli.cluster.home import state
from cli.cluster.home.home import Home
from cli.cluster.host import ports
from cli.command import FAILED, ClientCommand
from cli.drill.incidents import Drill, Incident, check
from cli.drill.load import Load
from cli.drill.report import DrillReport
from cli.drill.stage import Stage
from cli.output import document
from common import settings
from common.errors import BovedaError, Unavailable

_SHORTEST = 3  # nodes: with fewer, losing one leaves no place for a second copy


@click.command(cls=ClientCommand, short_help="Break the embedded cluster on purpose, and watch it heal.")
@click.option("--seed", type=click.IntRange(0), help="What is broken, in which order; the report names it.")
@click.option("--minutes", type=click.FloatRange(0), default=0, help="Rounds of incidents until so long has passed.")
@click.option("--only", multiple=True, metavar="WORD", help="Only incidents whose name has this in it.")
@click.option("--yes", is_flag=True, help="Do not ask before a cluster with other data is touched.")
def drill(seed: int | None, minutes: float, only: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Break the embedded cluster of this home on purpose, under load, and watch it heal.

    Where none runs, one is started in a temporary home and deleted afterwards. Of a cluster that runs, nodes, the
    queue and the workers are killed, a node's disk is destroyed and a stored copy damaged; the disk only when every
    object of the store has a good copy elsewhere. The objects are the drill's own, in a bucket that it removes.

    Exit status 1 if anything acknowledged was lost, a wrong byte was served, or full copies did not come again.
    """
    chosen = secrets.randbelow(1_000_000) if seed is None else seed
    with _a_cluster(as_json) as (home, own):
        stage = _stage(home)
        if len(stage.rows("node")) < _SHORTEST:
            raise Unavailable(f"a drill needs {_SHORTEST} nodes (`boveda up --nodes {_SHORTEST}`)")
        if not own and not yes and _other_data(stage):
            click.confirm("This cluster holds other objects; break it all the same?", abort=True, err=True)
        report = _run(stage, chosen, minutes * 60, only, as_json)
    if as_json:
        document(report.document())
    else:
        report.show()
    if not report.good:
        sys.exit(FAILED)


def _run(stage: Stage, seed: int, seconds: float, only: tuple[str, ...], quiet: bool) -> DrillReport:
    stage.ask("PUT", f"/v1/buckets/{stage.bucket}", {"copies": 3, "write_copies": 1})
    load = Load(stage, seed)
    load.start()
    try:
        incidents = _rounds(Drill(stage, load, seed), seconds, only, quiet)
        load.stop()
        return DrillReport.of(seed, incidents, load, check(stage, load))
    finally:
        load.stop()
        _remove(stage)


def _rounds(drill: Drill, seconds: float, only: tuple[str, ...], quiet: bool) -> list[Incident]:
    """At least one round; an incident that fails is the last."""
    began, incidents = time.monotonic(), list[Incident]()
    while not incidents or time.monotonic() - began < seconds:
        for name, breaks in drill.round():
            if only and not any(word in name for word in only):
                continue
            if not quiet:
                click.echo(f"breaking: {name} …", err=True)
            incidents.append(drill.run(name, breaks))
            if incidents[-1].failed:
                return incidents
        if not incidents:
            raise click.UsageError("--only fits no incident")
    return incidents


def _remove(stage: Stage) -> None:
    """The drill's bucket with all that is in it. What is left of it after a failure can be seen and removed by hand."""
    with suppress(BovedaError):
        for found in list(stage.objects(stage.bucket)):
            with suppress(Refused):
                stage.ask("DELETE", stage.path(found["key"]))
        stage.ask("DELETE", f"/v1/buckets/{stage.bucket}")


def _other_data(stage: Stage) -> bool:
    return next(stage.everything(), None) is not None


def _stage(home: Home) -> Stage:
    config = settings.load()
    found = state.read(home)
    if found is None:
        raise Unavailable(f"no cluster runs in {home.path} (`boveda up` starts one)")
    hostname = next(iter(config.allowed_hosts), None)
    token = os.environ.get("BOVEDA_TOKEN", "").strip() or None
    return Stage(home, found.url, token, hostname, f"drill-{secrets.token_hex(4)}")


@contextmanager
def _a_cluster(quiet: bool) -> Iterator[tuple[Home, bool]]:
    """The home of the cluster that runs, or of one of its own, and whether it is that."""
    home = Home.of(settings.load().home)
    found = state.read(home)
    if found is not None and found.supervisor is not None and found.supervisor.alive():
        yield home, False
        return
    with tempfile.TemporaryDirectory(prefix="boveda-drill-") as folder:
        api, flower = ports.pick(2)
        own = {"BOVEDA_HOME": f"{folder}/home", "BOVEDA_PORT": str(api), "BOVEDA_FLOWER_PORT": str(flower)}
        if not quiet:
            click.echo(f"no cluster runs in {home.path}: starting one for the drill …", err=True)
        _boveda(own, "up", "--detach")
        try:
            yield Home.of(Path(own["BOVEDA_HOME"])), True
        finally:
            _boveda(own, "down", "--wipe", "--yes")


def _boveda(own: dict[str, str], *arguments: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("BOVEDA_HOST", "BOVEDA_URL")}
    ran = subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        env={**environment, **own},
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise Unavailable(f"`boveda {arguments[0]}` failed: {(ran.stderr or ran.stdout).strip()[-500:]}")
