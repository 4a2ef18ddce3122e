"""Nodes are killed and come back: clients notice nothing, and the copies come by themselves."""

from __future__ import annotations

import pytest

from tests.faults.history import History
from tests.support.cluster import Cluster
from tests.support.shared import wish
from tests.support.waiting import wait_until

pytestmark = pytest.mark.alone

CLUSTER = wish(quick=False)


def test_with_one_node_killed_uploads_and_downloads_go_on_and_its_copies_come_when_it_is_back(
    cluster: Cluster,
) -> None:
    history = History(cluster, "one")
    history.upload_many(20)
    cluster.wait_converged()
    cluster.act("kill", "node2")
    history.upload_many(30)
    assert history.refused == []
    assert history.wrong() == []
    took = wait_until(lambda: cluster.states()["node2"] == "down", 10, "node2 is seen as down")
    assert took < 10
    history.upload_many(10)
    assert (history.refused, history.wrong()) == ([], [])
    missing = [key for key in history.acknowledged if any(copy["state"] == "missing" for copy in cluster.copies(key))]
    assert len(missing) == 40

    cluster.act("start", "node2")
    first = wait_until(
        lambda: any(all(copy["state"] == "stored" for copy in cluster.copies(key)) for key in missing),
        20,
        "the first missing copy",
    )
    assert first < 15
    cluster.wait_converged()
    wanted = {name for key in history.acknowledged for name in cluster.blobs(key)}
    assert wanted <= cluster.nodes()["node2"].names()


def test_with_two_of_three_nodes_killed_everything_that_converged_is_still_served(cluster: Cluster) -> None:
    history = History(cluster, "two")
    history.upload_many(30)
    assert history.upload(20 * 1024 * 1024)
    cluster.wait_converged()
    for names in (("node1", "node2"), ("node2", "node3")):
        for name in names:
            cluster.act("kill", name)
        assert history.wrong() == []
        wait_until(lambda names=names: [cluster.states()[name] for name in names] == ["down"] * 2, 15, "down")  # type: ignore[misc]
        assert history.wrong() == []
        assert history.upload(), "write_copies is 1, and one node is left"
        for name in names:
            cluster.act("start", name)
        cluster.wait_converged()


def test_an_object_whose_only_copies_are_away_is_unavailable_not_absent(cluster: Cluster) -> None:
    history = History(cluster, "away")
    assert history.upload()
    cluster.wait_converged()
    for name in ("node1", "node2", "node3"):
        cluster.act("kill", name)
    (key,) = history.acknowledged
    answer = cluster.get(key)
    assert answer.status == 503
    assert answer.headers["Retry-After"]
    refused = cluster.put("nowhere-to-go", b"x")
    assert refused.status == 503
    assert cluster.get("nowhere-to-go").status == 404
    for name in ("node1", "node2", "node3"):
        cluster.act("start", name)
    wait_until(lambda: history.wrong() == [], 30, "the object is back")
