from __future__ import annotations

import threading
from pathlib import Path

import pytest

from common.errors import CatalogueUnavailable, NodeError, NodeReadOnly
from common.model.names import blob_name
from common.model.nodes import NodeHealth, NodeMode
from common.model.versions import Preconditions
from common.queue.base import Queue, TaskName
from tests.support.waiting import wait_until
from tests.unit.workers.rig import Rig, blocked
from workers.use_cases import DEFAULT_THREADS

UP, DOWN = NodeHealth.UP, NodeHealth.DOWN


def test_missing_copies_are_made_from_the_stored_one(rig: Rig) -> None:
    (data,) = rig.put("a")
    (blob,) = rig.blob_ids("a")
    assert rig.worker.replicate([blob]) == 2
    assert rig.on_nodes(blob) == [data] * 3
    assert rig.states("a") == ["stored"] * 3


def test_each_blob_is_read_once_for_all_its_targets(rig: Rig) -> None:
    rig.put("a", blobs=5)
    rig.worker.replicate(rig.blob_ids("a"))
    assert [operation for operation, _ in rig.nodes.stores[rig.ids[0]].calls] == ["get"] * 5


def test_a_repeated_task_ends_quietly(rig: Rig) -> None:
    rig.put("a")
    ids = rig.blob_ids("a")
    rig.worker.replicate(ids)
    calls = len(rig.nodes.stores[rig.ids[1]].calls)
    assert rig.worker.replicate(ids) == 0
    assert rig.worker.replicate(["0" * 32]) == 0
    assert len(rig.nodes.stores[rig.ids[1]].calls) == calls


def test_two_workers_on_one_copy_put_it_once(rig: Rig) -> None:
    rig.put("a", blobs=20)
    ids = rig.blob_ids("a")
    other = rig.another("worker-2")
    threads = [threading.Thread(target=worker.replicate, args=(ids,)) for worker in (rig.worker, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.stop()
    for node in rig.ids[1:]:
        puts = [name for operation, name in rig.nodes.stores[node].calls if operation == "put"]
        assert sorted(puts) == sorted(blob_name(blob) for blob in ids)


def test_a_wrong_source_is_not_spread_and_becomes_suspect(rig: Rig) -> None:
    (data,) = rig.put("a", stored=2)
    (blob,) = rig.blob_ids("a")
    rig.spoil(blob, 0, b"x" * 100)
    rig.worker.replicate([blob])
    assert rig.on_nodes(blob)[2] == data
    assert rig.states("a") == ["suspect", "stored", "stored"]


def test_the_repair_of_a_wrong_source_is_queued(rig: Rig) -> None:
    rig.put("a", stored=2)
    (blob,) = rig.blob_ids("a")
    rig.spoil(blob, 0, None)
    rig.worker.replicate([blob])
    rig.worker.stop()  # hands over what waits
    assert rig.waiting(Queue.REPAIR) == [(TaskName.VERIFY, (blob,))]


def test_a_suspect_source_is_used_when_there_is_no_other(rig: Rig) -> None:
    (data,) = rig.put("a")
    (blob,) = rig.blob_ids("a")
    rig.suspect(blob, 0)
    rig.worker.replicate([blob])
    assert rig.on_nodes(blob) == [data] * 3


def test_without_a_readable_source_no_attempt_is_counted(rig: Rig) -> None:
    rig.put("a")
    (blob,) = rig.blob_ids("a")
    rig.nodes.see(rig.ids[0], DOWN)
    rig.worker.replicate([blob])
    row = rig.details("a")[0, rig.ids[1]]
    assert (row.state.value, row.attempts, row.dead_at) == ("missing", 0, None)


def test_rows_without_a_readable_source_wait_for_some_seconds(rig: Rig) -> None:
    rig.settings = rig.settings.model_copy(update={"backoff_base": 1.0})
    rig.worker = rig.another("worker-2")
    rig.put("a")
    (blob,) = rig.blob_ids("a")
    rig.nodes.see(rig.ids[0], DOWN)
    rig.worker.replicate([blob])
    due = rig.details("a")[0, rig.ids[1]].next_attempt_at
    assert due is not None
    assert rig.clock.now + 2 <= due <= rig.clock.now + 20


def test_a_failing_target_holds_up_no_other(rig: Rig) -> None:
    (data,) = rig.put("a")
    (blob,) = rig.blob_ids("a")
    rig.nodes.stores[rig.ids[1]].faults.down = True
    rig.worker.replicate([blob])
    assert rig.states("a") == ["stored", "missing", "stored"]
    row = rig.details("a")[0, rig.ids[1]]
    assert (row.attempts, row.last_error, row.dead_at) == (1, "the node is down", None)
    assert rig.on_nodes(blob)[2] == data


def test_a_slow_target_holds_up_no_other_blob(rig: Rig) -> None:
    """Some puts hang on one node: the others' copies are all made meanwhile, and the task does not wait for it."""
    rig.put("a", blobs=10)
    ids = rig.blob_ids("a")
    go_on = threading.Event()
    rig.nodes.stores[rig.ids[1]].faults.before = lambda operation, _: blocked(go_on)
    try:
        rig.worker.replicate(ids)
        rows = rig.details("a")
        assert all(rows[number, rig.ids[2]].state.value == "stored" for number in range(10))
    finally:
        go_on.set()
    wait_until(lambda: sum(rig.details("a")[n, rig.ids[1]].state.value == "stored" for n in range(10)) == 4)
    rows = rig.details("a")
    slow = [rows[number, rig.ids[1]] for number in range(10)]
    assert sorted((row.state.value, row.attempts) for row in slow) == [("missing", 0)] * 6 + [("stored", 0)] * 4


def test_a_blob_is_not_read_for_a_target_that_has_no_slot(rig: Rig) -> None:
    rig.put("a", blobs=10, nodes=[rig.ids[0], rig.ids[1]])
    go_on = threading.Event()
    rig.nodes.stores[rig.ids[1]].faults.before = lambda operation, _: blocked(go_on)
    try:
        rig.worker.replicate(rig.blob_ids("a"))
        assert len(rig.nodes.stores[rig.ids[0]].calls) == 4
    finally:
        go_on.set()


def test_many_slow_targets_do_not_fill_the_memory(empty_catalogue: Path, tmp_path: Path) -> None:
    """Four nodes hang: the blobs that wait for them in memory are as many as three nodes may have."""
    rig = Rig(empty_catalogue, tmp_path, nodes=5)
    for target in rig.ids[1:]:
        rig.put(f"for-{target}", blobs=5, nodes=[rig.ids[0], target])
    ids = [blob for target in rig.ids[1:] for blob in rig.blob_ids(f"for-{target}")]
    go_on = threading.Event()
    for target in rig.ids[1:]:
        rig.nodes.stores[target].faults.before = lambda operation, _: blocked(go_on)
    try:
        rig.worker.replicate(ids)
        assert len(rig.nodes.stores[rig.ids[0]].calls) == DEFAULT_THREADS // 2 * 3
    finally:
        go_on.set()
    wait_until(lambda: sum(len(rig.nodes.stores[target].blobs) for target in rig.ids[1:]) == DEFAULT_THREADS // 2 * 3)
    rig.converge()
    rows = [row for target in rig.ids[1:] for row in rig.details(f"for-{target}").values()]
    assert [row.state.value for row in rows] == ["stored"] * 40
    rig.close()


def test_slots_taken_for_a_blob_that_could_not_be_read_are_given_back(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.put("a", blobs=10)
    ids = rig.blob_ids("a")
    with monkeypatch.context() as patch:
        rig.nodes.see(rig.ids[0], DOWN)
        rig.worker.replicate(ids)
        rig.nodes.see(rig.ids[0])
        for number in range(10):
            rig.spoil(ids[number], 0, None)
        patch.setattr(rig.catalogue.copies, "suspect", away)
        for _ in range(10):
            with pytest.raises(CatalogueUnavailable):
                rig.worker.replicate(ids)
            rig.clock.now += 100
            rig.worker.sweep()
    (data, *_) = rig.put("b")
    rig.worker.replicate(rig.blob_ids("b"))
    assert rig.on_nodes(rig.blob_ids("b")[0]) == [data] * 3


def away(*_: object) -> bool:
    raise CatalogueUnavailable("away")


def test_nodes_that_are_well_are_not_called_busy_under_load(rig: Rig) -> None:
    for store in rig.nodes.stores.values():
        store.faults.slow = 0.005
    rig.put("a", blobs=160)
    ids = rig.blob_ids("a")
    threads = [threading.Thread(target=rig.worker.replicate, args=(ids[n : n + 20],)) for n in range(0, 160, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {row.state.value for row in rig.details("a").values()} == {"stored"}


def test_twelve_node_errors_make_a_dead_letter_with_the_last_error_kept(rig: Rig) -> None:
    rig.put("a")
    (blob,) = rig.blob_ids("a")
    errors = iter(range(100))

    def fail(operation: str, _: str) -> None:
        raise NodeError(f"error {next(errors)}")

    rig.nodes.stores[rig.ids[1]].faults.before = fail
    for _ in range(12):
        assert rig.details("a")[0, rig.ids[1]].dead_at is None
        rig.worker.replicate([blob])
    row = rig.details("a")[0, rig.ids[1]]
    assert row.dead_at is not None
    assert row.last_error == "error 22"  # from the second attempt on, the copy is looked at before it is put
    assert rig.worker.replicate([blob]) == 0


def test_five_refusals_make_a_dead_letter(rig: Rig) -> None:
    rig.put("a")
    (blob,) = rig.blob_ids("a")
    rig.nodes.stores[rig.ids[1]].faults.refuses = True
    for _ in range(5):
        assert rig.details("a")[0, rig.ids[1]].dead_at is None
        rig.worker.replicate([blob])
    assert rig.details("a")[0, rig.ids[1]].dead_at is not None


def test_a_node_with_an_open_breaker_costs_no_attempt(rig: Rig) -> None:
    rig.put("a")
    (blob,) = rig.blob_ids("a")
    rig.nodes.busy.add(rig.ids[1])
    rig.worker.replicate([blob])
    row = rig.details("a")[0, rig.ids[1]]
    assert (row.state.value, row.attempts) == ("missing", 0)
    assert rig.states("a") == ["stored", "missing", "stored"]


def test_nothing_is_put_on_a_node_that_takes_no_new_copies(rig: Rig) -> None:
    rig.put("a")
    (blob,) = rig.blob_ids("a")
    rig.nodes.see(rig.ids[1], mode=NodeMode.DRAINING)
    rig.nodes.see(rig.ids[2], mode=NodeMode.PAUSED)
    assert rig.worker.replicate([blob]) == 0


def test_a_row_tried_before_is_compared_and_not_put_again(rig: Rig) -> None:
    """The put arrived, its answer was lost."""
    rig.put("a")
    (blob,) = rig.blob_ids("a")
    store = rig.nodes.stores[rig.ids[1]]
    source = rig.nodes.stores[rig.ids[0]].blobs[blob_name(blob)]

    def arrive_and_fail(operation: str, name: str) -> None:
        store.blobs[name] = source
        raise NodeError("the answer was cut")

    store.faults.before = arrive_and_fail
    rig.worker.replicate([blob])
    store.faults.before = None
    rig.worker.replicate([blob])
    row = rig.details("a")[0, rig.ids[1]]
    assert (row.state.value, row.verified_at is not None) == ("stored", True)
    assert [operation for operation, _ in store.calls] == ["put", "get"]


def test_other_bytes_under_the_name_are_replaced(rig: Rig) -> None:
    (data,) = rig.put("a")
    (blob,) = rig.blob_ids("a")
    rig.nodes.stores[rig.ids[1]].faults.full = True
    rig.worker.replicate([blob])
    rig.nodes.stores[rig.ids[1]].faults.full = False
    rig.nodes.stores[rig.ids[1]].blobs[blob_name(blob)] = b"y" * 100, 0.0
    rig.worker.replicate([blob])
    assert rig.on_nodes(blob) == [data] * 3


def test_a_copy_doomed_while_it_is_put_stays_doomed(rig: Rig) -> None:
    rig.put("a")
    (blob,) = rig.blob_ids("a")

    def delete(operation: str, _: str) -> None:
        if operation == "put":
            rig.nodes.stores[rig.ids[1]].faults.before = None
            rig.catalogue.objects.delete("papers", "a", Preconditions())
            rig.clock.now += 31
            rig.catalogue.objects.doom_copies(30)

    rig.nodes.stores[rig.ids[1]].faults.before = delete
    rig.worker.replicate([blob])
    rig.clock.now += 100
    assert rig.worker.delete([blob]) == 3
    assert rig.on_nodes(blob) == [None] * 3


def test_a_blob_whose_every_copy_is_wrong_is_a_dead_letter(rig: Rig) -> None:
    rig.put("a")
    (blob,) = rig.blob_ids("a")
    rig.spoil(blob, 0, b"x" * 100)
    rig.worker.replicate([blob])
    rows = rig.details("a")
    assert rows[0, rig.ids[1]].dead_at is not None
    assert rows[0, rig.ids[1]].last_error == "every wanted copy is absent or wrong"
    assert rig.on_nodes(blob) == [b"x" * 100, None, None]


def test_a_full_node_counts_as_an_error_of_the_node(rig: Rig) -> None:
    rig.put("a")
    (blob,) = rig.blob_ids("a")

    def full(operation: str, _: str) -> None:
        raise NodeReadOnly("the node is full")

    rig.nodes.stores[rig.ids[2]].faults.before = full
    rig.worker.replicate([blob])
    assert rig.details("a")[0, rig.ids[2]].attempts == 1


def test_an_unexpected_error_leaves_the_row_to_the_sweep_and_harms_no_other(rig: Rig) -> None:
    rig.put("a")
    (blob,) = rig.blob_ids("a")

    def break_(operation: str, _: str) -> None:
        raise RuntimeError("a bug")

    rig.nodes.stores[rig.ids[1]].faults.before = break_
    rig.worker.replicate([blob])
    assert rig.states("a") == ["stored", "missing", "stored"]
    rig.nodes.stores[rig.ids[1]].faults.before = None
    rig.clock.now += 61
    rig.worker.sweep()
    rig.work()
    assert rig.states("a") == ["stored"] * 3
