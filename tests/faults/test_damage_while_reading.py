"""Copies are absent, short, damaged or another's (scenarios 10 and 11): what a client gets is right, or an error.

The copies are damaged on two of three nodes, so that whichever is asked first, the third has to be found. What becomes
of the damaged ones is told elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from common.crypto.envelope import CHUNK, OVERHEAD_HEADER
from tests.support.cluster import Cluster
from tests.support.nodes import DirectNode
from tests.support.waiting import wait_until

SIZE = 3 * CHUNK + 777
SEALED_CHUNK = CHUNK + 16
RANGE = (CHUNK - 100, CHUNK + 100)

OFFSETS = {
    "the magic": 0,
    "the version": 4,
    "the suite": 5,
    "the chunk size": 6,
    "a byte that is nought": 15,
    "the salt": 16 + 12,
    "the commitment": 16 + 24 + 31,
    "the first byte of the first chunk": OVERHEAD_HEADER,
    "the middle of the first chunk": OVERHEAD_HEADER + CHUNK // 2,
    "the last byte of the first chunk": OVERHEAD_HEADER + CHUNK - 1,
    "the first chunk's tag": OVERHEAD_HEADER + CHUNK + 7,
    "the second chunk": OVERHEAD_HEADER + SEALED_CHUNK + 5,
    "the last chunk": OVERHEAD_HEADER + 3 * SEALED_CHUNK,
    "the last tag": -1,
}


@pytest.fixture(scope="module")
def stored(cluster: Cluster) -> bytes:
    """An object of several chunks with all its copies."""
    body = os.urandom(SIZE)
    assert cluster.put("harmed", body).status == 201
    assert cluster.put("other", os.urandom(SIZE)).status == 201
    cluster.wait_converged()
    return body


def harm(cluster: Cluster, how: Callable[[DirectNode, str], object], nodes: list[str]) -> None:
    (name,) = cluster.blobs("harmed")
    for node in nodes:
        how(cluster.nodes()[node], name)


def check_reads(cluster: Cluster, body: bytes) -> None:
    assert cluster.get("harmed").data == body
    first, last = RANGE
    part = cluster.get("harmed", headers={"Range": f"bytes={first}-{last}"})
    assert (part.status, part.data) == (206, body[first : last + 1])
    tail = cluster.get("harmed", headers={"Range": "bytes=-100"})
    assert (tail.status, tail.data) == (206, body[-100:])


def mend(cluster: Cluster, right: bytes) -> None:
    """Put the right bytes back everywhere, and wait until nobody doubts them."""
    (name,) = cluster.blobs("harmed")
    for node in cluster.nodes().values():
        node.write(name, right)
    wait_until(lambda: {copy["state"] for copy in cluster.copies("harmed")} == {"stored"}, 30, "all copies are trusted")


@pytest.mark.parametrize("where", OFFSETS)
def test_a_flipped_bit_is_never_served_wherever_it_is(cluster: Cluster, stored: bytes, where: str) -> None:
    (name,) = cluster.blobs("harmed")
    right = cluster.nodes()["node1"].read(name) or b""
    spared = ["node1", "node2", "node3"][list(OFFSETS).index(where) % 3]
    harm(
        cluster,
        lambda node, name: node.flip(name, OFFSETS[where]),
        [node for node in cluster.nodes() if node != spared],
    )
    check_reads(cluster, stored)
    mend(cluster, right)


def remove(node: DirectNode, name: str) -> None:
    node.remove(name)


def empty(node: DirectNode, name: str) -> None:
    node.write(name, b"")


def shorten(node: DirectNode, name: str) -> None:
    node.write(name, (node.read(name) or b"")[: OVERHEAD_HEADER + SEALED_CHUNK + 1000])


def shorten_at_a_chunk(node: DirectNode, name: str) -> None:
    node.write(name, (node.read(name) or b"")[: OVERHEAD_HEADER + 2 * SEALED_CHUNK])


def lengthen(node: DirectNode, name: str) -> None:
    node.write(name, (node.read(name) or b"") + b"more")


def swap_chunks(node: DirectNode, name: str) -> None:
    sealed = node.read(name) or b""
    first, second, third = OVERHEAD_HEADER, OVERHEAD_HEADER + SEALED_CHUNK, OVERHEAD_HEADER + 2 * SEALED_CHUNK
    node.write(name, sealed[:first] + sealed[second:third] + sealed[first:second] + sealed[third:])


@pytest.mark.parametrize("how", [remove, empty, shorten, shorten_at_a_chunk, lengthen, swap_chunks])
def test_copies_that_are_absent_or_of_another_shape_are_passed_over(
    cluster: Cluster, stored: bytes, how: Callable[[DirectNode, str], None]
) -> None:
    (name,) = cluster.blobs("harmed")
    right = cluster.nodes()["node1"].read(name) or b""
    harm(cluster, how, ["node1", "node2"])
    check_reads(cluster, stored)
    mend(cluster, right)
    harm(cluster, how, ["node2", "node3"])
    check_reads(cluster, stored)
    mend(cluster, right)


def test_another_blobs_bytes_under_the_name_are_passed_over_and_never_served_alone(
    cluster: Cluster, stored: bytes
) -> None:
    (name,), (other,) = cluster.blobs("harmed"), cluster.blobs("other")
    right = cluster.nodes()["node1"].read(name) or b""
    harm(cluster, lambda node, name: node.write(name, node.read(other) or b""), ["node1", "node3"])
    check_reads(cluster, stored)
    mend(cluster, right)
    harm(cluster, lambda node, name: node.write(name, node.read(other) or b""), ["node1", "node2", "node3"])
    damaged = cluster.get("harmed")
    assert (damaged.status, damaged.json()["type"].rsplit("/", 1)[1]) == (502, "object-damaged")
    assert all(node.read(name) == node.read(other) for node in cluster.nodes().values()), "nothing is thrown away"
    mend_by_hand(cluster, name, right)
    check_reads(cluster, stored)


def mend_by_hand(cluster: Cluster, name: str, right: bytes) -> None:
    """A good copy comes back on one node; a repair job takes it from there."""
    cluster.nodes()["node2"].write(name, right)
    job = {"kind": "repair", "scope": {"bucket": "archivos", "key": "harmed"}}
    assert cluster.ask("POST", "/v1/jobs", json=job).status == 202
    wait_until(lambda: {copy["state"] for copy in cluster.copies("harmed")} == {"stored"}, 30, "all copies are right")
    assert all(node.read(name) == right for node in cluster.nodes().values())
