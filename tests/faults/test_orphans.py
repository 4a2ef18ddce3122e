"""Blobs that no row refers to are removed, and a catalogue that lost its rows does not lose the blobs as well.

Scenarios 5 (a crash between put and commit) and 23.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import urllib3

from tests.faults.between import children
from tests.faults.history import History
from tests.support.cluster import START_SECONDS, Cluster
from tests.support.nodes import DirectNode
from tests.support.shared import wish
from tests.support.waiting import wait_until

GRACE = 6
CLUSTER = wish(BOVEDA_ORPHAN_GRACE=str(GRACE), BOVEDA_RECLAIM_INTERVAL="3")


@pytest.fixture
def nodes(cluster: Cluster) -> Mapping[str, DirectNode]:
    return {process["name"]: DirectNode(process) for process in cluster.processes("node")}


def lying(nodes: Mapping[str, DirectNode]) -> dict[str, set[str]]:
    return {name: node.names() for name, node in nodes.items()}


def wanted(cluster: Cluster, history: History) -> set[str]:
    names = set()
    for key in history.acknowledged:
        names |= {
            copy["blob_key"] for copy in cluster.ask("GET", f"/v1/buckets/archivos/copies/{key}").json()["copies"]
        }
    return names


@contextmanager
def catalogue_locked(cluster: Cluster) -> Iterator[None]:
    """Nobody can commit meanwhile: uploads stop between their put and their commit."""
    with (cluster.home / "catalogue.db.lock").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)


def api_pids(cluster: Cluster) -> list[int]:
    master = cluster.process("api")["pid"]
    return [*children(master), master]


def test_what_a_crash_between_put_and_commit_leaves_behind_is_removed(
    cluster: Cluster, nodes: Mapping[str, DirectNode]
) -> None:
    history = History(cluster, "kept")
    history.upload_many(10)
    cluster.wait_converged()
    before = set.union(*lying(nodes).values())

    def told(ask: Callable[[], urllib3.BaseHTTPResponse]) -> int:
        """The answer's status; 0 where there is none."""
        try:
            return ask().status
        except urllib3.exceptions.HTTPError:
            return 0

    def left_behind() -> set[str]:
        return set.union(*lying(nodes).values()) - before

    pids = api_pids(cluster)  # beforehand: an upload waits two seconds for the catalogue and is refused then
    with ThreadPoolExecutor(1) as pool:
        with catalogue_locked(cluster):
            answer = pool.submit(told, lambda: cluster.put("never", os.urandom(16 * 1024)))
            wait_until(left_behind, 1.8, "the put")
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
        assert answer.result() == 0
    assert len(left_behind()) == 1
    wait_until(lambda: not left_behind(), 40, "the orphan is gone")
    wait_until(lambda: told(lambda: cluster.get("never")) == 404, 30, "the API is back, and nothing became visible")
    assert history.wrong() == []
    assert all(wanted(cluster, history) <= names for names in lying(nodes).values())


def test_a_node_that_was_away_for_long_brings_nothing_back_and_keeps_no_orphan(
    cluster: Cluster, nodes: Mapping[str, DirectNode]
) -> None:
    gone, kept = History(cluster, "gone"), History(cluster, "stays")
    gone.upload_many(10)
    kept.upload_many(10)
    cluster.wait_converged()
    deleted = wanted(cluster, gone)
    orphan = "blobs/ab/" + "0" * 30 + "ab"
    nodes["node2"].write(orphan, b"of an upload that crashed")
    cluster.act("kill", "node2")
    for key in gone.acknowledged:
        assert cluster.ask("DELETE", f"/v1/buckets/archivos/objects/{key}").status == 204
    others = [nodes["node1"], nodes["node3"]]
    wait_until(lambda: not any(deleted & node.names() for node in others), 40, "deleted where nodes are up")
    cluster.act("start", "node2")
    wait_until(lambda: not (deleted | {orphan}) & nodes["node2"].names(), 60, "deleted where the node was away")
    cluster.wait_converged()
    assert kept.wrong() == []
    assert all(cluster.get(key).status == 404 for key in gone.acknowledged)


def test_a_catalogue_that_was_rolled_back_makes_reclaim_stop_and_loses_nothing(
    cluster: Cluster, nodes: Mapping[str, DirectNode], tmp_path: Path
) -> None:
    before, since = History(cluster, "before"), History(cluster, "since")
    before.upload_many(5)
    cluster.wait_converged()
    old, new = tmp_path / "old", tmp_path / "new"
    with stopped(cluster):
        keep(cluster, old)
    since.upload_many(120)
    uploaded = time.time()
    cluster.wait_converged(90)
    with stopped(cluster):
        keep(cluster, new)
        put_back(cluster, old)
        wait_until(lambda: time.time() > uploaded + 2 * GRACE, 30, "all of them are old enough to be reclaimed")
    names = lying(nodes)
    assert all(cluster.get(key).status == 404 for key in list(since.acknowledged)[:5])

    def stops() -> list[str | None]:
        return [node["scrub"]["reclaim_stopped"] for node in cluster.ask("GET", "/v1/nodes").json()["nodes"]]

    wait_until(lambda: all(stops()), 60, "reclaim says that it stopped, on every node")
    assert all("120 of" in str(why) for why in stops())
    assert lying(nodes) == names, "and nothing went"
    with stopped(cluster):
        put_back(cluster, new)
    assert since.wrong() == []
    assert before.wrong() == []


@contextmanager
def stopped(cluster: Cluster) -> Iterator[None]:
    done = cluster.boveda("down", timeout=START_SECONDS)
    assert done.returncode == 0, done.stderr.decode()
    yield
    done = cluster.boveda("up", "--detach", timeout=START_SECONDS)
    assert done.returncode == 0, done.stderr.decode()


def keep(cluster: Cluster, folder: Path) -> None:
    folder.mkdir()
    for path in cluster.home.glob("catalogue.db*"):
        shutil.copy(path, folder)


def put_back(cluster: Cluster, folder: Path) -> None:
    for path in cluster.home.glob("catalogue.db*"):
        path.unlink()
    for path in folder.iterdir():
        shutil.copy(path, cluster.home)
