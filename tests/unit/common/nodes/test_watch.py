"""One node's watch, probe by probe, over a store in memory."""

from __future__ import annotations

import pytest

from common.blobstore.base import Deadline
from common.blobstore.memory import MemoryStore
from common.errors import NodeBusy
from common.model.names import IDENTITY_NAME
from common.model.nodes import Node, NodeHealth, NodeMode, NodeSpec
from common.nodes.watch import Watch, write_identity

CLUSTER = ("cluster", "generation")


def watched(store: MemoryStore) -> Watch:
    spec = NodeSpec("node1", "http://node1", "bucket", "node1")
    row = Node("id1", spec, NodeMode.ACTIVE, None, True, "known", 3, NodeHealth.UP, 0.0, None, None)
    return Watch(row, CLUSTER, store, lambda: None)


def test_a_node_is_used_no_more_from_the_first_probe_that_sees_another_disk() -> None:
    """It is suspect then, and foreign at the second; its last good check is not trusted for the seconds between."""
    store = MemoryStore()
    write_identity(store, CLUSTER, "id1", 3, Deadline(1))
    watch = watched(store)
    watch.probe()
    watch.gate()
    store.delete(IDENTITY_NAME, Deadline(1))
    seen = []
    for _ in range(2):
        watch.probe()
        seen.append(watch.verdict.health)
        with pytest.raises(NodeBusy):
            watch.gate()
    assert seen == [NodeHealth.SUSPECT, NodeHealth.FOREIGN]


def test_a_probe_that_failed_leaves_the_last_good_check_its_time() -> None:
    """A node that is slow for once is no other node."""
    store = MemoryStore()
    write_identity(store, CLUSTER, "id1", 3, Deadline(1))
    watch = watched(store)
    watch.probe()
    store.faults.down = True
    watch.probe()
    assert watch.verdict.health is NodeHealth.SUSPECT
    watch.gate()
