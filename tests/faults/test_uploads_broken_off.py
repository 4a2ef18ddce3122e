"""Clients go, stall, send too little, the wrong bytes, or too slowly (scenarios 3 and 4): nothing of it is seen."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Callable

import pytest

from api.server.connection import AHEAD_BYTES
from tests.faults.bare_upload import BarePut
from tests.support.cluster import Cluster
from tests.support.shared import wish
from tests.support.waiting import wait_until

IDLE, GRACE = 4.0, 8.0
CLUSTER = wish(BOVEDA_IDLE_TIMEOUT=str(IDLE), BOVEDA_ORPHAN_GRACE=str(GRACE))
MIB = 1 << 20
OLD = b"what was there before" * 100


def cut(upload: BarePut) -> int:
    upload.half_close()
    return upload.status()


def gone(upload: BarePut) -> int:
    upload.reset()
    return 0


def stalled(upload: BarePut) -> int:
    return upload.status()


@pytest.mark.parametrize("size", [40_000, 20 * MIB])
@pytest.mark.parametrize(("end", "statuses"), [(cut, {400, 0}), (gone, {0}), (stalled, {408})])
def test_a_body_that_does_not_come_whole_changes_nothing(
    cluster: Cluster, end: Callable[[BarePut], int], statuses: set[int], size: int
) -> None:
    key = f"{end.__name__}-{size}"
    assert cluster.put(key, OLD).status == 201
    cluster.wait_converged()
    old, counted = cluster.blobs(key), objects(cluster)
    for name in (key, f"{key}-new"):
        upload = BarePut(cluster, name, size)
        upload.send(os.urandom(size * 3 // 4))
        assert end(upload) in statuses
    assert cluster.get(key).data == OLD
    assert cluster.get(f"{key}-new").status == 404
    assert objects(cluster) == counted
    assert all(old <= node.names() for node in cluster.nodes().values())


def objects(cluster: Cluster) -> list[tuple[str, str]]:
    listed = cluster.ask("GET", "/v1/buckets/archivos/objects").json()["objects"]
    return [(found["key"], found["version"]) for found in listed]


def test_a_long_upload_that_broke_off_leaves_no_blob_on_any_node(cluster: Cluster) -> None:
    before = on_nodes(cluster)
    upload = BarePut(cluster, "long-and-gone", 40 * MIB)
    upload.send(os.urandom(20 * MIB))
    wait_until(lambda: on_nodes(cluster) - before, 10, "its first blob is on a node")
    upload.reset()
    wait_until(lambda: not on_nodes(cluster) - before, 20, "its blobs are gone again")
    assert cluster.get("long-and-gone").status == 404


def on_nodes(cluster: Cluster) -> set[str]:
    return {name for node in cluster.nodes().values() for name in node.names()}


@pytest.mark.parametrize("header", ["Content-MD5", "Repr-Digest"])
def test_a_body_of_another_digest_is_refused_and_the_right_one_taken(cluster: Cluster, header: str) -> None:
    body = os.urandom(10 * MIB)
    digests = {
        "Content-MD5": base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode(),
        "Repr-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:",
    }
    for data in (bytes([body[0] ^ 1]) + body[1:], b"short"):
        assert cluster.put(f"digest-{header}", data, headers={header: digests[header]}).status == 400
    assert cluster.get(f"digest-{header}").status == 404
    assert cluster.put(f"digest-{header}", body, headers={header: digests[header]}).status == 201
    assert cluster.get(f"digest-{header}").data == body


def test_an_empty_object_is_an_object(cluster: Cluster) -> None:
    assert cluster.put("empty", b"").status == 201
    cluster.wait_converged()
    (name,) = cluster.blobs("empty")
    answer = cluster.get("empty")
    assert (answer.status, answer.data, answer.headers["X-Copies"]) == (200, b"", "3/3")
    assert len({node.read(name) for node in cluster.nodes().values()}) == 1


def test_a_small_upload_slower_than_orphans_are_spared_is_refused_and_a_long_one_is_kept(cluster: Cluster) -> None:
    """The blob of a small upload has no row while its body comes; it may not be committed once it may be reclaimed."""
    bodies = {"slow-small": os.urandom(400_000), "slow-long": os.urandom(17 * MIB)}
    sent = {"slow-small": 2 * AHEAD_BYTES, "slow-long": 16 * MIB}  # of both, as much as begins the upload
    uploads = {key: BarePut(cluster, key, len(body)) for key, body in bodies.items()}
    for key, upload in uploads.items():
        upload.send(bodies[key][: sent[key]])
    began = time.monotonic()
    while time.monotonic() - began < GRACE / 2 + 1:
        for key, upload in uploads.items():
            upload.send(bodies[key][sent[key] : sent[key] + 1000])
            sent[key] += 1000
        time.sleep(0.1)  # that is how these clients are
    for key, upload in uploads.items():
        upload.send(bodies[key][sent[key] :])
    assert (uploads["slow-small"].status(), uploads["slow-long"].status()) == (503, 201)
    assert cluster.get("slow-small").status == 404
    assert cluster.get("slow-long").data == bodies["slow-long"]
