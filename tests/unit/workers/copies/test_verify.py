from __future__ import annotations

import tracemalloc
from collections.abc import Sequence

import pytest

from common.errors import NodeError
from common.model.names import blob_name
from common.model.nodes import NodeHealth
from tests.unit.workers.rig import Rig
from workers.copies.verify import EVIDENCE_MAX

GOOD = 100


def quarantined(rig: Rig, node: int) -> list[bytes]:
    blobs = rig.nodes.stores[rig.ids[node]].blobs
    return [data for name, (data, _) in blobs.items() if name.startswith("quarantine/")]


def whole(rig: Rig) -> tuple[str, bytes]:
    """A blob with three stored copies."""
    (data,) = rig.put("a", stored=3)
    return rig.blob_ids("a")[0], data


def test_a_right_copy_is_stored_again_and_verified(rig: Rig) -> None:
    blob, data = whole(rig)
    rig.suspect(blob, 1)
    assert rig.worker.verify([blob]) == 1
    assert rig.states("a") == ["stored"] * 3
    assert rig.details("a")[0, rig.ids[1]].verified_at is not None
    assert rig.on_nodes(blob) == [data] * 3


def test_an_absent_copy_is_made_again(rig: Rig) -> None:
    blob, data = whole(rig)
    rig.spoil(blob, 1, None)
    rig.suspect(blob, 1)
    rig.worker.verify([blob])
    assert rig.on_nodes(blob) == [data] * 3
    assert rig.states("a") == ["stored"] * 3


@pytest.mark.parametrize(
    "wrong", [b"", b"x", b"x" * GOOD, b"x" * (GOOD + 1), b"x" * 1_000_000], ids=["empty", "1", "same", "+1", "longer"]
)
def test_a_wrong_copy_is_replaced_and_kept_as_evidence(rig: Rig, wrong: bytes) -> None:
    blob, data = whole(rig)
    rig.spoil(blob, 1, wrong)
    rig.suspect(blob, 1)
    rig.worker.verify([blob])
    assert rig.on_nodes(blob) == [data] * 3
    assert quarantined(rig, 1) == [wrong]
    assert quarantined(rig, 0) == []
    assert rig.states("a") == ["stored"] * 3
    assert rig.details("a")[0, rig.ids[1]].verified_at is not None


def test_a_single_flipped_bit_is_found(rig: Rig) -> None:
    blob, data = whole(rig)
    rig.spoil(blob, 2, data[:-1] + bytes([data[-1] ^ 1]))
    rig.suspect(blob, 2)
    rig.worker.verify([blob])
    assert rig.on_nodes(blob) == [data] * 3
    assert len(quarantined(rig, 2)) == 1


def test_good_bytes_are_read_before_wrong_ones_are_touched(rig: Rig) -> None:
    blob, _ = whole(rig)
    rig.spoil(blob, 1, b"x" * GOOD)
    rig.suspect(blob, 1)
    order: list[tuple[int, str]] = []
    for node in range(3):
        rig.nodes.stores[rig.ids[node]].faults.before = lambda operation, _, node=node: order.append((node, operation))
    rig.worker.verify([blob])
    assert order == [(1, "get"), (0, "get"), (1, "put"), (1, "put"), (1, "get")]


def test_evidence_that_cannot_be_kept_blocks_nothing(rig: Rig) -> None:
    blob, data = whole(rig)
    rig.spoil(blob, 1, b"x" * GOOD)
    rig.suspect(blob, 1)

    def refuse(operation: str, name: str) -> None:
        if name.startswith("quarantine/"):
            raise NodeError("no room")

    rig.nodes.stores[rig.ids[1]].faults.before = refuse
    rig.worker.verify([blob])
    assert rig.on_nodes(blob) == [data] * 3
    assert rig.states("a") == ["stored"] * 3


def test_a_copy_that_grew_too_much_to_be_kept_is_replaced_all_the_same_and_never_held(rig: Rig) -> None:
    blob, data = whole(rig)
    rig.spoil(blob, 1, b"x" * (EVIDENCE_MAX + 1))
    rig.suspect(blob, 1)
    tracemalloc.start()
    rig.worker.verify([blob])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rig.on_nodes(blob) == [data] * 3
    assert rig.states("a") == ["stored"] * 3
    assert quarantined(rig, 1) == []
    assert peak < 4 << 20


def test_a_wrong_source_is_not_spread(rig: Rig) -> None:
    blob, data = whole(rig)
    rig.spoil(blob, 0, b"y" * GOOD)
    rig.spoil(blob, 1, b"x" * GOOD)
    rig.suspect(blob, 1)
    rig.worker.verify([blob])
    assert rig.on_nodes(blob) == [b"y" * GOOD, data, data]
    assert rig.states("a") == ["suspect", "stored", "stored"]


@pytest.mark.parametrize("bad", [(0,), (0, 1), (1, 2)])
def test_all_but_one_damaged_are_repaired_at_once(rig: Rig, bad: Sequence[int]) -> None:
    blob, data = whole(rig)
    for node in bad:
        rig.spoil(blob, node, bytes([node]) * GOOD)
    rig.suspect(blob, *bad)
    rig.worker.verify([blob])
    assert rig.on_nodes(blob) == [data] * 3
    assert rig.states("a") == ["stored"] * 3


def test_without_a_good_copy_the_damaged_ones_stay_and_are_dead_letters(rig: Rig) -> None:
    blob, _ = whole(rig)
    for node in range(3):
        rig.spoil(blob, node, bytes([node]) * GOOD)
    rig.suspect(blob, 0, 1, 2)
    rig.worker.verify([blob])
    assert rig.on_nodes(blob) == [bytes([node]) * GOOD for node in range(3)]
    assert all(row.dead_at is not None for row in rig.details("a").values())
    assert rig.states("a") == ["suspect"] * 3
    assert rig.worker.verify([blob]) == 0


def test_while_one_copy_cannot_be_asked_nothing_is_declared_lost(rig: Rig) -> None:
    blob, _ = whole(rig)
    rig.spoil(blob, 0, b"x" * GOOD)
    rig.spoil(blob, 1, None)
    rig.suspect(blob, 0, 1)
    rig.nodes.see(rig.ids[2], NodeHealth.DOWN)
    rig.worker.verify([blob])
    rows = rig.details("a")
    assert [rows[0, node].dead_at for node in rig.ids] == [None] * 3
    assert rig.states("a") == ["suspect", "missing", "stored"]
    assert rig.on_nodes(blob)[0] == b"x" * GOOD


def test_the_copy_is_good_again_once_the_third_node_is_back(rig: Rig) -> None:
    blob, data = whole(rig)
    rig.spoil(blob, 0, b"x" * GOOD)
    rig.spoil(blob, 1, None)
    rig.suspect(blob, 0, 1)
    rig.nodes.see(rig.ids[2], NodeHealth.DOWN)
    rig.worker.verify([blob])
    rig.nodes.see(rig.ids[2])
    rig.clock.now += 60
    rig.worker.sweep()
    rig.work()
    assert rig.on_nodes(blob) == [data] * 3


def test_a_target_that_keeps_wrong_bytes_is_a_dead_letter_after_five_attempts(rig: Rig) -> None:
    blob, _ = whole(rig)
    rig.suspect(blob, 1)
    rig.nodes.stores[rig.ids[1]].faults.flip = frozenset({7})
    for _ in range(5):
        assert rig.details("a")[0, rig.ids[1]].dead_at is None
        rig.worker.verify([blob])
    assert rig.details("a")[0, rig.ids[1]].dead_at is not None
    assert rig.states("a") == ["stored", "suspect", "stored"]


def test_a_node_that_does_not_answer_counts_an_attempt_and_changes_nothing(rig: Rig) -> None:
    blob, data = whole(rig)
    rig.suspect(blob, 1)
    rig.nodes.stores[rig.ids[1]].faults.down = True
    rig.worker.verify([blob])
    row = rig.details("a")[0, rig.ids[1]]
    assert (row.state.value, row.attempts) == ("suspect", 1)
    assert rig.nodes.stores[rig.ids[1]].blobs[blob_name(blob)][0] == data


def test_bytes_of_another_blob_are_wrong_bytes(rig: Rig) -> None:
    blob, data = whole(rig)
    (other,) = rig.put("b", stored=3)
    rig.spoil(blob, 1, other)
    rig.suspect(blob, 1)
    rig.worker.verify([blob])
    assert rig.on_nodes(blob) == [data] * 3
    assert quarantined(rig, 1) == [other]


def test_wrong_bytes_are_not_read_again_and_again_while_all_other_copies_are_away(rig: Rig) -> None:
    blob, data = whole(rig)
    rig.spoil(blob, 0, b"x" * GOOD)
    rig.suspect(blob, 0)
    away = [NodeHealth.UP, NodeHealth.DOWN, NodeHealth.DOWN]
    rig.share_health(*away)
    for node, health in zip(rig.ids, away, strict=True):
        rig.nodes.see(node, health)
    rig.worker.verify([blob])
    looks = len(rig.nodes.stores[rig.ids[0]].calls)
    for _ in range(5):
        rig.clock.now += 3600
        rig.share_health(*away)
        rig.worker.sweep()
        rig.work()
    assert len(rig.nodes.stores[rig.ids[0]].calls) == looks
    row = rig.details("a")[0, rig.ids[0]]
    assert (row.state.value, row.dead_at, row.last_error) == (
        "suspect",
        None,
        "the copy's bytes are not what was sealed",
    )
    rig.nodes.see(rig.ids[1])
    rig.share_health(NodeHealth.UP, NodeHealth.UP, NodeHealth.DOWN)
    rig.worker.sweep()
    rig.work()
    assert rig.on_nodes(blob) == [data] * 3


def test_a_copy_its_node_cannot_read_is_written_anew(rig: Rig) -> None:
    blob, data = whole(rig)
    rotten = rig.nodes.stores[rig.ids[1]].faults.rotten
    rotten.add(blob_name(blob))
    rig.suspect(blob, 1)
    rig.worker.verify([blob])
    assert rig.states("a") == ["stored"] * 3
    assert rig.details("a")[0, rig.ids[1]].verified_at is not None
    assert not rotten
    assert rig.on_nodes(blob) == [data] * 3


def test_a_source_its_node_cannot_read_becomes_suspect_and_is_mended(rig: Rig) -> None:
    blob, data = whole(rig)
    rig.nodes.stores[rig.ids[0]].faults.rotten.add(blob_name(blob))
    rig.spoil(blob, 2, b"x" * GOOD)
    rig.suspect(blob, 2)
    rig.worker.verify([blob])
    assert rig.states("a") == ["suspect", "stored", "stored"]
    rig.work()
    assert rig.states("a") == ["stored"] * 3
    assert rig.on_nodes(blob) == [data] * 3
