"""The prototype's load lines against Bóveda and against its own design, and the same work on one raw node, in one run.

    ab -n 1000 -c 10 -p body -T multipart/form-data… http://…/cargar        (a file of 16 KiB)
    ab -n 1000 -c 10 http://…/descargar/Actividad.txt

Beside them: one node asked directly for the same 16 KiB by as many clients (wrk, distinct names, since a node
serialises puts to one name), and the copy lag: seconds from an upload's commit to its last copy, at 20 uploads/s.
Bóveda runs whole: three nodes, queue, API, workers, beat, Flower, all on this machine. Rounds alternate.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import click
import urllib3

from bench.cluster import Running, running_cluster
from bench.healing import Lag, copy_lag
from bench.load import Load, ab, wrk
from bench.machine import machine
from bench.report import loads
from bench.systems import raw_node, running_prototype

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
        loads(result).show()
    if any(load["bad"] for runs in result["loads"].values() for load in runs):  # type: ignore[attr-defined]
        sys.exit(1)


def measure(cluster: Running, folder: Path, rounds: int) -> dict[str, object]:
    content = os.urandom(SIZE)
    raw_body, form = folder / "raw.bin", folder / "form.bin"
    raw_body.write_bytes(content)
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="archivo"; filename="Actividad.txt"\r\n'
    form.write_bytes(head.encode() + b"Content-Type: text/plain\r\n\r\n" + content + f"\r\n--{BOUNDARY}--\r\n".encode())
    raw = RawNode(cluster, folder)
    runs: dict[str, list[Load]] = {}
    with running_prototype(cluster) as prototype:
        endpoints = {"Bóveda": cluster.url, "prototype": prototype.endpoint}
        for _ in range(rounds):
            for name, url in endpoints.items():
                runs.setdefault(f"{name}: cargar", []).append(_cargar(url, form))
                cluster.wait_converged()
            runs.setdefault("one raw node: put", []).append(raw.put(raw_body))
            for name, url in endpoints.items():
                runs.setdefault(f"{name}: descargar", []).append(_descargar(url))
            runs.setdefault("one raw node: get", []).append(raw.get())
    cluster.wait_converged()
    lag = Lag.of(copy_lag(cluster.url, content, LAG_UPLOADS, LAG_RATE))
    return {
        "machine": machine(),
        "node_kind": cluster.node_kind,
        "loads": {name: [asdict(load) for load in of] for name, of in runs.items()},
        "copy_lag_ms": asdict(lag),
    }


def _cargar(url: str, form: Path) -> Load:
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return ab(REQUESTS, CLIENTS, "-p", str(form), "-T", kind, f"{url}/cargar")


def _descargar(url: str) -> Load:
    return ab(REQUESTS, CLIENTS, f"{url}/descargar/Actividad.txt")


if __name__ == "__main__":
    main()
