"""The prototype's load lines against Bóveda, and the same work on one raw node, in one run.

    ab -n 1000 -c 10 -p body -T multipart/form-data… http://…/cargar        (a file of 16 KiB)
    ab -n 1000 -c 10 http://…/descargar/Actividad.txt

Beside them: one node asked directly for the same 16 KiB by as many clients (wrk, distinct names, since a node
serialises puts to one name), and the copy lag: seconds from an upload's commit to its last copy, at 20 uploads/s.
Bóveda runs whole: three nodes, queue, API, workers, beat, Flower, all on this machine. Rounds alternate.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import click
import urllib3
from rich.console import Console
from rich.table import Table

from bench.cluster import Running, running_cluster
from bench.healing import Lag, copy_lag
from bench.load import Load, ab, wrk
from bench.systems import raw_node

SIZE = 16 * 1024
REQUESTS = 1000
CLIENTS = 10
RAW_SECONDS = 4
RAW_NAMES = 8000
RAW_STORED = 1000
LAG_UPLOADS = 100
LAG_RATE = 20.0
BOUNDARY = "boveda-bench-3f1c9a"


class RawNode:
    """One node of the cluster, asked directly for the same work."""

    def __init__(self, cluster: Running, folder: Path) -> None:
        node = raw_node(cluster)
        self._endpoint = node.endpoint
        self._puts, self._gets = folder / "puts", folder / "gets"
        stored = [f"stored/{number:05}" for number in range(RAW_STORED)]
        with urllib3.PoolManager(retries=False) as http:
            for name in stored:
                answer = http.request("PUT", node.endpoint + node.path("PUT", name), body=bytes(SIZE))
                if answer.status != 200:
                    raise click.ClickException(f"the node answered {answer.status}")
        self._puts.write_text("\n".join(node.path("PUT", f"raw/{number:05}") for number in range(RAW_NAMES)))
        self._gets.write_text("\n".join(node.path("GET", name) for name in stored))

    def put(self, body: Path) -> Load:
        return wrk(self._endpoint, "PUT", self._puts, CLIENTS, RAW_SECONDS, body)

    def get(self) -> Load:
        return wrk(self._endpoint, "GET", self._gets, CLIENTS, RAW_SECONDS)


@click.command()
@click.option("--rounds", default=3, show_default=True, help="how often each load runs")
@click.option("--json", "as_json", is_flag=True, help="one JSON document instead of the table")
def main(rounds: int, as_json: bool) -> None:
    """Measure the prototype's load lines against Bóveda and one raw node."""
    with tempfile.TemporaryDirectory() as name, running_cluster(Path(name) / "home") as cluster:
        result = measure(cluster, Path(name), rounds)
    if as_json:
        click.echo(json.dumps(result, indent=2))
    else:
        show(result)
    if any(load["bad"] for runs in result["loads"].values() for load in runs):  # type: ignore[attr-defined]
        sys.exit(1)


def measure(cluster: Running, folder: Path, rounds: int) -> dict[str, object]:
    content = os.urandom(SIZE)
    raw_body, form = folder / "raw.bin", folder / "form.bin"
    raw_body.write_bytes(content)
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="archivo"; filename="Actividad.txt"\r\n'
    form.write_bytes(head.encode() + b"Content-Type: text/plain\r\n\r\n" + content + f"\r\n--{BOUNDARY}--\r\n".encode())
    raw = RawNode(cluster, folder)
    loads: dict[str, list[Load]] = {"cargar": [], "raw put": [], "descargar": [], "raw get": []}
    for _ in range(rounds):
        upload = ab(
            REQUESTS,
            CLIENTS,
            "-p",
            str(form),
            "-T",
            f"multipart/form-data; boundary={BOUNDARY}",
            f"{cluster.url}/cargar",
        )
        loads["cargar"].append(upload)
        cluster.wait_converged()
        loads["raw put"].append(raw.put(raw_body))
        loads["descargar"].append(ab(REQUESTS, CLIENTS, f"{cluster.url}/descargar/Actividad.txt"))
        loads["raw get"].append(raw.get())
    cluster.wait_converged()
    lag = Lag.of(copy_lag(cluster.url, content, LAG_UPLOADS, LAG_RATE))
    return {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()},
        "node_kind": cluster.node_kind,
        "loads": {name: [asdict(load) for load in runs] for name, runs in loads.items()},
        "copy_lag_ms": asdict(lag),
    }


def show(result: dict[str, object]) -> None:
    console = Console()
    table = Table(title=f"16 KiB, {CLIENTS} clients; nodes: {result['node_kind']}; {result['machine']}")
    for column in ("load", "median /s", "least–most /s", "p50 ms", "p99 ms", "bad answers"):
        table.add_column(column, justify="left" if column == "load" else "right")
    for name, runs in result["loads"].items():  # type: ignore[attr-defined]
        rates = [run["rate"] for run in runs]
        table.add_row(
            name,
            f"{statistics.median(rates):,.0f}",
            f"{min(rates):,.0f}–{max(rates):,.0f}",
            f"{statistics.median(run['p50'] for run in runs):.1f}",
            f"{statistics.median(run['p99'] for run in runs):.1f}",
            str(sum(run["bad"] for run in runs)),
        )
    console.print(table)
    lag = result["copy_lag_ms"]
    console.print(
        f"copy lag at {LAG_RATE:.0f} uploads/s over {lag['uploads']} uploads: "  # type: ignore[index]
        f"p50 {lag['p50']:.0f} ms, p99 {lag['p99']:.0f} ms, most {lag['most']:.0f} ms"  # type: ignore[index]
    )
