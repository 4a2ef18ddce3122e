from __future__ import annotations

from common.model.names import blob_name
from common.queue.base import Queue, TaskName
from tests.unit.workers.rig import Rig


def doubted(rig: Rig, *rotten: int) -> tuple[str, bytes]:
    """A blob with three stored copies, unreadable on some nodes, about which a reader asked."""
    (data,) = rig.put("a", stored=3)
    blob = rig.blob_ids("a")[0]
    for node in rotten:
        rig.nodes.stores[rig.ids[node]].faults.rotten.add(blob_name(blob))
    rig.queue.publish(TaskName.DOUBT, [blob])
    return blob, data


def test_a_copy_its_node_cannot_read_is_mended(rig: Rig) -> None:
    blob, data = doubted(rig, 1)
    rig.work()
    assert rig.states("a") == ["stored"] * 3
    assert rig.on_nodes(blob) == [data] * 3
    assert rig.details("a")[0, rig.ids[1]].verified_at is not None
    assert not rig.nodes.stores[rig.ids[1]].faults.rotten


def test_a_node_that_fails_at_everything_costs_no_copy_its_state(rig: Rig) -> None:
    doubted(rig)
    rig.nodes.stores[rig.ids[1]].faults.failing = True
    rig.work()
    assert rig.states("a") == ["stored"] * 3


def test_good_copies_are_left_as_they_are(rig: Rig) -> None:
    doubted(rig)
    rig.work()
    assert rig.states("a") == ["stored"] * 3
    assert all(row.verified_at is None for row in rig.details("a").values())
    assert rig.waiting(Queue.REPAIR) == []


def test_a_blob_that_is_gone_is_no_error(rig: Rig) -> None:
    rig.worker.doubt(["0" * 32])


def test_without_a_readable_copy_all_are_reported_and_none_is_touched(rig: Rig) -> None:
    blob, _ = doubted(rig, 0, 1, 2)
    rig.work()
    assert rig.states("a") == ["suspect"] * 3
    assert all(row.dead_at is not None for row in rig.details("a").values())
    assert all(blob_name(blob) in store.faults.rotten for store in rig.nodes.stores.values())
