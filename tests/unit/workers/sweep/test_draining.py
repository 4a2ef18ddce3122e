"""A node is emptied: what it had lies elsewhere, proven by reading, before anything goes."""

from __future__ import annotations

import pytest

from common.errors import QueueUnavailable
from common.model.nodes import NodeHealth, NodeMode
from common.model.relocation import Relocation
from common.model.versions import Preconditions
from common.queue.base import BATCH_BYTES, Queue, TaskName
from tests.unit.workers.placed import holders, put, rows
from tests.unit.workers.rig import BUCKET, Rig

UP, DOWN, FOREIGN = NodeHealth.UP, NodeHealth.DOWN, NodeHealth.FOREIGN
LONG = 901.0


def test_a_node_is_emptied_while_its_objects_stay_protected(four: Rig) -> None:
    contents = {f"key{number}": put(four, f"key{number}")[0] for number in range(10)}
    four.change(0, mode=NodeMode.DRAINING)
    for _ in range(8):
        four.converge(1)
        status = four.catalogue.status()
        assert status.objects["protected"] == 10
    for key, data in contents.items():
        assert rows(four, key) == {1: "stored", 2: "stored", 3: "stored"}
        assert four.on_nodes(four.blob_ids(key)[0]) == [None, data, data, data]
    assert four.catalogue.relocations.examine(four.ids[0], 0)[0] == []
    assert four.nodes.stores[four.ids[0]].blobs == {}


def test_a_node_is_not_emptied_of_copies_that_nobody_else_can_take(rig: Rig) -> None:
    (data,) = rig.put("a", stored=3)
    rig.change(0, mode=NodeMode.DRAINING)
    rig.converge()
    assert rig.states("a") == ["stored"] * 3
    assert rig.on_nodes(rig.blob_ids("a")[0]) == [data] * 3
    rig.change(0)
    rig.converge(3)
    assert rig.states("a") == ["stored"] * 3


def test_the_emptied_nodes_copy_stays_while_a_keeper_is_wrong_and_goes_when_that_is_repaired(four: Rig) -> None:
    (data,) = put(four, "a")
    (blob_id,) = four.blob_ids("a")
    four.change(0, mode=NodeMode.DRAINING)
    four.clock.now += 31
    four.worker.sweep()
    four.work()
    four.spoil(blob_id, 1, b"x" * 100)
    four.clock.now += 31
    four.worker.sweep()
    assert (TaskName.DROP_SURPLUS, (blob_id,)) in (messages := four.waiting(Queue.REPAIR))
    four.worker.drop_surplus([blob_id])
    assert rows(four, "a") == {0: "stored", 1: "suspect", 2: "stored", 3: "stored"}
    assert len(messages) == 1
    four.converge()
    assert rows(four, "a") == {1: "stored", 2: "stored", 3: "stored"}
    assert four.on_nodes(blob_id) == [None, data, data, data]


def test_an_absent_keeper_is_made_again_before_anything_goes(four: Rig) -> None:
    (data,) = put(four, "a")
    (blob_id,) = four.blob_ids("a")
    four.change(0, mode=NodeMode.DRAINING)
    four.converge(1)
    four.spoil(blob_id, 2, None)
    four.worker.drop_surplus([blob_id])
    assert rows(four, "a")[0] == "stored"
    assert rows(four, "a")[2] == "suspect"
    four.converge()
    assert four.on_nodes(blob_id) == [None, data, data, data]


def test_a_keeper_that_cannot_be_asked_keeps_the_surplus_and_is_not_blamed(four: Rig) -> None:
    put(four, "a")
    (blob_id,) = four.blob_ids("a")
    four.change(0, mode=NodeMode.DRAINING)
    four.clock.now += 31
    four.worker.sweep()
    four.work()
    four.clock.now += 31
    four.nodes.busy.add(four.ids[2])
    assert four.worker.drop_surplus([blob_id]) == 0
    assert rows(four, "a") == dict.fromkeys(range(4), "stored")
    four.nodes.busy.clear()
    assert four.worker.drop_surplus([blob_id]) == 1
    assert rows(four, "a")[0] == "doomed"


def test_what_changed_while_the_keepers_were_read_is_planned_again(four: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    put(four, "a")
    (blob_id,) = four.blob_ids("a")
    four.change(0, mode=NodeMode.DRAINING)
    four.clock.now += 31
    four.worker.sweep()
    four.work()
    four.clock.now += 31
    verified = four.catalogue.relocations.verified

    def then_one_is_blamed(*args: object) -> None:
        verified(*args)  # type: ignore[arg-type]
        four.suspect(blob_id, 3)

    monkeypatch.setattr(four.catalogue.relocations, "verified", then_one_is_blamed)
    assert four.worker.drop_surplus([blob_id]) == 0
    assert rows(four, "a") == {0: "stored", 1: "stored", 2: "stored", 3: "suspect"}


def test_settling_twice_or_what_is_gone_changes_nothing(four: Rig) -> None:
    put(four, "a")
    (blob_id,) = four.blob_ids("a")
    four.change(0, mode=NodeMode.DRAINING)
    four.converge()
    assert four.worker.drop_surplus([blob_id, blob_id, "0" * 32]) == 0
    four.catalogue.objects.delete(BUCKET, "a", Preconditions())
    assert four.worker.drop_surplus([blob_id]) == 0


def test_a_drain_that_is_called_off_leaves_no_surplus(four: Rig) -> None:
    put(four, "a")
    four.change(0, mode=NodeMode.DRAINING)
    four.clock.now += 31
    four.worker.sweep()
    four.work()
    assert len(rows(four, "a")) == 4
    four.change(0)
    four.converge()
    assert len(rows(four, "a")) == 3
    assert len(holders(four, "a")) == 3


def test_surplus_whose_round_was_forgotten_with_the_process_is_found_by_the_survey(four: Rig) -> None:
    put(four, "a")
    (copies,) = four.catalogue.relocations.of(four.blob_ids("a"))
    assert four.catalogue.relocations.apply([Relocation(copies, add=[four.ids[3]])])
    four.converge(22)
    assert len(holders(four, "a")) == 3


def test_while_the_queue_is_away_copies_are_planned_and_nothing_goes(four: Rig) -> None:
    put(four, "a")
    four.change(0, mode=NodeMode.DRAINING)
    four.converge(1)
    four.queue.down = True
    four.clock.now += 31
    with pytest.raises(ExceptionGroup) as raised:
        four.worker.sweep()
    assert raised.group_contains(QueueUnavailable)
    assert rows(four, "a")[0] == "stored"
    four.queue.down = False
    four.converge()
    assert rows(four, "a") == {1: "stored", 2: "stored", 3: "stored"}


def test_large_blobs_are_settled_in_messages_of_their_own(four: Rig) -> None:
    four.put("a", 3, blobs=3, size=BATCH_BYTES // 2 + 1, nodes=four.ids[:3])
    four.change(0, mode=NodeMode.DRAINING)
    four.clock.now += 31
    four.worker.sweep()
    four.work()
    four.clock.now += 31
    four.worker.sweep()
    drop_surplus = [ids for task, ids in four.waiting(Queue.REPAIR) if task is TaskName.DROP_SURPLUS]
    assert sorted(map(len, drop_surplus)) == [1, 1, 1]
