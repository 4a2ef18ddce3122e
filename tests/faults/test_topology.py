"""Nodes are emptied, lost, given up and added while clients write: full copies follow, and no more than that.

Scenarios 29 (add, drain, drain and a second failure, a dead node removed), 30 (two changes at once), 31 (the brake).
The nodes are looked at directly, all the time: what the rows say is not asked.
"""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tests.faults.history import History
from tests.support.cluster import Cluster
from tests.support.shared import wish
from tests.support.waiting import wait_until

CLUSTER = wish("--nodes", "5", BOVEDA_REPROTECT_AFTER="3")
COPIES = 3


def change(cluster: Cluster, node: str, mode: str) -> None:
    answer = cluster.ask("PATCH", f"/v1/nodes/{node}", json={"mode": mode})
    assert answer.status == 200, answer.data


def emptied(cluster: Cluster, node: str) -> bool:
    return bool(cluster.ask("GET", f"/v1/nodes/{node}").json()["safe_to_remove"])


def listed(cluster: Cluster) -> set[str]:
    return {str(node["name"]) for node in cluster.ask("GET", "/v1/nodes").json()["nodes"]}


def lies(cluster: Cluster, history: History, *without: str) -> Counter[int]:
    """How many blobs lie on how many nodes, those away (`without`) not asked."""
    there = [node.names() for name, node in cluster.nodes().items() if name not in without]
    wanted = {name for key in history.acknowledged for name in cluster.blobs(key)}
    return Counter(sum(name in names for names in there) for name in wanted)


def wait_exact(cluster: Cluster, history: History, *without: str) -> None:
    """Until each blob of what was acknowledged lies on as many nodes as wanted, and on no other."""
    count = len({name for key in history.acknowledged for name in cluster.blobs(key)})
    wait_until(lambda: lies(cluster, history, *without) == Counter({COPIES: count}), 90, "full copies, and no surplus")


def wait_seen(cluster: Cluster, state: str, *names: str) -> None:
    wait_until(lambda: all(cluster.states()[name] == state for name in names), 30, f"{names} are seen as {state}")


def bring_back(cluster: Cluster, *names: str) -> None:
    for name in names:
        cluster.act("start", name)
    wait_seen(cluster, "up", *names)


def test_a_node_is_emptied_while_clients_write_and_its_objects_stay_protected(cluster: Cluster) -> None:
    history = History(cluster, "drained")
    history.upload_many(30)
    assert history.upload(20 * 1024 * 1024)
    cluster.wait_converged()

    def drain() -> None:
        change(cluster, "node1", "draining")
        wait_until(lambda: emptied(cluster, "node1"), 90, "node1 is empty")

    history.during(drain)
    assert (history.refused, history.wrong()) == ([], [])
    cluster.wait_converged()
    wait_exact(cluster, history)
    assert cluster.nodes()["node1"].names() == set()
    change(cluster, "node1", "active")
    wait_seen(cluster, "up", "node1")


def test_a_node_fails_while_another_is_emptied(cluster: Cluster) -> None:
    history = History(cluster, "twice")
    history.upload_many(40)
    cluster.wait_converged()
    change(cluster, "node2", "draining")
    cluster.act("kill", "node3")
    wait_until(lambda: emptied(cluster, "node2"), 90, "node2 is empty")
    assert history.wrong() == []
    assert cluster.nodes()["node2"].names() == set()
    cluster.wait_converged()
    bring_back(cluster, "node3")
    wait_exact(cluster, history)
    assert history.wrong() == []
    change(cluster, "node2", "active")
    wait_seen(cluster, "up", "node2")


def test_copies_of_a_node_that_stays_down_are_made_elsewhere_and_go_where_they_are_too_many_when_it_returns(
    cluster: Cluster,
) -> None:
    history = History(cluster, "reprotected")
    history.upload_many(30)
    cluster.wait_converged()
    gone = sorted(history.acknowledged)[:5]
    deleted = {name for key in gone for name in cluster.blobs(key)}
    cluster.act("kill", "node4")
    wait_seen(cluster, "down", "node4")
    for key in gone:
        assert cluster.delete(key).status == 204
        del history.acknowledged[key]
    cluster.wait_converged()
    wait_exact(cluster, history, "node4")
    bring_back(cluster, "node4")
    wait_exact(cluster, history)
    assert history.wrong() == []
    wait_until(
        lambda: not any(deleted & node.names() for node in cluster.nodes().values()), 60, "what was deleted stays so"
    )


def test_while_more_than_a_third_of_the_nodes_is_away_nothing_moves(cluster: Cluster) -> None:
    history = History(cluster, "braked")
    history.upload_many(30)
    cluster.wait_converged()
    wait_exact(cluster, history)
    before = lies(cluster, history, "node4", "node5")
    assert before != Counter({COPIES: 30}), "some of the copies lie on these two"
    with ThreadPoolExecutor(2) as operators:  # at once: what is down alone for three seconds is moved
        list(operators.map(partial(cluster.act, "kill"), ("node4", "node5")))
    wait_seen(cluster, "down", "node4", "node5")
    since = time.monotonic()
    wait_until(lambda: time.monotonic() - since > 10 and history.upload(), 30, "some sweeps after the three seconds")
    (last,) = sorted(history.acknowledged)[-1:]
    del history.acknowledged[last]
    assert lies(cluster, history, "node4", "node5") == before
    assert history.wrong() == []
    bring_back(cluster, "node4")
    wait_exact(cluster, history, "node5")
    bring_back(cluster, "node5")
    wait_exact(cluster, history)


def test_one_node_is_given_up_another_emptied_at_once_and_both_are_removed_and_a_new_one_takes_its_share(
    cluster: Cluster,
) -> None:
    history = History(cluster, "both")
    history.upload_many(40)
    cluster.wait_converged()
    cluster.act("kill", "node5")

    def both() -> None:
        assert cluster.ask("DELETE", "/v1/nodes/node5?lost=true").json() == {"lost": 0}
        change(cluster, "node1", "draining")
        wait_until(lambda: "node5" not in listed(cluster), 90, "node5 is removed")
        wait_until(lambda: emptied(cluster, "node1"), 90, "node1 is empty")

    history.during(both)
    assert history.wrong() == []
    cluster.wait_converged()
    wait_exact(cluster, history, "node5")
    assert cluster.nodes()["node1"].names() == set()
    assert cluster.ask("DELETE", "/v1/nodes/node1").status == 204
    assert listed(cluster) == {"node2", "node3", "node4"}

    added = cluster.json("cluster", "add")["name"]
    assert added in listed(cluster)
    job = cluster.ask("POST", "/v1/jobs", json={"kind": "rebalance"}).json()["id"]
    wait_until(lambda: cluster.ask("GET", f"/v1/jobs/{job}").json()["state"] == "done", 120, "the rebalance is done")
    wait_exact(cluster, history, "node5")
    share = {name for key in history.acknowledged for name in cluster.blobs(key)} & cluster.nodes()[added].names()
    assert share, "the new node has its share"
    assert history.wrong() == []
