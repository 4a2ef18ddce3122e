"""The only copy of an object vanishes from its disk: a dead letter that an operator sees, acknowledges, tries again.

The bytes come back as from a backup of the disk; until then nothing is served, and nothing wrong is.
"""

from __future__ import annotations

from typing import Any

from tests.support.cluster import Cluster
from tests.support.nodes import DirectNode
from tests.support.shared import wish
from tests.support.waiting import wait_until

CLUSTER = wish("--nodes", "2", "--workers", "1", BOVEDA_BACKOFF_BASE="0.1")


def letters(cluster: Cluster) -> list[dict[str, Any]]:
    return list(cluster.json("dead-letters")["dead_letters"])


def alarmed(cluster: Cluster) -> bool:
    return "dead-letters" in [alert["name"] for alert in cluster.status()["alerts"]]


def test_a_vanished_only_copy_is_a_dead_letter_until_it_is_back_and_tried_again(cluster: Cluster) -> None:
    cluster.ask("PUT", "/v1/buckets/single", body=b'{"copies": 1}')
    address = "/v1/buckets/single/objects/letter"
    assert cluster.ask("PUT", address, body=b"dear reader").status == 201
    (copy,) = cluster.ask("GET", "/v1/buckets/single/copies/letter").json()["copies"]
    disk = DirectNode(cluster.process(copy["node"]))
    kept = disk.read(copy["blob_key"])
    assert kept is not None

    disk.remove(copy["blob_key"])
    assert cluster.ask("GET", address).status == 502
    wait_until(lambda: letters(cluster), 30, "a dead letter")
    (letter,) = letters(cluster)
    assert (letter["bucket"], letter["key"], letter["node"]) == ("single", "letter", copy["node"])
    assert letter["blob_key"] == copy["blob_key"]
    assert letter["first_error"]["error"]
    assert letter["last_error"]["kind"]
    assert alarmed(cluster)

    # in vain while nothing is there: it comes back to the list
    assert cluster.json("dead-letters", "retry", "--all") == {"retried": 1}
    wait_until(lambda: [again["id"] for again in letters(cluster)] == [letter["id"]], 30, "the letter is dead again")

    assert cluster.json("dead-letters", "acknowledge", str(letter["id"])) == {"acknowledged": 1}
    assert not letters(cluster)
    assert not alarmed(cluster)
    assert cluster.ask("GET", address).status == 502

    disk.write(copy["blob_key"], kept)
    assert cluster.json("dead-letters", "retry", str(letter["id"])) == {"retried": 1}
    cluster.wait_converged()
    answer = cluster.ask("GET", address)
    assert (answer.status, answer.data) == (200, b"dear reader")
    assert not letters(cluster)
    assert disk.read(copy["blob_key"]) == kept
