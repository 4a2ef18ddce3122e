"""A dead letter is left alone until somebody asks for it, and then made true like any other copy."""

from __future__ import annotations

from common.errors import NodeRefused
from common.queue.base import TASK_OF
from tests.unit.workers.rig import Rig


def refuse(operation: str, _name: str) -> None:
    if operation == "put":
        raise NodeRefused("access denied")


def test_a_copy_that_was_refused_too_often_is_made_when_its_letter_is_tried_again(rig: Rig) -> None:
    (data,) = rig.put("a", stored=2)
    (blob,) = rig.blob_ids("a")
    refusing = rig.nodes.stores[rig.ids[2]]

    refusing.faults.before = refuse
    for _ in range(5):
        assert rig.worker.replicate([blob]) == 1
    (letter,) = rig.catalogue.dead_letters.page(None)
    assert (letter.node, letter.attempts) == ("node3", 5)
    assert letter.first is not None
    assert (letter.first.error, letter.first.kind) == ("access denied", "refused")
    refusing.faults.before = None
    rig.converge(passes=2)
    assert rig.on_nodes(blob) == [data, data, None], "it is no longer tried by itself"

    action, blob_id = rig.catalogue.dead_letters.retry(letter.copy_id)
    rig.queue.publish(TASK_OF[action], [blob_id])
    rig.work()
    assert rig.on_nodes(blob) == [data] * 3
    assert rig.states("a") == ["stored"] * 3


def test_a_letter_whose_message_is_lost_is_found_by_the_sweep(rig: Rig) -> None:
    (data,) = rig.put("a", stored=2)
    (blob,) = rig.blob_ids("a")

    rig.nodes.stores[rig.ids[2]].faults.before = refuse
    for _ in range(5):
        rig.worker.replicate([blob])
    rig.nodes.stores[rig.ids[2]].faults.before = None
    assert len(rig.catalogue.dead_letters.retry_all(rig.clock.now) or ()) == 1
    rig.converge(passes=1)
    assert rig.on_nodes(blob) == [data] * 3
