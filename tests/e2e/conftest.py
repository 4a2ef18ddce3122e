"""The embedded cluster as a user starts it: `boveda up --detach` in a home of its own, once for all tests here."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

BIN = Path(sys.executable).parent
START_SECONDS = 120
CALL_SECONDS = 60


@dataclass(frozen=True)
class Cluster:
    """A running cluster: its address, its home folder, and the environment in which `boveda` finds it."""

    url: str
    home: Path
    env: dict[str, str]

    def boveda(
        self, *args: str, cwd: Path | None = None, stdin: bytes | None = None, timeout: float = CALL_SECONDS
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the command as a process; its status is the caller's business."""
        return subprocess.run(
            [BIN / "boveda", *args],
            env=self.env,
            cwd=cwd,
            input=stdin,
            capture_output=True,
            timeout=timeout,
            check=False,
        )

    def json(self, *args: str, cwd: Path | None = None) -> Any:
        """The document that a command that must succeed prints with `--json`."""
        done = self.boveda(*args, "--json", cwd=cwd)
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [made.getsockname()[1] for made in sockets]
    for made in sockets:
        made.close()
    return ports


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    port, flower = free_ports(2)
    home = tmp_path_factory.mktemp("cluster") / "home"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BOVEDA_")}
    for name in ("BOVEDA_MINIO",):
        if name in os.environ:
            inherited[name] = os.environ[name]
    env = {**inherited, "BOVEDA_HOME": str(home), "BOVEDA_PORT": str(port), "BOVEDA_FLOWER_PORT": str(flower)}
    made = Cluster(f"http://127.0.0.1:{port}", home, env)
    started = made.boveda("up", "--detach", timeout=START_SECONDS)
    try:
        assert started.returncode == 0, (started.stdout + started.stderr).decode()
        yield made
    finally:
        made.boveda("down", "--wipe", "--yes", timeout=START_SECONDS)
