"""A whole embedded cluster, run by the command as its user runs it, in a home and on ports of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.cluster.home import state
from cli.cluster.home.home import Home
from cli.cluster.host import ports
from cli.cluster.host.processes import ProcessIdentity
from tests.support.cluster import end_at_once, starting
from tests.support.servers import until_taken
from tests.support.waiting import wait_until

UP_SECONDS = 180.0


class Cluster:
    """The command `boveda` with the environment of one home."""

    def __init__(self, home: Path, flower: bool, **settings: str) -> None:
        self.home = home
        self.port, self.flower_port = ports.pick(2)
        self.settings = {
            "BOVEDA_HOME": str(home),
            "BOVEDA_PORT": str(self.port),
            "BOVEDA_FLOWER_PORT": str(self.flower_port) if flower else "0",
            **settings,
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def run(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            env={**os.environ, **self.settings},
            input=given,
            capture_output=True,
            text=True,
            timeout=UP_SECONDS,
            check=False,
        )

    def done(self, *arguments: str) -> str:
        """The output of a command that has to succeed."""
        ran = self.run(*arguments)
        assert ran.returncode == 0, f"{arguments}: {ran.stdout}{ran.stderr}"
        return ran.stdout

    def up(self, *arguments: str) -> str:
        with starting():
            return self.done("up", "--detach", *arguments)

    def put(self, key: str, body: bytes) -> None:
        """A new object, to a cluster that has just started."""
        request = urllib.request.Request(f"{self.url}/v1/buckets/archivos/objects/{key}", body, method="PUT")

        def status() -> int:
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                return error.code

        assert until_taken(status, lambda code: code == 503) == 201

    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.done("cluster", "--json"))
        return document

    def processes(self) -> dict[str, dict[str, Any]]:
        """What the command shows, without starting a process for it each time."""
        found = state.read(Home(self.home))
        return {row.name: row.document() for row in found.rows} if found else {}

    def pid(self, name: str) -> int | None:
        pid: int | None = self.processes()[name]["pid"]
        return pid

    @property
    def supervisor(self) -> int:
        return int(json.loads((self.home / "cluster.json").read_text())["supervisor"]["pid"])

    def kill_supervisor(self) -> None:
        pid = self.supervisor
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not alive(pid), what="the supervisor is gone")


def alive(pid: int | None) -> bool:
    """Whether the process is there and more than its remains."""
    return pid is not None and ProcessIdentity.of(pid) is not None


Clusters = Callable[..., Cluster]


@pytest.fixture
def clusters() -> Iterator[Clusters]:
    """`clusters(home=None, flower=False, **settings)`; what still runs at the end is ended, and its home deleted."""
    folder = Path(tempfile.mkdtemp(prefix="boveda-test-"))
    made: list[Cluster] = []

    def make(home: Path | None = None, flower: bool = False, **settings: str) -> Cluster:
        made.append(Cluster(home or folder / f"home{len(made) + 1}", flower, **settings))
        return made[-1]

    yield make
    for cluster in made:
        if cluster.home.exists():
            end_at_once(Home(cluster.home))
    shutil.rmtree(folder, ignore_errors=True)
