"""The main job on the whole of it: upload, encrypt, store, replicate, download, repair, delete."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import urllib3

from common.model.names import blob_name
from common.model.sizes import MIB
from tests.faults.bare_upload import BarePut
from tests.support.cluster import Cluster, running_cluster
from tests.support.nodes import DirectNode
from tests.support.servers import tool
from tests.support.shared import wish
from tests.support.waiting import wait_until

CLUSTER = wish(flower=True)
PLAIN = b"the quick brown fox jumps over the lazy dog, " * 400


def copies(cluster: Cluster, key: str) -> list[dict[str, Any]]:
    return list(cluster.ask("GET", f"/v1/buckets/archivos/copies/{key}").json()["copies"])


def nodes(cluster: Cluster) -> dict[str, DirectNode]:
    return {process["name"]: DirectNode(process) for process in cluster.processes("node")}


def put_everywhere(cluster: Cluster, key: str, body: bytes) -> str:
    """Upload, wait for all copies, and give the blob's name on the nodes."""
    answer = cluster.put(key, body)
    assert answer.status == 201
    wait_until(lambda: {copy["state"] for copy in copies(cluster, key)} == {"stored"}, 30, "all copies")
    (name,) = {copy["blob_key"] for copy in copies(cluster, key)}
    return str(name)


def test_three_nodes_hold_the_same_ciphertext_and_none_of_the_plaintext(cluster: Cluster) -> None:
    name = put_everywhere(cluster, "fox", PLAIN)
    held = [node.read(name) for node in nodes(cluster).values()]
    assert held[0] == held[1] == held[2]
    assert held[0] is not None
    assert b"quick brown" not in held[0]
    assert b"fox" not in name.encode()
    assert cluster.get("fox").data == PLAIN


def test_the_prototypes_lines_work_as_they_stand(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "Actividad.txt").write_bytes(PLAIN)

    def curl(*arguments: str) -> str:
        return subprocess.run(
            [tool("curl"), "-sS", "--fail", *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    assert '"archivo"' in curl("-F", "archivo=@Actividad.txt", f"{cluster.url}/cargar")
    curl(f"{cluster.url}/descargar/Actividad.txt", "--output", "descargado.txt")
    assert (tmp_path / "descargado.txt").read_bytes() == PLAIN
    assert '"mensaje"' in curl("-X", "DELETE", f"{cluster.url}/eliminar/Actividad.txt")
    assert cluster.ask("GET", "/descargar/Actividad.txt").status == 404


def test_flower_shows_the_tasks_by_name(cluster: Cluster) -> None:
    put_everywhere(cluster, "for-flower", PLAIN)
    flower = next(process["endpoint"] for process in cluster.processes("flower"))
    outside = Cluster(flower, cluster.home, cluster.env)
    wait_until(lambda: b"boveda.replicate" in metrics(outside), 20, "the task's name in Flower")
    assert outside.ask("GET", "/tasks").status == 200


def metrics(flower: Cluster) -> bytes:
    """Nothing while it does not listen yet."""
    try:
        return flower.ask("GET", "/metrics").data
    except urllib3.exceptions.HTTPError:
        return b""


def test_a_deleted_objects_blobs_leave_every_node(cluster: Cluster) -> None:
    name = put_everywhere(cluster, "short-lived", PLAIN)
    assert cluster.ask("DELETE", "/v1/buckets/archivos/objects/short-lived").status == 204
    assert cluster.get("short-lived").status == 404
    wait_until(
        lambda: not any(name in node.names() for node in nodes(cluster).values()), 30, "the blob is gone everywhere"
    )


def test_a_replaced_versions_blobs_leave_every_node_and_the_new_one_stays(cluster: Cluster) -> None:
    old = put_everywhere(cluster, "replaced", PLAIN)
    assert cluster.put("replaced", PLAIN[::-1]).status == 200
    wait_until(lambda: not any(old in node.names() for node in nodes(cluster).values()), 30, "the old blob is gone")
    assert cluster.get("replaced").data == PLAIN[::-1]


def test_a_repair_makes_absent_and_damaged_copies_again_and_keeps_the_evidence(cluster: Cluster) -> None:
    name = put_everywhere(cluster, "harmed/one", PLAIN)
    first, second, third = nodes(cluster).values()
    right = first.flip(name)
    second.remove(name)
    answer = cluster.ask(
        "POST", "/v1/jobs", json={"kind": "repair", "scope": {"bucket": "archivos", "prefix": "harmed/"}}
    )
    assert answer.status == 202
    job = wait_for_job(cluster, answer.headers["Location"])
    assert job["state"] == "done", job
    assert job["report"]["before"] != job["report"]["after"]
    assert [node.read(name) for node in (first, second, third)] == [right] * 3
    (kept,) = evidence(first, name)
    assert first.read(kept) not in (None, right)


def wait_for_job(cluster: Cluster, location: str) -> dict[str, Any]:
    path = location.removeprefix(cluster.url)
    job: dict[str, Any] = {}

    def ended() -> bool:
        job.update(cluster.ask("GET", path).json())
        return job["state"] in ("done", "failed", "cancelled")

    wait_until(ended, 30, "the job's end")
    return job


def test_a_damaged_copy_is_never_served_and_is_mended_once_it_was_read(cluster: Cluster) -> None:
    """Which node is read first is not ours to say: each in turn has the damaged copy, and at least one is read."""
    name = put_everywhere(cluster, "flipped", PLAIN)
    mended = 0
    for node_name, node in nodes(cluster).items():
        right = node.flip(name, offset=100)
        assert all(cluster.get("flipped").data == PLAIN for _ in range(4))
        if seen_to_be_wrong(cluster, "flipped", node_name, node):
            wait_until(lambda node=node, right=right: node.read(name) == right, 10, "the copy is right again")  # type: ignore[misc]
            wait_until(
                lambda: {copy["state"] for copy in copies(cluster, "flipped")} == {"stored"}, 10, "its row says so"
            )
            mended += 1
        else:
            node.write(name, right)
    assert mended


def seen_to_be_wrong(cluster: Cluster, key: str, node_name: str, node: DirectNode) -> bool:
    """Whether reads have led to a repair on this node within 3 s: its copy is not `stored`, or its evidence is kept.

    `verified_at` would not tell: a scrub or the repair before may write it meanwhile.
    """
    end = time.monotonic() + 3
    while time.monotonic() < end:
        (copy,) = (copy for copy in copies(cluster, key) if copy["node"] == node_name)
        if copy["state"] != "stored" or evidence(node, copy["blob_key"]):
            return True
        time.sleep(0.05)
    return False


def evidence(node: DirectNode, name: str) -> list[str]:
    """The wrong copies of this blob that are kept on the node."""
    return [kept for kept in node.names("quarantine/") if kept.endswith(name.rsplit("/", 1)[1])]


@pytest.mark.parametrize("size", [0, 1, 8 * 1024 * 1024, 20 * 1024 * 1024 + 7])
def test_bodies_of_any_size_come_back_from_whichever_node_is_left(cluster: Cluster, size: int) -> None:
    body = os.urandom(size)
    assert cluster.put(f"size-{size}", body).status == 201
    wait_until(lambda: {copy["state"] for copy in copies(cluster, f"size-{size}")} == {"stored"}, 60, "all copies")
    names = {copy["blob_key"] for copy in copies(cluster, f"size-{size}")}
    assert all(names <= node.names() for node in nodes(cluster).values())
    assert cluster.get(f"size-{size}").data == body


def test_a_long_body_that_is_cut_leaves_nothing_on_any_node(cluster: Cluster) -> None:
    left = unwanted(cluster)  # what an earlier upload that failed has put may stay for an hour
    upload = BarePut(cluster, "cut-long", 40 * MIB)
    upload.send(os.urandom(20 * MIB))
    wait_until(lambda: unwanted(cluster) - left, 20, "its first blobs are on nodes")
    upload.half_close()
    assert upload.status() == 400
    wait_until(lambda: not unwanted(cluster) - left, 30, "no node has a name that is no current version's")
    assert cluster.get("cut-long").status == 404


def unwanted(cluster: Cluster) -> set[str]:
    """The names on nodes that no row of a current version stands for."""
    lying = set.union(*(node.names() for node in nodes(cluster).values()))
    with closing(sqlite3.connect(f"file:{cluster.home}/catalogue.db?mode=ro", uri=True)) as catalogue:
        rows = catalogue.execute(
            "SELECT blobs.id FROM blobs JOIN versions ON versions.id = blobs.version_id WHERE state = 'current'"
        )
        return lying - {blob_name(blob_id) for (blob_id,) in rows}


def test_the_same_on_seaweedfs(tmp_path: Path) -> None:
    body = os.urandom(9 * 1024 * 1024)
    with running_cluster(tmp_path / "home", "--node-kind", "seaweedfs", BOVEDA_DOOM_DELAY="1") as cluster:
        assert cluster.first_put("weed", body).status == 201
        cluster.wait_converged()
        names = {copy["blob_key"] for copy in copies(cluster, "weed")}
        assert all(names <= node.names() for node in nodes(cluster).values())
        cluster.act("kill", "node1")
        assert cluster.get("weed").data == body
        assert cluster.put("weed2", PLAIN).status == 201
        cluster.act("start", "node1")
        cluster.wait_converged()
        assert cluster.ask("DELETE", "/v1/buckets/archivos/objects/weed").status == 204
        wait_until(lambda: not any(names & node.names() for node in nodes(cluster).values()), 30, "the blobs are gone")
