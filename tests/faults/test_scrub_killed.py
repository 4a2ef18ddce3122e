"""The scrub's worker is killed in the middle of a pass: it goes on from its checkpoint. Scenario 25."""

from __future__ import annotations

import os
import signal

from common.model.sizes import MIB
from tests.support.cluster import Cluster
from tests.support.shared import wish
from tests.support.waiting import wait_until

OBJECTS = 20
# A pass over twenty MiB takes about twenty seconds, and begins half a minute after the one before, or later.
CLUSTER = wish(BOVEDA_SCRUB_PERIOD="21600")


def scrub(cluster: Cluster) -> dict[str, object]:
    (found,) = [node["scrub"] for node in cluster.ask("GET", "/v1/nodes").json()["nodes"] if node["name"] == "node2"]
    return dict(found)


def verified(cluster: Cluster) -> dict[str, str]:
    """When each object's copy on the node was read and found right."""
    found = {}
    for number in range(OBJECTS):
        for copy in cluster.ask("GET", f"/v1/buckets/archivos/copies/object-{number}").json()["copies"]:
            if copy["node"] == "node2" and copy["verified_at"] is not None:
                found[f"object-{number}"] = copy["verified_at"]
    return found


def test_a_killed_scrub_goes_on_from_its_checkpoint(cluster: Cluster) -> None:
    cluster.act("stop", "scrub")
    for number in range(OBJECTS):
        assert cluster.put(f"object-{number}", os.urandom(MIB)).status == 201
    cluster.wait_converged()
    passes = scrub(cluster)["passes"]
    cluster.act("start", "scrub")
    wait_until(lambda: len(verified(cluster)) >= 5, 240, "some copies are verified")
    before, started = verified(cluster), scrub(cluster)["started_at"]
    assert len(before) < OBJECTS
    os.kill(cluster.process("scrub")["pid"], signal.SIGKILL)
    wait_until(lambda: scrub(cluster)["passes"] == int(str(passes)) + 1, 120, "the pass ends")
    after = verified(cluster)
    assert len(after) == OBJECTS
    assert {key: after[key] for key in before} == before, "what was read before was not read again"
    assert scrub(cluster)["started_at"] == started
