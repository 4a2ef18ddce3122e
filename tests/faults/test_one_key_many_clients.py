"""Several clients at one name at once (scenarios 8, 27, 28): one whole winner, and the listing says the same."""

from __future__ import annotations

import hashlib
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.cluster import Cluster
from tests.support.shared import wish
from tests.support.waiting import wait_until

CLUSTER = wish(BOVEDA_DOOM_DELAY="10")  # a download of a replaced version is whole for so long
MIB = 1 << 20


def body_of(name: str, size: int) -> bytes:
    """The bytes that only this client writes."""
    return random.Random(name).randbytes(size)


@pytest.mark.parametrize("size", [16 * 1024, 9 * MIB])
def test_of_many_uploads_at_one_key_one_whole_one_stays(cluster: Cluster, size: int) -> None:
    key = f"put-put-{size}"
    bodies = {f"client{number}": body_of(f"client{number}", size) for number in range(6)}
    with ThreadPoolExecutor(6) as clients:
        answers = list(clients.map(lambda body: cluster.put(key, body), bodies.values()))
    assert sorted({answer.status for answer in answers}) == [200, 201]
    assert [answer.status for answer in answers].count(201) == 1
    got = cluster.get(key)
    winner = next(answer for answer in answers if answer.headers["ETag"] == got.headers["ETag"])
    assert got.data == list(bodies.values())[answers.index(winner)]
    only_these_remain(cluster, key, size)


def only_these_remain(cluster: Cluster, key: str, size: int) -> None:
    """The blobs of the current version on every node, and none of the others'."""
    wait_until(lambda: {copy["state"] for copy in cluster.copies(key)} == {"stored"}, 30, "all copies")
    current = cluster.blobs(key)
    assert len(current) == -(-size // (8 * MIB))
    everything = {name for known in listed(cluster) for name in cluster.blobs(known)}
    wait_until(lambda: all(node.names() == everything for node in cluster.nodes().values()), 30, "the others are gone")


def listed(cluster: Cluster, prefix: str = "") -> list[str]:
    found = cluster.ask("GET", f"/v1/buckets/archivos/objects?prefix={prefix}").json()["objects"]
    return [item["key"] for item in found]


def test_uploads_against_deletes_end_with_a_whole_object_or_none(cluster: Cluster) -> None:
    for turn in range(10):
        key = f"put-delete-{turn}"
        assert cluster.put(key, body_of("old", 1000)).status == 201
        with ThreadPoolExecutor(4) as clients:
            puts = [clients.submit(cluster.put, key, body_of(f"new{number}", 20_000)) for number in range(2)]
            deletes = [clients.submit(cluster.delete, key) for _ in range(2)]
        assert {put.result().status for put in puts} <= {200, 201}
        assert {delete.result().status for delete in deletes} <= {204, 404}
        assert [delete.result().status for delete in deletes].count(204) >= 1
        got = cluster.get(key)
        assert (got.status == 200) == (key in listed(cluster, key))
        if got.status == 200:
            assert got.data in [body_of(f"new{number}", 20_000) for number in range(2)]
        else:
            assert got.status == 404


def test_a_listing_shows_what_can_be_downloaded_at_every_moment(cluster: Cluster) -> None:
    """Names that are never deleted do not flicker while others come and go."""
    stable = [f"seen/stable-{number}" for number in range(5)]
    for key in stable:
        assert cluster.put(key, b"always").status == 201
    over = threading.Event()

    def come_and_go(number: int) -> None:
        while not over.is_set():
            key = f"seen/fleeting-{number}"
            assert cluster.put(key, b"now").status in (200, 201)
            assert key in listed(cluster, "seen/")
            assert cluster.get(key).data == b"now"
            assert cluster.delete(key).status == 204
            assert key not in listed(cluster, "seen/")
            assert cluster.get(key).status == 404

    def overwrite() -> None:
        while not over.is_set():
            assert cluster.put(stable[0], b"always").status == 200

    with ThreadPoolExecutor(4) as clients:
        running = [clients.submit(come_and_go, number) for number in range(3)] + [clients.submit(overwrite)]
        try:
            for _ in range(60):
                found = listed(cluster, "seen/")
                assert set(stable) <= set(found)
                assert sorted(found) == found
                assert len(set(found)) == len(found)
                assert cluster.get(stable[0]).status == 200
        finally:
            over.set()
    for each in running:
        each.result()


@pytest.mark.parametrize("change", ["overwrite", "delete"])
def test_a_download_goes_on_whole_while_its_object_is_replaced_or_deleted(cluster: Cluster, change: str) -> None:
    """Its version's copies are spared for the doom delay; the client gets all of it, and never a mixture."""
    old, key = os.urandom(40 * MIB), f"download-{change}"
    assert cluster.put(key, old).status == 201
    cluster.wait_converged()
    download = cluster.get(key, preload_content=False)
    got = hashlib.sha256(download.read(MIB))
    if change == "overwrite":
        assert cluster.put(key, b"new").status == 200
    else:
        assert cluster.delete(key).status == 204
    while piece := download.read(MIB):
        got.update(piece)
    assert got.digest() == hashlib.sha256(old).digest()
    after = cluster.get(key)
    assert (after.status, after.data) == (200, b"new") if change == "overwrite" else after.status == 404


def test_a_delete_is_final_when_repeated_amid_repairs_and_a_later_upload_is_another(cluster: Cluster) -> None:
    key = "deleted-amid-repair"
    for turn in range(3):
        body = body_of(f"turn{turn}", 3 * MIB)
        assert cluster.put(key, body).status == 201
        wait_until(lambda: {copy["state"] for copy in cluster.copies(key)} == {"stored"}, 30, "all copies")
        (name,) = cluster.blobs(key)
        node1, node2, _ = cluster.nodes().values()
        node1.remove(name)
        node2.flip(name)
        job = {"kind": "repair", "scope": {"bucket": "archivos", "key": key}}
        assert cluster.ask("POST", "/v1/jobs", json=job).status == 202
        assert cluster.delete(key).status == 204
        assert cluster.delete(key).status == 404
        cluster.wait_gone({name})
    assert cluster.get(key).status == 404
    assert cluster.put(key, b"a new life").status == 201
    cluster.wait_converged()
    assert cluster.get(key).data == b"a new life"
    assert not any(name in node.names() for node in cluster.nodes().values())
