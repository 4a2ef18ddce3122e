"""Random kills under thousands of uploads, overwrites and deletes: at the end every object is as its clients were told.

Killed (SIGKILL) are the gateways, workers, beat, the queue and nodes, one or two at a time; once, a node loses its
disk. Objects of the bucket with one write copy are left alone around that, since with one copy they may be lost by it.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import urllib3

from cli.drill.history import History, Operation, Told
from tests.faults.between import children
from tests.support.cluster import Cluster
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(1200)

SEED = int(os.environ.get("CHAOS_SEED", "20"))
OPERATIONS, CLIENTS, KEYS = 2000, 8, 120
ONE, TWO = "one-write-copy", "two-write-copies"
SIZES = (0, 1, 1000, 16 * 1024, 16 * 1024, 16 * 1024, 100_000, 1 << 20, 9 << 20)
PROCESSES = ("api", "api-process", "worker1", "worker2", "control", "beat", "queue", "node1", "node2", "node3")


class Clients:
    """Do `OPERATIONS` operations in all, on keys that they share, and keep the history of them."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._http = urllib3.PoolManager(retries=False, timeout=20, maxsize=CLIENTS)
        self._lock = threading.Lock()
        self._begun = 0
        self._sent: set[tuple[str, str | None]] = set()
        self.history = History()
        self.buckets = [ONE, TWO]
        self.wrong: list[str] = []
        self.give_up = False

    @property
    def over(self) -> bool:
        return self.give_up or self._begun >= OPERATIONS

    @property
    def begun(self) -> int:
        return self._begun

    def run(self, number: int) -> None:
        chosen = random.Random(f"{SEED} {number}")
        while not self.over:
            with self._lock:
                self._begun += 1
            key = f"{chosen.choice(self.buckets)}/k{chosen.randrange(KEYS)}"
            action = chosen.random()
            if action < 0.15:
                self._delete(key)
            elif action < 0.3:
                self._get(key)
            else:
                self._put(key, chosen.randbytes(chosen.choice(SIZES)))

    def _put(self, key: str, body: bytes) -> None:
        self._change("PUT", key, hashlib.sha256(body).hexdigest(), body, (200, 201), (503, 404))

    def _delete(self, key: str) -> None:
        self._change("DELETE", key, None, None, (204,), (503, 404))

    def _change(
        self,
        method: str,
        key: str,
        digest: str | None,
        body: bytes | None,
        done: tuple[int, ...],
        refused: tuple[int, ...],
    ) -> None:
        self._sent.add((key, digest))
        began = time.monotonic()
        told = Told.UNKNOWN
        try:
            answer = self._http.request(method, self._url(key), body=body)
        except urllib3.exceptions.HTTPError:
            self._rest()
        else:
            if answer.status in done:
                told = Told.DONE
            elif answer.status in refused:
                told = Told.REFUSED
            elif answer.status != 500 or b"outcome-unknown" not in answer.data:
                self.wrong.append(f"{method} {key}: {answer.status} {answer.data[:200]!r}")
        self.history.add(Operation(key, digest, began, time.monotonic(), told))

    def _get(self, key: str) -> None:
        """Amid all of it: bytes that somebody stored there, or an error that may be."""
        try:
            answer = self._http.request("GET", self._url(key))
        except urllib3.exceptions.HTTPError:
            self._rest()
            return
        if answer.status == 200:
            if (key, hashlib.sha256(answer.data).hexdigest()) not in self._sent:
                self.wrong.append(f"GET {key}: {len(answer.data)} bytes that nobody stored there")
        elif answer.status not in (404, 503):
            self.wrong.append(f"GET {key}: {answer.status} {answer.data[:200]!r}")

    def _rest(self) -> None:
        """As clients do that find nobody: they would spend all operations on a gateway that is being started again."""
        threading.Event().wait(0.5)

    def _url(self, key: str) -> str:
        bucket, name = key.split("/")
        return f"{self._cluster.url}/v1/buckets/{bucket}/objects/{name}"

    def final(self, key: str) -> str | None:
        """The digest of what is there now, None if nothing is."""
        answer = self._http.request("GET", self._url(key))
        if answer.status == 404:
            return None
        assert answer.status == 200, f"{key}: {answer.status} {answer.data[:200]!r}"
        return hashlib.sha256(answer.data).hexdigest()


class Breaker:
    """Kills by chance. One node at most is away at a time, and its disk is lost only by `lose_a_disk`."""

    def __init__(self, cluster: Cluster, clients: Clients) -> None:
        self._cluster = cluster
        self._clients = clients
        self._chosen = random.Random(SEED)
        self._away: str | None = None
        self.killed: list[str] = []

    def kill_one(self) -> None:
        """What dies is started again by its supervisor; a node stays away until the next kill."""
        name = self._chosen.choice(PROCESSES)
        if name.startswith("node"):
            self.all_back()
            self._cluster.act("kill", name)
            self._away = name
        elif (pid := self._pid(name)) is not None:
            os.kill(pid, signal.SIGKILL)
        self.killed.append(name)

    def all_back(self) -> None:
        if self._away is not None:
            self._cluster.act("start", self._away)
            self._away = None
        wait_until(lambda: set(self._states().values()) == {"up"}, 60, "all nodes are up")

    def _pid(self, name: str) -> int | None:
        if name != "api-process":
            pid: int | None = self._cluster.process(name)["pid"]
            return pid
        master = self._cluster.process("api")["pid"]
        return self._chosen.choice(children(master)) if master else None

    def _states(self) -> dict[str, str]:
        try:
            return self._cluster.states()
        except (urllib3.exceptions.HTTPError, KeyError, ValueError):
            return {}  # the gateways were killed a moment ago

    def lose_a_disk(self) -> None:
        """Uploads with two write copies go on all the while.

        1 no more uploads with one write copy, and until those there are have all copies; 2 the disk goes; 3 an operator
        takes the node in again; 4 until its copies are made again; 5 as before.
        """
        self.all_back()
        self._clients.buckets = [TWO]
        wait_until(lambda: self._protected(ONE), 90, "what was stored once is stored elsewhere too")
        node = self._chosen.choice(["node1", "node2", "node3"])
        self._cluster.act("kill", node)
        data = Path(self._cluster.process(node)["data"])
        shutil.rmtree(data)
        self._cluster.act("start", node)
        wait_until(lambda: self._states().get(node) == "foreign", 30, f"{node} is foreign")
        wait_until(lambda: self._accepted(node), 30, f"{node} is taken in")
        wait_until(lambda: self._states().get(node) == "up", 30, f"{node} is up")
        # Another disk may go only when nothing depends on this one alone.
        wait_until(lambda: self._protected(ONE), 90, "its copies are made again")
        self._clients.buckets = [ONE, TWO]
        self.killed.append(f"disk of {node}")

    def _accepted(self, node: str) -> bool:
        """Not yet, where the catalogue is busy."""
        answer = self._cluster.ask("PATCH", f"/v1/nodes/{node}", json={"accept": True})
        assert answer.status in (200, 503), answer.data
        return answer.status == 200

    def _protected(self, bucket: str) -> bool:
        try:
            listed = self._cluster.ask("GET", f"/v1/buckets/{bucket}/objects").json()["objects"]
        except (urllib3.exceptions.HTTPError, KeyError, ValueError):
            return False
        return all(found["copies"]["stored"] == found["copies"]["wanted"] for found in listed)


@pytest.fixture
def clients(cluster: Cluster) -> Clients:
    for bucket, count in ((ONE, 1), (TWO, 2)):
        made = cluster.ask("PUT", f"/v1/buckets/{bucket}", json={"copies": 3, "write_copies": count})
        assert made.status == 201
    return Clients(cluster)


def test_after_random_kills_and_a_lost_disk_every_object_is_as_its_clients_were_told(
    cluster: Cluster, clients: Clients
) -> None:
    breaker = Breaker(cluster, clients)
    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(clients.run, number) for number in range(CLIENTS)]
        try:
            for step in range(100, OPERATIONS, 100):
                wait_until(lambda step=step: clients.begun >= step, 60, f"{step} operations")  # type: ignore[misc]
                if step == OPERATIONS // 2:
                    breaker.lose_a_disk()
                else:
                    breaker.kill_one()
        except BaseException:
            clients.give_up = True
            raise
    for client in running:
        client.result()
    breaker.all_back()
    wait_until(lambda: all(process["pid"] for process in cluster.processes()), 60, "all processes run again")
    cluster.wait_ready()
    cluster.wait_converged(120)
    assert clients.wrong == []
    history = clients.history
    assert [found for key in history if (found := history.objection(key, clients.final(key)))] == []
    assert history.count(Told.DONE) > OPERATIONS / 2
    assert unequal(cluster) == []


def unequal(cluster: Cluster) -> list[str]:
    """Blobs of current objects that not every node has with the same bytes."""
    nodes = cluster.nodes().values()
    found = []
    for bucket in (ONE, TWO):
        for item in cluster.ask("GET", f"/v1/buckets/{bucket}/objects").json()["objects"]:
            copies = cluster.ask("GET", f"/v1/buckets/{bucket}/copies/{item['key']}").json()["copies"]
            for name in {copy["blob_key"] for copy in copies}:
                held = {node.read(name) for node in nodes}
                if len(held) != 1 or None in held:
                    found.append(f"{item['key']} {name}")
    return found
