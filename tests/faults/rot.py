"""Objects with a copy on one node that goes bad on its disk, and what Bóveda then says and does about it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from common.model.times import parse_rfc3339
from tests.support.cluster import Cluster
from tests.support.disk import Disk
from tests.support.waiting import wait_until

NODE = "node2"
SECONDS = 90.0
NOTHING = {"missing": 0, "suspect": 0, "doomed": 0}
Disks = Mapping[str, Disk]


@contextmanager
def disks_of(cluster: Cluster) -> Iterator[Disks]:
    found = {process["name"]: Disk.of(process) for process in cluster.processes("node")}
    yield found
    for disk in found.values():
        disk.close()


@dataclass(frozen=True)
class Stored:
    """An object: its content, and its first blob's name and bytes."""

    key: str
    body: bytes
    name: str
    sealed: bytes


def store_first_there(cluster: Cluster, disks: Disks, prefix: str, size: int) -> Stored:
    """An object whose first copy, the one that is read first, lies on `NODE`. The others are on their way."""
    for number in range(40):
        key, body = f"{prefix}-{size}-{number}", os.urandom(size)
        assert cluster.first_put(key, body).status == 201
        there = [copy for copy in cluster.copies(key) if copy["blob"] == 0 and copy["stored_at"]]
        first = min(there, key=lambda copy: parse_rfc3339(copy["stored_at"]))
        if first["node"] == NODE:
            sealed = disks[NODE].read(first["blob_key"])
            assert sealed is not None
            return Stored(key, body, first["blob_key"], sealed)
    raise AssertionError("no object has its first copy there")


class Bad:
    """These objects' copies on `NODE`, which are bad from now on."""

    def __init__(self, cluster: Cluster, objects: Sequence[Stored]) -> None:
        self._cluster = cluster
        self._since = time.time()
        self.objects = objects
        self.ids = {stored.name.rsplit("/", 1)[1] for stored in objects}

    def copies(self) -> list[dict[str, Any]]:
        """What is known of those on `NODE`."""
        names = {stored.name for stored in self.objects}
        found = [copy for stored in self.objects for copy in self._cluster.copies(stored.key)]
        return [copy for copy in found if copy["node"] == NODE and copy["blob_key"] in names]

    def proven(self) -> bool:
        """Whether all copies of them, wherever they are, are said to be stored; those here to be read right since."""
        stored = all(self._protected(stored.key) for stored in self.objects)
        return stored and all(
            copy["verified_at"] and parse_rfc3339(copy["verified_at"]) >= self._since for copy in self.copies()
        )

    def wait_proven(self) -> None:
        wait_until(self.proven, SECONDS, "the bad copies are made good")

    def read(self) -> None:
        """Every object, whole and a few bytes of its middle, comes right."""
        for stored in self.objects:
            whole = self._cluster.get(stored.key)
            assert (whole.status, whole.data) == (200, stored.body)
            middle = len(stored.body) // 2
            few = self._cluster.get(stored.key, headers={"Range": f"bytes={middle}-{middle + 9}"})
            assert (few.status, few.data) == (206, stored.body[middle : middle + 10])

    def told(self, event: str) -> set[str]:
        """Blobs of theirs with which some process has logged this."""
        found = set()
        for log in (self._cluster.home / "logs").iterdir():
            for line in log.read_text(errors="replace").splitlines():
                if line.startswith("{") and f'"{event}"' in line:
                    entry = json.loads(line)
                    found |= {entry["blob"]} if entry["event"] == event else set()
        return found & self.ids

    def kept(self, disks: Disks) -> set[str]:
        """Blobs of theirs of which something lies in quarantine."""
        names = [name for disk in disks.values() for name in disk.names("quarantine/")]
        return {blob for blob in self.ids if any(blob in name for name in names)}

    def _protected(self, key: str) -> bool:
        copies = self._cluster.copies(key)
        return {copy["state"] for copy in copies} == {"stored"} and len(copies) % 3 == 0


def run_job(cluster: Cluster, kind: str, prefix: str) -> Mapping[str, Any]:
    """Its report, when it has ended well."""
    asked = cluster.ask("POST", "/v1/jobs", json={"kind": kind, "scope": {"bucket": "archivos", "prefix": prefix}})
    found: dict[str, Any] = {}

    def over() -> bool:
        found.update(cluster.ask("GET", asked.headers["Location"]).json())
        return found["state"] not in ("queued", "running")

    wait_until(over, 2 * SECONDS, f"the {kind} job ends")
    assert found["state"] == "done", found
    return dict(found["report"])


def rotten(cluster: Cluster, disks: Disks, prefix: str, sizes: Sequence[int]) -> Iterator[Bad]:
    """Objects of these sizes, each with one byte changed on one node's disk; deleted afterwards."""
    objects = [store_first_there(cluster, disks, prefix, size) for size in sizes]
    cluster.wait_converged()
    bad = Bad(cluster, objects)
    for stored in objects:
        disks[NODE].flip(stored.name, stored.sealed, len(stored.sealed) * 5 // 8)
    yield bad
    for stored in objects:
        assert cluster.delete(stored.key).status == 204


def assert_mended(cluster: Cluster, disks: Disks, rot: Bad) -> None:
    rot.wait_proven()
    for stored in rot.objects:
        assert [node for node, disk in disks.items() if disk.read(stored.name) != stored.sealed] == []
    assert rot.told("copy_repaired") == rot.ids
    assert rot.kept(disks) | rot.told("evidence_not_kept") == rot.ids, "it is kept, or told that it is not"
    wait_until(lambda: cluster.status()["copies"] == NOTHING, 20, "nothing is left to do")
    assert cluster.status()["dead_letters"] == 0
    wait_until(lambda: set(cluster.states().values()) == {"up"}, 20, "the node is not the trouble")
