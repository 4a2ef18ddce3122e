"""The embedded cluster as a user starts it: `boveda up --detach` in a home of its own."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from cli.cluster import process_control, stop
from cli.cluster.home import state
from cli.cluster.home.home import Home
from cli.cluster.host import ports
from cli.cluster.start import UP_SECONDS
from cli.cluster.supervisor.control import Action
from cli.cluster.supervisor.supervisor import IMPATIENT
from common.model.times import parse_rfc3339
from tests.support.nodes import DirectNode
from tests.support.servers import until_taken
from tests.support.waiting import wait_until

BIN = Path(sys.executable).parent
START_SECONDS = UP_SECONDS + 30
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

    def act(self, action: Action, name: str) -> None:
        """What `boveda cluster stop|start|kill NAME` does, without a process for it."""
        home = Home.of(self.home)
        if action == "start":
            process_control.start(home, name, "localhost")
        else:
            process_control.end(home, action, name)

    def processes(self, kind: str | None = None) -> list[dict[str, Any]]:
        """What `boveda cluster --json` shows of them."""
        found = state.read(Home.of(self.home))
        rows = [row for row in found.rows if row.kind != "setup"] if found else []
        return [row.document() for row in rows if kind in (None, row.kind)]

    def process(self, name: str) -> dict[str, Any]:
        return next(process for process in self.processes() if process["name"] == name)

    @property
    def queue_url(self) -> str:
        """With its password: for a test that reads or writes the queue itself."""
        layout = json.loads((self.home / "layout.json").read_text())
        return f"redis://:{layout['queue_password']}@127.0.0.1:{layout['queue_port']}/0"

    def signal(self, name: str, number: signal.Signals) -> None:
        """To all of a process's session (the API's processes, a node's), as `kill` in a terminal would."""
        os.killpg(self.process(name)["pid"], number)

    # -- over HTTP, as any client

    def ask(self, method: str, path: str, timeout: float = 30, **options: Any) -> urllib3.BaseHTTPResponse:
        """One request on a connection of its own, never repeated."""
        with urllib3.PoolManager(retries=False, timeout=timeout) as http:
            return http.request(method, f"{self.url}{path}", **options)

    def put(self, key: str, body: bytes, **options: Any) -> urllib3.BaseHTTPResponse:
        return self.ask("PUT", f"/v1/buckets/archivos/objects/{key}", body=body, **options)

    def first_put(self, key: str, body: bytes) -> urllib3.BaseHTTPResponse:
        """To a cluster that has just started."""
        return until_taken(lambda: self.put(key, body), lambda answer: answer.status == 503)

    def get(self, key: str, **options: Any) -> urllib3.BaseHTTPResponse:
        return self.ask("GET", f"/v1/buckets/archivos/objects/{key}", **options)

    def status(self) -> dict[str, Any]:
        return dict(self.ask("GET", "/v1/status").json())

    def delete(self, key: str, **options: Any) -> urllib3.BaseHTTPResponse:
        return self.ask("DELETE", f"/v1/buckets/archivos/objects/{key}", **options)

    def copies(self, key: str) -> list[dict[str, Any]]:
        """What is known of each copy; nothing for an object that is not there."""
        return list(self.ask("GET", f"/v1/buckets/archivos/copies/{key}").json().get("copies", []))

    def blobs(self, key: str) -> set[str]:
        """The names that an object's blobs have on every node."""
        return {str(copy["blob_key"]) for copy in self.copies(key)}

    def nodes(self) -> dict[str, DirectNode]:
        return {process["name"]: DirectNode(process) for process in self.processes("node")}

    def states(self) -> dict[str, str]:
        """Each node's shown state."""
        return {node["name"]: node["state"] for node in self.ask("GET", "/v1/nodes").json()["nodes"]}

    def wait_ready(self, seconds: float = 60) -> None:
        """Until an upload can be taken, also where the API does not answer at all yet."""

        def ready() -> bool:
            try:
                return self.ask("GET", "/readyz").status == 200
            except urllib3.exceptions.HTTPError:
                return False

        wait_until(ready, seconds, "the API is ready")

    def wait_converged(self, seconds: float = 60) -> None:
        """Until every object there is now is protected."""
        began = time.time()

        def all_protected() -> bool:
            status = self.status()
            waiting = any(count for state, count in status["objects"].items() if state != "protected")
            return not waiting and parse_rfc3339(status["counted_at"]) >= began  # a slow count is shown for a while

        wait_until(all_protected, seconds, "all copies")

    def wait_gone(self, names: Collection[str], seconds: float = 30) -> None:
        """Until none of these blobs lies on any node."""
        gone = set(names)
        wait_until(lambda: not any(gone & node.names() for node in self.nodes().values()), seconds, "they are gone")


@contextmanager
def running_cluster(home: Path, *options: str, flower: bool = False, **settings: str) -> Iterator[Cluster]:
    """`options` go to `boveda up`, `settings` into the environment."""
    with starting():
        port, flower_port = ports.pick(2)
        env = {
            **os.environ,
            "BOVEDA_HOME": str(home),
            "BOVEDA_PORT": str(port),
            "BOVEDA_FLOWER_PORT": str(flower_port) if flower else "0",
            **settings,
        }
        cluster = Cluster(f"http://127.0.0.1:{port}", home, env)
        try:
            started = cluster.boveda("up", "--detach", *options, timeout=START_SECONDS)
            assert started.returncode == 0, (started.stdout + started.stderr).decode()
        except BaseException:
            end_at_once(Home.of(home))
            raise
    try:
        yield cluster
    finally:
        end_at_once(Home.of(home))


@contextmanager
def starting() -> Iterator[None]:
    """One start at a time among all tests of this machine.

    The ports that a start has chosen are not taken until its servers listen, and two starts at once take twice as long.
    """
    with open(Path(tempfile.gettempdir()) / "boveda-tests-starting.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def end_at_once(home: Home) -> None:
    """As an impatient user does, by asking again and again: nobody needs what this cluster would bring to its end."""
    recorded = state.read(home)
    supervisor = recorded.supervisor if recorded else None
    end = time.monotonic() + START_SECONDS
    while supervisor is not None and supervisor.alive() and time.monotonic() < end:
        os.kill(supervisor.pid, signal.SIGTERM)
        asked = time.monotonic()
        while supervisor.alive() and time.monotonic() - asked < IMPATIENT + 0.1:
            time.sleep(0.02)
    lock = stop.down(home)
    if lock is not None:
        stop.wipe(home, lock)
