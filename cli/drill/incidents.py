"""What a drill breaks. Each incident goes: break it, let clients go on, put it right, stop the clients, and wait until
every object of the store has all its copies again.

A disk is destroyed only when every object of the store has a good copy elsewhere, and while uploads are acknowledged
with two copies.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final

from cli.client.http import Client, Refused
from cli.drill.load import UPLOADS_A_SECOND, Load, Seen, read
from cli.drill.stage import Stage, TooSlow
from common.blobstore.base import BlobStore, Deadline
from common.errors import BovedaError

UPLOADS_MEANWHILE: Final = 40
HEAL_SECONDS: Final = 180.0
BLOB_MAX = 128 << 20  # bytes; no blob is longer
LAG_SAMPLES: Final = 40

# Seconds within which it should be so; a drill shows what it measured beside them.
LIMITS: Final[Mapping[str, float]] = {
    "killed node seen as down": 10.0,
    "slowest request while a node was down": 3.0,
    "node back, first missing copy": 15.0,
    "damaged copy, from the read that found it": 10.0,
    "wiped node whole again": 120.0,
    "copy lag at 20 uploads/s, p99": 1.0,
}


class NotDone(BovedaError):
    """The incident was left out, and why."""


@dataclass
class Incident:
    """What was broken, and what followed. `mended`: when it was put right; `healed`: seconds from then to full copies.

    `left_out`, `failed`: why, in words.
    """

    name: str
    target: str = ""
    seen: Seen = field(default_factory=lambda: Seen(0, 0, 0, 0.0))
    mended: float | None = None
    healed: float | None = None
    figures: dict[str, float] = field(default_factory=dict)
    left_out: str = ""
    failed: str = ""


class Drill:
    """Runs incidents one by one on a stage with clients at work."""

    def __init__(self, stage: Stage, load: Load, seed: int) -> None:
        self._stage = stage
        self._load = load
        self._chosen = random.Random(seed)  # noqa: S311 - repeatable, not secret

    def round(self) -> list[tuple[str, Callable[[Incident], None]]]:
        """All incidents, in an order of the seed's; how they go without any comes first."""
        broken: list[tuple[str, Callable[[Incident], None]]] = [
            ("a node killed", self.kill_node),
            ("a node's disk lost", self.wipe_disk),
            ("a byte changed in a stored copy", self.flip_byte),
            ("the queue stopped", self.stop_queue),
            ("all workers killed", self.kill_workers),
            ("a node paused", self.pause_node),
        ]
        self._chosen.shuffle(broken)
        return [("nothing", self.nothing), *broken]

    def run(self, name: str, breaks: Callable[[Incident], None]) -> Incident:
        """One incident to its end, with all there was to see."""
        incident = Incident(name)
        began = time.monotonic()
        self._load.resume()
        try:
            breaks(incident)
            self._load.pause()
            mended = incident.mended or time.monotonic()
            self._stage.wait_whole(HEAL_SECONDS, "full copies of every object")
            incident.healed = time.monotonic() - mended
        except NotDone as error:
            incident.left_out = error.detail
        except BovedaError as error:
            incident.failed = error.detail
        finally:
            self._load.pause()
            self._load.write_copies = 1
        incident.seen = self._load.since(began)
        return incident

    # -- the incidents

    def nothing(self, incident: Incident) -> None:
        """How soon copies follow when all is well."""
        lags: list[float] = []
        client = self._stage.client()
        for _ in range(LAG_SAMPLES):
            self._meanwhile(int(UPLOADS_A_SECOND) // 4)
            lags.append(self._lag(client))
        lags.sort()
        incident.figures["copy lag at 20 uploads/s, p99"] = lags[int(len(lags) * 0.99)]

    def kill_node(self, incident: Incident) -> None:
        name = incident.target = self._any_node()
        began = time.monotonic()
        self._stage.kill(name)
        try:
            self._stage.wait(lambda: self._stage.states()[name] == "down", 30, f"{name} is seen as down")
            incident.figures["killed node seen as down"] = time.monotonic() - began
            self._meanwhile(UPLOADS_MEANWHILE)
            incident.figures["slowest request while a node was down"] = self._load.since(began).slowest
            self._load.pause()
            before = self._stage.missing(name)
        finally:
            self._stage.start(name)
        incident.mended = time.monotonic()
        back = self._stage.wait(lambda: self._stage.missing(name) < before, HEAL_SECONDS, f"a first copy on {name}")
        incident.figures["node back, first missing copy"] = back

    def wipe_disk(self, incident: Incident) -> None:
        name = incident.target = self._any_node()
        self._load.write_copies = 2
        self._load.pause()
        self._only_if_elsewhere(name)
        self._load.resume()
        self._stage.kill(name)
        try:
            self._stage.wipe(name)
        finally:
            self._stage.start(name)
        self._stage.wait(lambda: self._stage.states()[name] == "foreign", 60, f"{name} is seen as foreign")
        self._meanwhile(UPLOADS_MEANWHILE)
        self._stage.ask("PATCH", f"/v1/nodes/{name}", {"accept": True})
        incident.mended = time.monotonic()
        self._load.pause()
        self._stage.wait(lambda: self._stage.states()[name] == "up", 60, f"{name} takes part again")
        self._stage.wait_whole(HEAL_SECONDS, f"full copies on {name}")
        incident.figures["wiped node whole again"] = time.monotonic() - incident.mended

    def flip_byte(self, incident: Incident) -> None:
        """Which node is read first is not ours to say: each has the damaged copy in turn, until a read finds it."""
        self._meanwhile(UPLOADS_MEANWHILE)
        self._load.pause()
        self._stage.wait_whole(HEAL_SECONDS, "full copies before one is damaged")
        key = self._chosen.choice(self._load.stored_keys())
        name = str(self._stage.copies(key)[0]["blob_key"])
        client = self._stage.client()
        for node in self._chosen.sample(self._nodes(), len(self._nodes())):
            incident.target = f"{key} on {node}"
            with closing(self._stage.disk(node)) as disk:
                seconds = self._damage(client, disk, key, name)
            if seconds is not None:
                incident.mended = time.monotonic() - seconds
                incident.figures["damaged copy, from the read that found it"] = seconds
                return
        raise NotDone("no read came to the damaged copies")

    def stop_queue(self, incident: Incident) -> None:
        incident.target = "queue"
        self._stage.kill("queue")
        try:
            self._meanwhile(UPLOADS_MEANWHILE)
        finally:
            self._stage.start("queue")
        incident.mended = time.monotonic()

    def kill_workers(self, incident: Incident) -> None:
        incident.target = ", ".join(row.name for row in self._stage.rows("worker"))
        self._stage.kill_workers()
        incident.mended = time.monotonic()
        self._meanwhile(UPLOADS_MEANWHILE)

    def pause_node(self, incident: Incident) -> None:
        name = incident.target = self._any_node()
        try:
            self._stage.ask("PATCH", f"/v1/nodes/{name}", {"mode": "paused"})
        except Refused as error:
            raise NotDone(error.detail) from None
        try:
            self._stage.wait(lambda: self._stage.states()[name] == "paused", 10, f"{name} is paused")
            self._meanwhile(UPLOADS_MEANWHILE)
        finally:
            self._stage.ask("PATCH", f"/v1/nodes/{name}", {"mode": "active"})
        incident.mended = time.monotonic()

    # -- their parts

    def _nodes(self) -> list[str]:
        return [row.name for row in self._stage.rows("node")]

    def _any_node(self) -> str:
        return self._chosen.choice(self._nodes())

    def _meanwhile(self, count: int) -> None:
        """Until clients have had so many more acknowledgements."""
        self._load.resume()
        goal = self._load.acknowledged() + count
        self._stage.wait(lambda: self._load.acknowledged() >= goal, 60, "clients go on")

    def _lag(self, client: Client) -> float:
        """Seconds from an acknowledgement of now until that object had all its copies."""
        key, acknowledged = self._load.latest()
        while time.monotonic() - acknowledged < HEAL_SECONDS:
            try:
                found: Mapping[str, Any] = client.json("GET", self._stage.path(key, "copies"))["object"]
            except Refused:
                key, acknowledged = self._load.latest()  # it was deleted meanwhile
                continue
            if found["copies"]["stored"] == found["copies"]["wanted"]:
                return time.monotonic() - acknowledged
            time.sleep(0.01)
        raise TooSlow(f"{key} did not get its copies")

    def _only_if_elsewhere(self, name: str) -> None:
        self._stage.wait_whole(HEAL_SECONDS, "full copies before a disk is destroyed")
        alone = sum(found["copies"]["stored"] < 2 for found in self._stage.everything())
        if alone:
            raise NotDone(f"{alone} objects would have no copy but the one on {name}")

    def _damage(self, client: Client, disk: BlobStore, key: str, name: str) -> float | None:
        """Seconds from the read that found it to right bytes; None, and all as before, if no read found it in 3 s."""
        right = disk.read(name, Deadline(10), BLOB_MAX)
        wrong = bytearray(right)
        wrong[self._chosen.randrange(len(wrong))] ^= 1 << self._chosen.randrange(8)
        disk.put(name, bytes(wrong), Deadline(10))
        began = time.monotonic()
        while time.monotonic() - began < 3:
            if read(client, self._stage.path(key)) is None:
                raise TooSlow(f"{key} is not there while a copy of it is damaged")
            if disk.read(name, Deadline(10), BLOB_MAX) == right:
                return time.monotonic() - began
            if any(copy["state"] != "stored" for copy in self._stage.copies(key)):
                self._stage.wait(lambda: disk.read(name, Deadline(10), BLOB_MAX) == right, 60, "the right bytes")
                return time.monotonic() - began
        disk.put(name, right, Deadline(10))
        return None


def check(stage: Stage, load: Load, threads: int = 4) -> list[str]:
    """What is lost, wrong or risen, after the last incident: every object against what its clients were told."""

    def look(key: str) -> str | None:
        try:
            return load.history.objection(key, read(stage.client(), stage.path(key)))
        except BovedaError as error:
            return f"{key} cannot be read: {error.detail}"

    with ThreadPoolExecutor(threads) as pool:
        return [found for found in pool.map(look, load.history) if found]
