"""Nodes that come back with yesterday's blobs (scenarios 13, 22, 26, 27): nothing of it is served, or rises again."""

from __future__ import annotations

from tests.faults.history import History
from tests.support.cluster import Cluster
from tests.support.waiting import wait_until


def test_a_returning_nodes_old_copies_are_not_served_and_go_with_what_was_deleted_meanwhile(cluster: Cluster) -> None:
    keys = [f"kept-{number}" for number in range(6)]
    for key in (*keys, "deleted", "deleted-and-new"):
        assert cluster.put(key, b"old " * 1000).status == 201
    cluster.wait_converged()
    stale = {name for key in (*keys, "deleted", "deleted-and-new") for name in cluster.blobs(key)}
    (deleted,) = cluster.blobs("deleted")

    cluster.act("kill", "node3")
    for key in keys:
        assert cluster.put(key, b"new " * 1000).status == 200
    assert cluster.delete("deleted").status == 204
    assert cluster.delete("deleted-and-new").status == 204
    assert cluster.put("deleted-and-new", b"new " * 1000).status == 201
    node1, node2 = (cluster.nodes()[name] for name in ("node1", "node2"))
    wait_until(
        lambda: not stale & (node1.names() | node2.names()), 30, "the old blobs are gone from the nodes that are up"
    )

    workers = [worker["name"] for worker in cluster.processes("worker")]
    for name in workers:  # so that the old blobs are there when clients ask
        cluster.act("stop", name)
    cluster.act("start", "node3")
    node3 = cluster.nodes()["node3"]
    assert stale <= node3.names(), "it came back with what it had"
    for name in ("node1", "node2"):  # so that the returning node is the one that is asked
        cluster.act("kill", name)
    wait_until(lambda: cluster.states()["node3"] == "up", 20, "node3 is up")
    for key in (*keys, "deleted-and-new"):
        answer = cluster.get(key)
        assert answer.status in (200, 503)
        assert answer.status == 503 or answer.data == b"new " * 1000
    assert cluster.get("deleted").status == 404
    for name in ("node1", "node2", *workers):
        cluster.act("start", name)

    wait_until(lambda: not stale & node3.names(), 30, "the old blobs are gone from the returned node")
    cluster.wait_converged()
    assert cluster.get("deleted").status == 404
    assert all(cluster.get(key).data == b"new " * 1000 for key in (*keys, "deleted-and-new"))
    wanted = {name for key in (*keys, "deleted-and-new") for name in cluster.blobs(key)}
    assert all(node.names() == wanted for node in cluster.nodes().values())
    assert deleted not in wanted


def test_a_flapping_node_makes_no_endless_work_and_no_client_sees_it(cluster: Cluster) -> None:
    history = History(cluster, "flap")
    history.upload_many(10)
    cluster.wait_converged()

    def flap() -> None:
        for _ in range(4):
            cluster.act("kill", "node1")
            seen = len(history.acknowledged)
            wait_until(lambda seen=seen: len(history.acknowledged) >= seen + 5, 30, "uploads go on")  # type: ignore[misc]
            cluster.act("start", "node1")

    history.during(flap)
    assert history.refused == []
    cluster.wait_converged(90)
    assert (history.wrong(), history.wrong_on(cluster.nodes())) == ([], [])
    tried = [copy["attempts"] for key in history.acknowledged for copy in cluster.copies(key)]
    assert max(tried) <= 6
    assert sum(tried) <= 3 * len(tried), "a handful of attempts for a handful of falls"
    assert cluster.status()["dead_letters"] == 0
    wait_until(lambda: all(not depth for depth in cluster.status()["queues"].values()), 20, "nothing is left to do")
