from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

import workers.sweep.sweep
from common.blobstore.base import Deadline
from common.catalogue.copies import DuePlace
from common.catalogue.uploads import Resumable
from common.errors import CatalogueUnavailable, NoSuchUpload, QueueUnavailable
from common.model.jobs import JobKind, Scope, job_lease
from common.model.names import blob_name, id_at, new_id
from common.model.nodes import NodeHealth, NodeMode, NodeSpec
from common.model.sizes import MIB
from common.model.work import CopyAction
from common.queue.base import BATCH_BYTES, BATCH_IDS, Queue, TaskName
from tests.unit.workers.rig import Rig
from workers.sweep.batches import batches
from workers.sweep.sweep import LEASE_NAME

UP, SUSPECT, DOWN, FOREIGN = NodeHealth.UP, NodeHealth.SUSPECT, NodeHealth.DOWN, NodeHealth.FOREIGN
TASK = CopyAction.REPLICATE


def later(rig: Rig, seconds: float = 25) -> None:
    """Past the time in which a row is not enqueued twice."""
    rig.clock.now += seconds


def test_copies_whose_message_was_lost_are_enqueued_and_made(rig: Rig) -> None:
    (data,) = rig.put("a")
    later(rig)
    rig.worker.sweep()
    assert rig.work() == 1
    assert rig.on_nodes(rig.blob_ids("a")[0]) == [data] * 3


def test_a_blob_with_two_missing_copies_is_one_id_in_one_message(rig: Rig) -> None:
    rig.put("a")
    later(rig)
    rig.worker.sweep()
    assert rig.waiting(Queue.REPLICATE) == [(TaskName.REPLICATE, tuple(rig.blob_ids("a")))]


def test_what_was_enqueued_under_twenty_seconds_ago_is_left_alone(rig: Rig) -> None:
    rig.put("a")
    later(rig)
    rig.worker.sweep()
    rig.waiting(Queue.REPLICATE)
    later(rig, 19)
    rig.worker.sweep()
    assert rig.waiting(Queue.REPLICATE) == []
    later(rig, 2)
    rig.worker.sweep()
    assert len(rig.waiting(Queue.REPLICATE)) == 1


def test_a_setting_says_after_how_long_it_is_enqueued_again(rig: Rig) -> None:
    rig.settings = rig.settings.model_copy(update={"repeat_seconds": 3.0})
    quick = rig.another("worker-2")
    rig.put("a")
    later(rig)
    quick.sweep()
    rig.waiting(Queue.REPLICATE)
    later(rig, 2)
    quick.sweep()
    assert rig.waiting(Queue.REPLICATE) == []
    later(rig, 2)
    quick.sweep()
    assert len(rig.waiting(Queue.REPLICATE)) == 1
    quick.stop()


def test_messages_carry_up_to_64_ids(rig: Rig) -> None:
    rig.put("a", blobs=150)
    later(rig)
    rig.worker.sweep()
    assert [len(ids) for _, ids in rig.waiting(Queue.REPLICATE)] == [64, 64, 22]


def test_nothing_is_stamped_that_the_queue_did_not_take(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.put("a")
    later(rig)
    monkeypatch.setattr(rig.queue, "depths", dict)  # Redis dies only after it was asked
    rig.queue.down = True
    with pytest.raises(ExceptionGroup) as raised:
        rig.worker.sweep()
    assert raised.group_contains(QueueUnavailable)
    rig.queue.down = False
    rig.worker.sweep()
    assert len(rig.waiting(Queue.REPLICATE)) == 1


def test_what_a_worker_does_not_take_yet_is_enqueued_again_at_the_next_sweep(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker learns of a node's return a moment after the sweep does; it may be that quick with the message."""
    rig.put("a")
    later(rig)
    rig.nodes.see(rig.ids[1], DOWN)
    rig.nodes.see(rig.ids[2], DOWN)
    publish = rig.queue.publish

    def at_once(task: TaskName, ids: Sequence[str]) -> None:
        publish(task, ids)
        assert task is not TaskName.REPLICATE or rig.work() == 1

    monkeypatch.setattr(rig.queue, "publish", at_once)
    rig.worker.sweep()
    monkeypatch.undo()
    assert rig.states("a") == ["stored", "missing", "missing"]
    rig.worker.sweep()
    assert len(rig.waiting(Queue.REPLICATE)) == 1


def test_the_backlog_of_one_node_leaves_room_for_the_others(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    first, source, last = sorted(rig.ids)
    for number in range(3):
        rig.put(f"large{number}", stored=1, blobs=80, nodes=[source, first])
    rig.put("small", stored=1, nodes=[source, last])
    later(rig)
    due = rig.catalogue.copies.due

    def heavy(*args: Any) -> tuple[Sequence[tuple[int, str, int]], DuePlace | None]:
        rows, after = due(*args)
        return [(copy_id, blob_id, 8 * MIB) for copy_id, blob_id, _ in rows], after

    monkeypatch.setattr(rig.catalogue.copies, "due", heavy)  # blobs that fill a message two by two
    for _ in range(151):
        rig.queue.publish(TaskName.REPLICATE, ["0" * 32])
    rig.worker.sweep()
    sent = {blob_id for _, ids in rig.waiting(Queue.REPLICATE) for blob_id in ids}
    assert set(rig.blob_ids("small")) <= sent


def test_a_full_queue_gets_no_more_messages(rig: Rig) -> None:
    rig.put("a")
    later(rig)
    for _ in range(201):
        rig.queue.publish(TaskName.REPLICATE, ["0" * 32])
    rig.worker.sweep()
    assert len(rig.waiting(Queue.REPLICATE)) == 201
    rig.worker.sweep()
    assert len(rig.waiting(Queue.REPLICATE)) == 1


@pytest.mark.parametrize("health", [DOWN, FOREIGN])
def test_work_towards_a_node_that_cannot_take_it_is_parked(rig: Rig, health: NodeHealth) -> None:
    rig.put("a", nodes=rig.ids[:2])
    later(rig)
    rig.share_health(UP, health, UP)
    rig.worker.sweep()
    assert rig.waiting(Queue.REPLICATE) == []
    rig.share_health(UP, UP, UP)
    rig.worker.sweep()
    assert len(rig.waiting(Queue.REPLICATE)) == 1


def test_work_towards_a_paused_node_is_parked(rig: Rig) -> None:
    rig.put("a", nodes=rig.ids[:2])
    rig.put("b", nodes=rig.ids[:2], stored=2)
    rig.suspect(rig.blob_ids("b")[0], 1)
    rig.catalogue.nodes.set_mode("node2", NodeMode.PAUSED.value, None)
    later(rig)
    rig.worker.sweep()
    assert (rig.waiting(Queue.REPLICATE), rig.waiting(Queue.REPAIR)) == ([], [])


def test_a_row_whose_sources_are_all_down_is_parked(rig: Rig) -> None:
    rig.put("a")
    later(rig)
    rig.share_health(DOWN, UP, UP)
    rig.worker.sweep()
    assert rig.waiting(Queue.REPLICATE) == []


def test_parked_rows_do_not_hide_those_behind_them(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers.sweep.sweep, "ROWS_A_PAGE", 2)
    monkeypatch.setattr(workers.sweep.sweep, "PAGES_A_PASS", 2)
    down, source, target = rig.ids
    for number in range(5):
        rig.put(f"parked{number}", stored=1, nodes=[down, target])
    rig.put("a", stored=1, nodes=[source, target])
    later(rig)
    rig.share_health(DOWN, UP, UP)
    rig.worker.sweep()
    assert rig.waiting(Queue.REPLICATE) == [], "four rows are looked at in a pass"
    rig.worker.sweep()
    assert rig.waiting(Queue.REPLICATE) == [(TaskName.REPLICATE, tuple(rig.blob_ids("a")))]


def test_a_letter_opened_by_a_node_s_return_is_dead_again_where_no_copy_is_left(rig: Rig) -> None:
    rig.put("a", stored=1, nodes=rig.ids[:1])
    (blob,) = rig.blob_ids("a")
    rig.nodes.stores[rig.ids[0]].delete(blob_name(blob), Deadline(1))
    rig.suspect(blob, 0)
    rig.worker.verify([blob])
    assert rig.details("a")[0, rig.ids[0]].dead_at is not None
    rig.share_health(DOWN, UP, UP)
    later(rig)
    rig.share_health(UP, UP, UP)
    later(rig)
    rig.worker.sweep()
    assert rig.details("a")[0, rig.ids[0]].dead_at is None
    rig.work()
    assert rig.details("a")[0, rig.ids[0]].dead_at is not None


def test_dead_letters_and_waiting_rows_are_due_when_a_node_returns(rig: Rig) -> None:
    (data,) = rig.put("a")
    (blob,) = rig.blob_ids("a")
    rig.nodes.stores[rig.ids[1]].faults.refuses = True
    for _ in range(5):
        rig.worker.replicate([blob])
    assert rig.details("a")[0, rig.ids[1]].dead_at is not None
    rig.nodes.stores[rig.ids[1]].faults.refuses = False
    rig.share_health(UP, DOWN, UP)
    later(rig)
    rig.share_health(UP, UP, UP)
    later(rig)
    rig.worker.sweep()
    rig.work()
    assert rig.on_nodes(blob) == [data] * 3
    assert rig.catalogue.nodes.returned() == {}


def test_a_node_that_was_but_suspect_opens_no_dead_letter(rig: Rig) -> None:
    rig.put("a")
    (blob,) = rig.blob_ids("a")
    rig.nodes.stores[rig.ids[1]].faults.refuses = True
    for _ in range(5):
        rig.worker.replicate([blob])
    rig.share_health(UP, UP, UP)
    rig.worker.sweep()
    for health, opened in (
        (SUSPECT, False),
        (UP, False),
        (SUSPECT, False),
        (DOWN, False),
        (SUSPECT, False),
        (UP, True),
    ):
        later(rig)
        rig.share_health(UP, health, UP)
        rig.worker.sweep()
        assert (rig.details("a")[0, rig.ids[1]].dead_at is None) == opened, health


def test_a_return_is_not_over_when_the_node_is_away_again_before_its_rows_were_woken(rig: Rig) -> None:
    rig.share_health(UP, DOWN, UP)
    later(rig)
    rig.share_health(UP, UP, UP)
    (since,) = (node.since for node in rig.catalogue.nodes.all() if node.id == rig.ids[1])
    later(rig)
    rig.share_health(UP, DOWN, UP)
    rig.catalogue.nodes.woken(rig.ids[1], since)
    later(rig)
    rig.share_health(UP, UP, UP)
    assert rig.catalogue.nodes.returned()[rig.ids[1]]


def test_a_killed_worker_s_copies_are_made_by_another(rig: Rig) -> None:
    (data,) = rig.put("a")
    (blob,) = rig.blob_ids("a")
    rig.catalogue.copies.claim(TASK, [blob], rig.ids, "killed", 60)
    later(rig, 59)
    rig.worker.sweep()
    assert rig.work() == 0
    later(rig, 2)
    rig.worker.sweep()
    rig.work()
    assert rig.on_nodes(blob) == [data] * 3


def test_ten_lapsed_leases_make_a_dead_letter_and_no_endless_work(rig: Rig) -> None:
    rig.put("a")
    (blob,) = rig.blob_ids("a")
    for _ in range(10):
        assert len(rig.catalogue.copies.claim(TASK, [blob], rig.ids, "killed", 60)) == 2
        later(rig, 61)
        rig.worker.sweep()
    assert rig.catalogue.status().dead_letters == 2
    later(rig, 1000)
    rig.waiting(Queue.REPLICATE)
    rig.worker.sweep()
    assert rig.waiting(Queue.REPLICATE) == []


def test_a_copy_without_a_node_goes_to_the_next_that_takes_it(rig: Rig) -> None:
    (data,) = rig.put("a", nodes=[rig.ids[0], None, None])
    later(rig)
    rig.worker.sweep()
    rig.work()
    rig.worker.sweep()
    rig.work()
    assert rig.on_nodes(rig.blob_ids("a")[0]) == [data] * 3


def test_a_copy_no_node_can_hold_keeps_waiting_for_one(rig: Rig) -> None:
    rig.put("a", nodes=[*rig.ids, None], stored=3)
    later(rig)
    rig.worker.sweep()
    assert (0, None) in rig.details("a")
    rig.catalogue.nodes.register([NodeSpec("node4", "http://127.0.0.1:9004", "boveda", "node4")])
    (node4,) = [node.id for node in rig.catalogue.nodes.all() if node.spec.name == "node4"]
    rig.ids.append(node4)
    rig.share_health(UP, UP, UP, UP)
    rig.worker.sweep()
    assert (0, node4) in rig.details("a")


def test_expired_uploads_are_doomed(rig: Rig) -> None:
    rig.catalogue.objects.begin("f" * 32, rig.bucket.id, "slow", 3, rig.clock.now + 60)
    later(rig, 61)
    rig.worker.sweep()
    assert rig.catalogue.objects.expire_uploads() == 0


def test_uploads_over_several_requests_are_forgotten_a_day_after_they_were_finished(rig: Rig) -> None:
    uploads = rig.catalogue.uploads
    (kek,) = rig.catalogue.keks.states()
    ids = [id_at(rig.clock.now) + digit * 20 for digit in "ab"]
    for upload_id in ids:
        new = Resumable(upload_id, new_id(), rig.bucket, "a", 1, 0, 0, kek, b"key", {}, None, finished=False)
        uploads.create(new, 172_800)
    rig.catalogue.database.write(
        lambda connection: connection.exec_driver_sql(
            f"UPDATE uploads SET finished_at = {rig.clock.now} WHERE id = '{ids[0]}'"
        )
    )
    rig.worker.sweep()
    assert uploads.find(ids[0]).finished
    later(rig, 86_500)
    rig.worker.sweep()
    with pytest.raises(NoSuchUpload):
        uploads.find(ids[0])
    assert not uploads.find(ids[1]).finished


def test_only_one_sweep_acts_at_a_time(rig: Rig) -> None:
    rig.put("a")
    later(rig)
    assert rig.catalogue.leases.acquire(LEASE_NAME, "another process", 20)
    rig.worker.sweep()
    assert rig.waiting(Queue.REPLICATE) == []
    later(rig, 21)
    rig.worker.sweep()
    assert len(rig.waiting(Queue.REPLICATE)) == 1


def test_a_failing_step_does_not_stop_the_others(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.put("a")
    later(rig)

    def locked(*_: object, **__: object) -> int:
        raise CatalogueUnavailable("locked")

    monkeypatch.setattr(rig.catalogue.copies, "expire_leases", locked)
    monkeypatch.setattr(rig.catalogue.objects, "doom_copies", locked)
    with pytest.raises(ExceptionGroup) as raised:
        rig.worker.sweep()
    assert len(raised.value.exceptions) == 2
    assert len(rig.waiting(Queue.REPLICATE)) == 1


def test_a_job_without_a_worker_is_published_again_but_not_every_pass(rig: Rig) -> None:
    job = rig.catalogue.jobs.create(JobKind.REPAIR, Scope(), False, False)
    rig.worker.sweep()
    rig.worker.sweep()
    assert rig.waiting(Queue.REPAIR) == [(TaskName.JOB, (job.id,))]


def test_a_job_somebody_works_at_is_left_alone(rig: Rig) -> None:
    job = rig.catalogue.jobs.create(JobKind.REPAIR, Scope(), False, False)
    assert rig.catalogue.leases.acquire(job_lease(job.id), "a worker", 60)
    rig.worker.sweep()
    assert rig.waiting(Queue.REPAIR) == []
    later(rig, 61)
    rig.worker.sweep()
    assert len(rig.waiting(Queue.REPAIR)) == 1


def test_jobs_that_need_a_key_are_not_for_workers(rig: Rig) -> None:
    rig.catalogue.jobs.create(JobKind.REWRAP, Scope(), False, False)
    rig.worker.sweep()
    assert rig.waiting(Queue.REPAIR) == []


@pytest.mark.parametrize(
    ("sizes", "lengths"),
    [
        ([], []),
        ([1], [1]),
        ([1] * BATCH_IDS, [64]),
        ([1] * (BATCH_IDS + 1), [64, 1]),
        ([BATCH_BYTES // 2] * 3, [2, 1]),
        ([BATCH_BYTES + 1, 1, BATCH_BYTES + 1], [1, 1, 1]),
    ],
)
def test_batches_are_bounded_by_ids_and_bytes(sizes: list[int], lengths: list[int]) -> None:
    rows = [(number, str(number), size) for number, size in enumerate(sizes)]
    made = list(batches(rows))
    assert [len(batch) for batch in made] == lengths
    assert [row for batch in made for row in batch] == rows
