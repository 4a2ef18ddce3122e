"""A node says of itself what cannot be (scenario 7): it takes no part, and no client and no other node notices."""

from __future__ import annotations

import json
import os
import re

import pytest

from common.model.names import IDENTITY_NAME, new_id
from tests.support.cluster import Cluster
from tests.support.waiting import wait_until

UP = {"node1": "up", "node2": "up", "node3": "up"}


@pytest.mark.parametrize("epoch", ["1e400", str(1 << 63), str((1 << 63) - 1)], ids=["infinite", "too large", "ahead"])
def test_a_node_with_an_absurd_epoch_is_foreign_and_the_others_serve_and_are_watched(
    cluster: Cluster, epoch: str
) -> None:
    node = cluster.nodes()["node2"]
    right = node.read(IDENTITY_NAME) or b""
    assert json.loads(right)["epoch"] >= 1
    node.write(IDENTITY_NAME, re.sub(rb'"epoch":\d+', f'"epoch":{epoch}'.encode(), right))
    answers: list[int] = []

    def foreign_after_another_put() -> bool:
        answers.extend(cluster.put(new_id(), os.urandom(1000)).status for _ in range(4))
        return cluster.states() == UP | {"node2": "foreign"}

    wait_until(foreign_after_another_put, 30, "node2 is foreign, and the others are up")
    assert set(answers) == {201}
    cluster.act("kill", "node3")
    wait_until(lambda: cluster.states()["node3"] == "down", 30, "what happens to the others shows")
    assert {cluster.put(new_id(), os.urandom(1000)).status for _ in range(12)} == {201}
    cluster.act("start", "node3")
    node.write(IDENTITY_NAME, right)
    wait_until(lambda: cluster.states() == UP, 40, "every node is itself again")
    cluster.wait_converged()
