"""An embedded cluster of its own for one benchmark run, ended and wiped afterwards."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

BOVEDA = [sys.executable, "-m", "cli.main"]


@dataclass(frozen=True)
class Running:
    """A cluster that answers at `url`."""

    url: str
    node_kind: str
    environment: dict[str, str]

    def describe(self) -> dict[str, Any]:
        done = subprocess.run(
            [*BOVEDA, "cluster", "--json"], check=True, capture_output=True, text=True, env=self.environment
        )
        return dict(json.loads(done.stdout))

    def nodes(self) -> list[dict[str, Any]]:
        return [process for process in self.describe()["processes"] if process["kind"] == "node"]

    def wait_converged(self, seconds: float = 120, poll: float = 1.0) -> None:
        """Until no copy is missing. Asked seldom, so that waiting is no load of its own."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            status = urllib3.request("GET", f"{self.url}/v1/status", retries=False).json()
            if status["copies"]["missing"] == 0:
                return
            time.sleep(poll)
        raise TimeoutError(f"copies are still missing after {seconds:.0f} s")


@contextmanager
def running_cluster(home: Path, node_kind: str = "auto", workers: int = 2, **settings: str) -> Iterator[Running]:
    port, flower_port = free_port(), free_port()
    environment = {
        **os.environ,
        "BOVEDA_HOME": str(home),
        "BOVEDA_PORT": str(port),
        "BOVEDA_FLOWER_PORT": str(flower_port),
        **settings,
    }
    command = [*BOVEDA, "up", "--detach", "--node-kind", node_kind, "--workers", str(workers)]
    subprocess.run(command, check=True, env=environment, stdout=sys.stderr)
    try:
        yield Running(f"http://127.0.0.1:{port}", node_kind, environment)
    finally:
        subprocess.run([*BOVEDA, "down", "--wipe", "--yes"], check=True, env=environment, stdout=sys.stderr)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
