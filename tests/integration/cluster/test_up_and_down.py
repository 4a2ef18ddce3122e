"""The embedded cluster from its start to its end, as the contract promises it. Few starts, since each takes seconds."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import urllib.request
from pathlib import Path

from cli.cluster.host.processes import ProcessIdentity, members
from tests.integration.cluster.conftest import Cluster, Clusters, alive
from tests.support.servers import answers, refuses
from tests.support.waiting import wait_until

NAMES = ["node1", "node2", "node3", "queue", "api", "worker1", "worker2", "control", "scrub", "beat", "flower"]

MEMORY_MIB = 430


def _get(cluster: Cluster, key: str) -> bytes:
    with urllib.request.urlopen(f"{cluster.url}/v1/buckets/archivos/objects/{key}", timeout=10) as answer:
        body: bytes = answer.read()
        return body


def _copies(cluster: Cluster, key: str) -> int:
    with urllib.request.urlopen(f"{cluster.url}/v1/buckets/archivos/objects/{key}", timeout=10) as answer:
        return int(answer.headers["X-Copies"].split("/")[0])


def _secrets_of(cluster: Cluster) -> list[str]:
    layout = json.loads((cluster.home / "layout.json").read_text())
    keys = [json.loads(path.read_text())["secret_key"] for path in (cluster.home / "credentials").iterdir()]
    return [layout["queue_password"], (cluster.home / "passphrase").read_text().strip(), *keys]


def _own_memory(cluster: Cluster) -> float:
    """MiB of all our own processes and their children, with shared memory counted once."""
    leaders = [process["pid"] for process in cluster.processes().values() if process["kind"] not in ("node", "queue")]
    identities = [ProcessIdentity.of(pid) for pid in (cluster.supervisor, *leaders)]
    pids = [pid for identity in identities if identity is not None for pid in members(identity)]
    return sum(_pss(pid) for pid in pids) / 1024


def _pss(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def test_a_cluster_shows_what_runs_keeps_what_it_took_and_ends_without_a_trace(clusters: Clusters) -> None:
    cluster = clusters(flower=True)
    cluster.up()

    # what runs
    document = cluster.document()
    assert document["home"] == str(cluster.home)
    assert document["url"] == cluster.url
    assert [process["name"] for process in document["processes"]] == NAMES
    assert all(alive(process["pid"]) for process in document["processes"])
    first = document["processes"][0]
    assert set(first) == {"name", "kind", "pid", "endpoint", "data", "log", "bucket", "credentials"}
    assert set(document["processes"][3]) == {"name", "kind", "pid", "endpoint", "data", "log"}
    assert set(json.loads(Path(first["credentials"]).read_text())) == {"access_key", "secret_key"}

    # nothing secret where others can read it
    for process in document["processes"]:
        arguments = Path(f"/proc/{process['pid']}/cmdline").read_text()
        assert not any(secret in arguments for secret in _secrets_of(cluster))
        assert not any(secret in Path(process["log"]).read_text() for secret in _secrets_of(cluster))
    for path in (cluster.home, *cluster.home.iterdir(), *(cluster.home / "credentials").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path

    # it does its work
    cluster.put("letter", b"hola")
    wait_until(lambda: _copies(cluster, "letter") == 3, what="three copies")

    # which takes no more memory than docs/performance.md says
    assert _own_memory(cluster) <= MEMORY_MIB

    # one home, one cluster
    second = cluster.run("up", "--detach")
    assert second.returncode == 1
    assert "already" in second.stderr

    # what dies starts again, the rest of its session with it; what was stopped stays down until it is started
    master = cluster.pid("api")
    assert master is not None
    os.kill(master, signal.SIGKILL)
    wait_until(lambda: cluster.pid("api") not in (None, master), what="the API is started again")
    assert cluster.done("cluster", "kill", "node1").strip() == "node1: stopped"
    wait_until(lambda: answers(f"{cluster.url}/healthz"))
    assert _get(cluster, "letter") == b"hola"
    assert cluster.pid("node1") is None
    cluster.done("cluster", "stop", "worker1")
    assert cluster.pid("worker1") is None
    cluster.done("cluster", "start", "worker1")
    cluster.done("cluster", "start", "node1")
    assert not refuses(int(cluster.processes()["node1"]["endpoint"].rsplit(":", 1)[1]))
    assert cluster.run("cluster", "stop", "node9").returncode == 3

    # what a kill left behind is ended by the next start, which finds everything
    endpoint = cluster.processes()["node1"]["endpoint"]
    left = [process["pid"] for process in cluster.processes().values()]
    cluster.kill_supervisor()
    assert all(alive(pid) for pid in left), "the test needs something left behind"
    # meanwhile a stranger takes the port of a node that is gone
    os.killpg(left[0], signal.SIGKILL)
    wait_until(lambda: not alive(left[0]))
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", int(endpoint.rsplit(":", 1)[1])))
        stranger.listen()
        assert "left behind" in cluster.up("--workers", "1")
    assert not any(alive(pid) for pid in left)
    assert cluster.processes()["node1"]["endpoint"] != endpoint
    assert _get(cluster, "letter") == b"hola"
    cluster.put("letter2", b"hola")
    wait_until(lambda: _copies(cluster, "letter2") == 3, what="three copies: also on the node that moved")

    # the end: nothing is deleted unasked
    assert cluster.run("down", "--wipe", given="n\n").returncode == 1
    pids = [process["pid"] for process in cluster.processes().values()] + [cluster.supervisor]
    assert all(alive(pid) for pid in pids)
    cluster.done("down")
    assert not any(alive(pid) for pid in pids)
    assert all(process["pid"] is None for process in cluster.document()["processes"])
    assert cluster.run("cluster", "stop", "node1").returncode == 4
    assert (cluster.home / "catalogue.db").exists()
    cluster.done("down", "--wipe", "--yes")
    assert not cluster.home.exists()


def test_two_clusters_with_other_homes_and_ports_run_side_by_side(clusters: Clusters, tmp_path: Path) -> None:
    # One of them on SeaweedFS, in a home whose path is too long for a Unix socket, and smaller than `copies`.
    deep = tmp_path / "-".join(["long"] * 20) / "-".join(["path"] * 20)
    one, other = clusters(), clusters(deep)
    one.up("--nodes", "1", "--workers", "1")
    other.up("--nodes", "2", "--workers", "1", "--node-kind", "seaweedfs")
    one.put("letter", b"one")
    other.put("letter", b"other")
    assert (_get(one, "letter"), _get(other, "letter")) == (b"one", b"other")
    other.done("cluster", "kill", "beat")
    assert other.pid("beat") is None
    assert alive(one.pid("beat"))
    assert "not of the kind" in other.run("down").stderr + other.run("up", "--detach", "--node-kind", "minio").stderr
    assert _get(one, "letter") == b"one"


def test_a_port_in_use_is_said_before_anything_is_started(clusters: Clusters) -> None:
    cluster = clusters()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", cluster.port))
        taken.listen()
        ran = cluster.run("up", "--detach")
    assert ran.returncode == 2
    assert "BOVEDA_PORT" in ran.stderr
    assert not (cluster.home / "cluster.json").exists()


def test_a_start_that_cannot_succeed_ends_what_it_started_and_says_why(clusters: Clusters) -> None:
    cluster = clusters()
    cluster.home.mkdir(mode=0o700)
    (cluster.home / "keyring.json").write_text("no keyring")
    ran = cluster.run("up", "--detach")
    assert ran.returncode == 1
    assert "keys failed" in ran.stdout
    assert all(process["pid"] is None for process in cluster.document()["processes"])


def test_an_api_that_cannot_start_ends_the_start_with_its_last_words(clusters: Clusters, tmp_path: Path) -> None:
    token = tmp_path / "token"
    cluster = clusters(BOVEDA_AUTH="token", BOVEDA_ADMIN_TOKEN_FILE=str(token))
    ran = cluster.run("up", "--detach")
    assert (ran.returncode, "BOVEDA_ADMIN_TOKEN_FILE" in ran.stderr) == (2, True)
    token.write_text("")  # it can be read, and is none
    ran = cluster.run("up", "--detach")
    assert ran.returncode == 1
    assert "api.log" in ran.stderr
    assert "BOVEDA_ADMIN_TOKEN_FILE" in ran.stderr
    assert all(process["pid"] is None for process in cluster.document()["processes"])
