"""An upload over several requests survives its client, the gateways and a node, one after the other (3, 4 and 5)."""

from __future__ import annotations

import os
import signal
import threading
from base64 import b64encode

import urllib3

from tests.faults.bare_upload import BarePatch
from tests.support.cluster import Cluster
from tests.support.shared import wish
from tests.support.waiting import wait_until

MIB = 1 << 20
BLOB = 2 * MIB
CLUSTER = wish(BOVEDA_BLOB_SIZE=str(BLOB))
TUS = {"Tus-Resumable": "1.0.0"}


def begin(cluster: Cluster, key: str, length: int) -> str:
    named = f"bucket {b64encode(b'archivos').decode()},key {b64encode(key.encode()).decode()}"
    headers = {**TUS, "Upload-Length": str(length), "Upload-Metadata": named}
    created = cluster.ask("POST", "/v1/uploads", headers=headers)
    assert created.status == 201, created.data
    return created.headers["Location"]


def offset(cluster: Cluster, url: str) -> int:
    answer = cluster.ask("HEAD", url, headers=TUS)
    assert answer.status == 200, answer.status
    return int(answer.headers["Upload-Offset"])


def patch(cluster: Cluster, url: str, at: int, data: bytes) -> urllib3.BaseHTTPResponse:
    headers = {**TUS, "Upload-Offset": str(at), "Content-Type": "application/offset+octet-stream"}
    return cluster.ask("PATCH", url, headers=headers, body=data, timeout=60)


def on_nodes(cluster: Cluster) -> set[str]:
    return {name for node in cluster.nodes().values() for name in node.names()}


def test_an_upload_goes_on_after_its_client_the_gateways_and_a_node_were_killed(cluster: Cluster) -> None:
    body = os.urandom(12 * BLOB + 12_345)
    url = begin(cluster, "survivor", len(body))

    part = BarePatch(cluster, url, 0, len(body))
    part.send(body[: 2 * BLOB + MIB + 1000])
    wait_until(lambda: offset(cluster, url) >= 2 * BLOB, 20, "its first blobs are acknowledged while it is sent")
    part.half_close()
    assert part.status() == 400
    assert offset(cluster, url) == 2 * BLOB + MIB, "what came, to the last whole chunk"

    at = offset(cluster, url)
    part = BarePatch(cluster, url, at, len(body) - at)
    part.send(body[at : at + 2 * BLOB + MIB])
    wait_until(lambda: offset(cluster, url) >= at + 2 * BLOB, 20, "more blobs are acknowledged")
    cluster.signal("api", signal.SIGKILL)
    part.reset()
    cluster.wait_ready()
    at = offset(cluster, url)
    assert at >= 4 * BLOB + MIB, "what was put before the gateways died is kept"

    answers: list[int] = []

    def went_on() -> bool:
        answers.append(patch(cluster, url, at, body[at : at + BLOB]).status)
        return answers[-1] == 204

    wait_until(went_on, 15, "the dead gateway's lease is over")
    assert set(answers) <= {409, 204}

    at += BLOB
    part = BarePatch(cluster, url, at, len(body) - at)
    part.send(body[at : at + BLOB + MIB])
    victim = next(name for name, node in cluster.nodes().items() if node.names())
    cluster.act("kill", victim)
    part.send(body[at + BLOB + MIB :])
    assert part.status() == 204
    assert offset(cluster, url) == len(body)
    cluster.act("start", victim)
    cluster.wait_converged(120)
    assert cluster.get("survivor").data == body
    blobs = cluster.blobs("survivor")
    wait_until(lambda: on_nodes(cluster) == blobs, 60, "what a request left behind is deleted")


def test_of_many_requests_at_one_offset_one_wins(cluster: Cluster) -> None:
    bodies = [bytes([number]) * (2 * BLOB) for number in range(6)]
    url = begin(cluster, "contended", 4 * BLOB)
    for half in (0, 2 * BLOB):
        statuses: list[int] = []
        threads = [
            threading.Thread(target=lambda body=body: statuses.append(patch(cluster, url, half, body).status))  # noqa: B023
            for body in bodies
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [204] + [409] * 5
    stored = cluster.get("contended").data
    assert stored[: 2 * BLOB] in bodies
    assert stored[2 * BLOB :] in bodies


def test_an_upload_that_is_ended_leaves_no_blob_on_any_node(cluster: Cluster) -> None:
    cluster.wait_converged()
    before = on_nodes(cluster)
    url = begin(cluster, "ended", 4 * BLOB)
    assert patch(cluster, url, 0, os.urandom(3 * BLOB)).status == 204
    assert len(on_nodes(cluster) - before) == 3
    assert cluster.ask("DELETE", url, headers=TUS).status == 204
    wait_until(lambda: not on_nodes(cluster) - before, 30, "its blobs are gone again")
    assert cluster.get("ended").status == 404
