"""A cluster that one module of tests after the other uses, as long as they want the same.

A module that wants another one than most says so: `CLUSTER = wish(…)`. A module that wants what the one before wanted
finds the same cluster, mended and emptied first: every process runs, every node is up, no object and no blob is there.
Where that does not come about in time the cluster is ended, and another one started; so no test finds what another has
left broken.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import warnings
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final
from urllib.parse import quote

import urllib3

from cli.cluster.home import state
from cli.cluster.home.home import Home
from cli.cluster.host.processes import members
from common.errors import BovedaError
from tests.support.cluster import Cluster, running_cluster
from tests.support.waiting import wait_until

QUICK: Final[Mapping[str, str]] = {
    "BOVEDA_SWEEP_INTERVAL": "0.5",
    "BOVEDA_PROBE_INTERVAL": "1",
    "BOVEDA_LEASE_SECONDS": "5",
    "BOVEDA_REPEAT_SECONDS": "3",
    "BOVEDA_WRITE_TRIAL_INTERVAL": "3",
}
"""Clocks with which a test has to wait less."""

MEND_SECONDS = 20.0


@dataclass(frozen=True)
class Wish:
    """What a module wants of its cluster: options of `boveda up`, settings, Flower."""

    options: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]
    flower: bool

    def running(self, home: Path) -> AbstractContextManager[Cluster]:
        return running_cluster(home, *self.options, flower=self.flower, **dict(self.settings))


def wish(*options: str, flower: bool = False, quick: bool = True, **settings: str) -> Wish:
    """Without `quick` its clocks are as users have them, for limits that were promised. `settings`: environment."""
    clocks = QUICK if quick else {}
    return Wish(options, tuple(sorted({"BOVEDA_DOOM_DELAY": "0.5", **clocks, **settings}.items())), flower)


def wish_of(module: ModuleType) -> Wish:
    found = getattr(module, "CLUSTER", None)
    return found if isinstance(found, Wish) else wish()


class Shared:
    """The cluster that runs in this process of pytest, if there is one."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._running: Cluster | None = None
        self._names: set[str] = set()
        self.wish: Wish | None = None

    def get(self, wish: Wish, home: Callable[[], Path]) -> Cluster:
        """One as it is wanted, empty. `home`: a folder for another one."""
        if self._running is None or self.wish != wish or not mend(self._running, self._names):
            self.end()
            self._running = self._stack.enter_context(wish.running(home()))
            self.wish, self._names = wish, names(self._running)
        return self._running

    def end(self) -> None:
        self._running = self.wish = None
        self._stack.close()


def names(cluster: Cluster) -> set[str]:
    return {process["name"] for process in cluster.processes()}


def mend(cluster: Cluster, had: Collection[str]) -> bool:
    """Whether the cluster has the processes it `had`, is whole and empty again, after all that could be done for it."""
    try:
        assert names(cluster) == had, "its processes are others"
        _run_all(cluster)
        _empty(cluster)
    except (AssertionError, BovedaError, urllib3.exceptions.HTTPError, OSError) as why:
        warnings.warn(f"the shared cluster cannot be mended, another one is started: {why}", stacklevel=2)
        return False
    return True


def _run_all(cluster: Cluster) -> None:
    """Nothing stands still, nothing is stopped, and all of it serves."""
    found = state.read(Home.of(cluster.home))
    assert found is not None
    for row in found.rows:
        if row.identity is not None:
            for pid in members(row.identity):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        elif row.kind != "setup":
            cluster.act("start", row.name)
    wait_until(lambda: all(row["pid"] for row in cluster.processes()), MEND_SECONDS, "all processes run")
    cluster.wait_ready(MEND_SECONDS)
    wait_until(lambda: set(cluster.states().values()) == {"up"}, MEND_SECONDS, "all nodes are up")


def _empty(cluster: Cluster) -> None:
    """No bucket but the first, no object, no blob on any node, no evidence, no dead letter."""
    buckets = [str(bucket["name"]) for bucket in cluster.ask("GET", "/v1/buckets").json()["buckets"]]
    for bucket in buckets:
        _delete_objects(cluster, f"/v1/buckets/{quote(bucket)}")
        if bucket != "archivos":
            assert cluster.ask("DELETE", f"/v1/buckets/{quote(bucket)}").status == 204, f"bucket {bucket} stays"
    if "archivos" in buckets:
        sizes = {"copies": 3, "write_copies": 1}
        assert cluster.ask("PUT", "/v1/buckets/archivos", json=sizes).status == 200
    wait_until(lambda: not _blobs(cluster), MEND_SECONDS, "the catalogue has no blob")
    assert cluster.status()["dead_letters"] == 0, "there are dead letters"
    for node in cluster.nodes().values():
        # Of uploads that were refused, which stay for as long as the orphans' grace; and evidence.
        for left in node.names() | node.names("quarantine/"):
            node.remove(left)


def _blobs(cluster: Cluster) -> int:
    with closing(sqlite3.connect(f"file:{cluster.home}/catalogue.db?mode=ro", uri=True)) as catalogue:
        (count,) = catalogue.execute("SELECT count(*) FROM blobs").fetchone()
        return int(count)


def _delete_objects(cluster: Cluster, bucket: str) -> None:
    while keys := [str(found["key"]) for found in cluster.ask("GET", f"{bucket}/objects").json()["objects"]]:
        with ThreadPoolExecutor(4) as clients:
            answers = clients.map(lambda key: cluster.ask("DELETE", f"{bucket}/objects/{quote(key)}").status, keys)
        assert set(answers) <= {204, 404}, "objects that cannot be deleted"


shared = Shared()
"""One in each process: a fixture of the session would outlive the modules that want it."""
