"""Nodes are lost, given up, and come back: where the copies lie in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from common.model.copies import Placed
from common.model.names import blob_name
from common.model.nodes import NodeHealth, NodeMode
from common.model.versions import Preconditions
from tests.unit.workers.placed import holders, put, rows
from tests.unit.workers.rig import BUCKET, Rig
from workers.copies.policy import Scene, plan
from workers.sweep import relocating

UP, DOWN, FOREIGN = NodeHealth.UP, NodeHealth.DOWN, NodeHealth.FOREIGN
LONG = 901.0


def calls(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the looks at the catalogue's blobs from now on."""
    seen: list[str] = []

    def watched(name: str, look: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object) -> object:
            seen.append(name)
            return look(*args)

        return call

    for name in ("examine", "uneven"):
        monkeypatch.setattr(rig.catalogue.relocations, name, watched(name, getattr(rig.catalogue.relocations, name)))
    return seen


# -- re-protection


def test_copies_of_a_node_that_is_down_for_long_are_made_elsewhere(four: Rig) -> None:
    (data,) = put(four, "a")
    four.change(2, DOWN)
    four.clock.now += 890
    four.worker.sweep()
    assert rows(four, "a") == {0: "stored", 1: "stored", 2: "stored"}, "not yet"
    four.clock.now += 20
    four.worker.sweep()
    four.work()
    assert rows(four, "a") == {0: "stored", 1: "stored", 2: "stored", 3: "stored"}
    assert four.on_nodes(four.blob_ids("a")[0]) == [data] * 4
    assert four.catalogue.objects.find(BUCKET, "a").protection.state.value == "protected"


def test_a_dead_node_that_is_found_with_another_disk_is_away_since_it_died(four: Rig) -> None:
    put(four, "a")
    four.change(2, DOWN)
    four.clock.now += 600
    four.change(2, FOREIGN)
    four.clock.now += 310
    four.worker.sweep()
    assert rows(four, "a") == {0: "stored", 1: "stored", 2: "stored", 3: "missing"}


def test_a_copy_that_was_missing_on_a_dead_node_is_wanted_elsewhere_only(four: Rig) -> None:
    put(four, "a", stored=2)
    four.change(2, DOWN)
    four.clock.now += LONG
    four.worker.sweep()
    assert rows(four, "a") == {0: "stored", 1: "stored", 2: "doomed", 3: "missing"}
    four.change(2, UP)
    four.converge()
    assert rows(four, "a") == {0: "stored", 1: "stored", 3: "stored"}


def test_what_a_full_node_lacks_is_made_elsewhere_after_a_while_and_what_it_has_stays(
    four: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(four, "there")
    put(four, "lacking", stored=2)
    four.catalogue.nodes.set_writable(four.ids[2], False)
    four.nodes.rows[four.ids[2]] = replace(four.nodes.rows[four.ids[2]], writable=False)
    looks = calls(four, monkeypatch)
    for _ in range(3):
        four.clock.now += 290
        four.catalogue.nodes.set_writable(four.ids[2], False)  # another upload learned it
        four.converge(1, 0)
    assert rows(four, "lacking") == {0: "stored", 1: "stored", 2: "missing"}, "not yet"
    assert "examine" not in looks
    four.converge(3)
    assert rows(four, "lacking") == {0: "stored", 1: "stored", 3: "stored"}
    assert rows(four, "there") == {0: "stored", 1: "stored", 2: "stored"}
    four.catalogue.nodes.set_writable(four.ids[2], True)
    four.nodes.rows[four.ids[2]] = replace(four.nodes.rows[four.ids[2]], writable=True)
    looks.clear()
    four.converge(3)
    assert "examine" not in looks
    assert rows(four, "lacking") == {0: "stored", 1: "stored", 3: "stored"}


def test_the_brake_holds_while_more_than_a_third_of_the_nodes_are_away(four: Rig) -> None:
    put(four, "a")
    four.change(1, DOWN)
    four.change(2, DOWN)
    four.clock.now += LONG
    four.converge()
    assert rows(four, "a") == {0: "stored", 1: "stored", 2: "stored"}
    four.change(1, UP)
    four.converge()
    assert rows(four, "a") == {0: "stored", 1: "stored", 2: "stored", 3: "stored"}


def test_a_node_that_returns_leaves_no_surplus_and_no_copy_that_was_not_read_is_relied_on(four: Rig) -> None:
    (data,) = put(four, "a")
    four.change(2, DOWN)
    four.clock.now += LONG
    four.converge(2)
    assert len(holders(four, "a")) == 4
    four.change(2, UP)
    four.converge()
    assert len(rows(four, "a")) == 3
    assert set(rows(four, "a").values()) == {"stored"}
    assert holders(four, "a") == sorted(node for node in rows(four, "a") if node is not None)
    assert all(row.verified_at for row in four.details("a").values())
    assert data in four.on_nodes(four.blob_ids("a")[0])


def test_what_was_deleted_while_a_node_was_away_is_deleted_there_when_it_returns(four: Rig) -> None:
    put(four, "a")
    (blob_id,) = four.blob_ids("a")
    four.change(2, DOWN)
    four.clock.now += LONG
    four.converge(2)
    four.catalogue.objects.delete(BUCKET, "a", Preconditions())
    four.converge(3)
    assert [data is not None for data in four.on_nodes(blob_id)] == [False, False, True, False]
    four.change(2, UP)
    four.converge()
    assert four.on_nodes(blob_id) == [None] * 4


def test_an_idle_store_is_not_gone_through_again_and_again(four: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    put(four, "a")
    four.converge(3)
    seen = calls(four, monkeypatch)
    four.converge(9)
    assert seen == []
    four.clock.now += 600
    four.worker.sweep()
    assert seen == ["uneven"]


def test_a_node_that_stays_away_is_looked_through_again_only_after_a_pause(
    four: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(four, "a")
    four.change(2, DOWN)
    four.clock.now += LONG
    four.converge(3)
    seen = calls(four, monkeypatch)
    four.converge(10, seconds=2)
    assert seen == []
    four.converge(1, seconds=30)
    assert seen == ["examine"]


def test_a_page_at_a_time_is_done_in_a_pass_and_all_pages_in_the_end(
    four: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relocating, "PAGE_BLOBS", 3)
    for number in range(8):
        put(four, f"key{number}")
    four.change(2, DOWN)
    four.clock.now += LONG
    made = []
    for _ in range(3):
        four.worker.sweep()
        made.append(sum(3 in rows(four, f"key{number}") for number in range(8)))
    assert made == [3, 6, 8]


# -- lost and removed


def test_a_lost_node_disappears_once_its_copies_are_made_elsewhere(four: Rig) -> None:
    put(four, "a")
    put(four, "b", stored=2)
    four.catalogue.objects.delete(BUCKET, "a", Preconditions())
    four.change(2, DOWN, NodeMode.RETIRED)
    four.converge()
    assert rows(four, "b") == {0: "stored", 1: "stored", 3: "stored"}
    assert four.ids[2] not in {node.id for node in four.catalogue.nodes.all()}


def test_a_lost_node_stays_while_an_object_has_its_only_copies_there(four: Rig) -> None:
    put(four, "a", stored=1, nodes=[2, 0, 1])
    four.change(2, DOWN, NodeMode.RETIRED)
    four.converge()
    assert rows(four, "a") == {0: "missing", 1: "missing", 2: "stored"}
    assert four.catalogue.objects.find(BUCKET, "a").protection.state.value == "unavailable"
    four.catalogue.objects.delete(BUCKET, "a", Preconditions())
    four.converge()
    assert four.ids[2] not in {node.id for node in four.catalogue.nodes.all()}


def test_an_emptied_node_disappears_when_it_is_retired(four: Rig) -> None:
    put(four, "a")
    four.change(0, mode=NodeMode.DRAINING)
    four.converge()
    four.change(0, mode=NodeMode.RETIRED)
    four.worker.sweep()
    assert four.ids[0] not in {node.id for node in four.catalogue.nodes.all()}


# -- two at once


def test_two_processes_that_move_a_copy_both_ways_end_with_full_copies(four: Rig) -> None:
    (data,) = put(four, "a")
    (blob_id,) = four.blob_ids("a")
    (copies,) = four.catalogue.relocations.of([blob_id])
    four.change(0, mode=NodeMode.DRAINING)
    there = plan(copies, scene(four)).move
    four.change(0)
    four.change(1, mode=NodeMode.DRAINING)
    back = plan(copies, scene(four)).move
    assert there
    assert back
    assert [four.catalogue.relocations.apply([there]), four.catalogue.relocations.apply([back])] == [{blob_id}, set()]
    four.converge()
    assert rows(four, "a") == {0: "stored", 2: "stored", 3: "stored"}
    assert four.on_nodes(blob_id) == [data, None, data, data]


def scene(rig: Rig) -> Scene:
    return Scene.of(rig.catalogue.nodes.all(), rig.clock.now, 900)


def test_rows_that_no_node_can_take_do_not_keep_the_others_waiting(four: Rig) -> None:
    for number in range(301):
        four.put(f"full{number:03}", 4, nodes=[*four.ids, None])
    four.put("a", 1, nodes=[four.ids[0], None])
    for _ in range(2):
        four.worker.sweep()
    assert [row.node_id for row in four.details("a").values()].count(None) == 0


def test_blobs_are_gone_from_a_node_only_by_its_own_word(four: Rig) -> None:
    put(four, "a")
    four.change(0, mode=NodeMode.DRAINING)
    four.converge(2)
    four.nodes.busy.add(four.ids[0])
    four.converge(6)
    assert rows(four, "a") == {0: "doomed", 1: "stored", 2: "stored", 3: "stored"}
    assert blob_name(four.blob_ids("a")[0]) in four.nodes.stores[four.ids[0]].blobs


def test_a_version_with_a_row_without_a_node_gets_it_when_a_node_is_emptied_no_more(rig: Rig) -> None:
    rig.change(2, mode=NodeMode.DRAINING)
    rig.put("a", 2, nodes=[*rig.ids[:2], None])
    rig.converge(3)
    assert Placed(None, rig.catalogue.objects.find(BUCKET, "a").blobs[0].copies[2].state).state.value == "missing"
    rig.change(2)
    rig.converge(3)
    assert rig.states("a") == ["stored"] * 3
