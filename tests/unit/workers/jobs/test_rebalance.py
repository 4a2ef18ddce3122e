"""Copies are moved to where placement would put them today."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.model.jobs import Job, JobKind, JobState, Scope
from common.model.nodes import NodeHealth, NodeMode
from common.model.versions import Preconditions
from common.placement import Candidate, order
from tests.unit.workers.rig import BUCKET, Rig
from workers.jobs import rebalance

DOWN = NodeHealth.DOWN


@pytest.fixture
def four(empty_catalogue: Path, tmp_path: Path) -> Iterator[Rig]:
    """Four nodes. The last has nothing: the others were there before."""
    made = Rig(empty_catalogue, tmp_path, nodes=4)
    yield made
    made.close()


def fill(rig: Rig, count: int = 20) -> dict[str, bytes]:
    return {f"key{number:02}": rig.put(f"key{number:02}", 3, nodes=rig.ids[:3])[0] for number in range(count)}


def create(rig: Rig, scope: Scope | None = None, dry_run: bool = False) -> Job:
    return rig.catalogue.jobs.create(JobKind.REBALANCE, scope or Scope(), dry_run, False)


def run(rig: Rig, scope: Scope | None = None, dry_run: bool = False) -> Job:
    job = create(rig, scope, dry_run)
    turn(rig, job)
    return rig.catalogue.jobs.get(job.id)


def turn(rig: Rig, job: Job) -> None:
    """One worker's turn. Time goes on while copies are made and read."""
    ticking = rig.catalogue.relocations.of

    def of(*args: Any) -> Any:
        rig.clock.now += 1
        return ticking(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rig.catalogue.relocations, "of", of)
        rig.worker.run_job(job.id)


def best(rig: Rig, key: str) -> list[int]:
    version = rig.catalogue.objects.find(BUCKET, key).version.id
    names = order(version, [Candidate(node_id, "", 1.0) for node_id in rig.ids])
    return sorted(rig.ids.index(node_id) for node_id in names[:3])


def rows(rig: Rig, key: str) -> dict[int, str]:
    (copies,) = rig.catalogue.relocations.of(rig.blob_ids(key)[:1])
    return {rig.ids.index(row.node_id): row.state.value for row in copies.rows if row.node_id and row.state != "doomed"}


def misplaced(rig: Rig, keys: dict[str, bytes]) -> list[str]:
    return [key for key in keys if sorted(rows(rig, key)) != best(rig, key)]


def test_a_new_node_gets_its_share_and_nothing_else_moves(four: Rig) -> None:
    contents = fill(four)
    wrong = misplaced(four, contents)
    assert 5 < len(wrong) < 20
    job = run(four)
    assert job.state is JobState.DONE
    assert job.report == {"examined": 20, "moved": len(wrong), "waiting": 0, "unplaced": 0}
    assert (job.done, job.total, job.bytes) == (20, 20, 100 * len(wrong))
    assert misplaced(four, contents) == []
    four.converge(3)
    for key, data in contents.items():
        there = [data if number in best(four, key) else None for number in range(4)]
        assert four.on_nodes(four.blob_ids(key)[0]) == there


def test_a_dry_run_counts_what_would_move(four: Rig) -> None:
    contents = fill(four)
    wrong = misplaced(four, contents)
    job = run(four, dry_run=True)
    assert job.report == {"examined": 20, "moved": len(wrong), "waiting": 0, "unplaced": 0}
    assert misplaced(four, contents) == wrong
    assert four.nodes.stores[four.ids[3]].blobs == {}


def test_a_second_run_finds_nothing_to_move(four: Rig) -> None:
    fill(four)
    run(four)
    assert run(four).report == {"examined": 20, "moved": 0, "waiting": 0, "unplaced": 0}


def test_only_what_is_in_scope_moves(four: Rig) -> None:
    contents = fill(four)
    wrong = misplaced(four, contents)
    job = run(four, Scope(bucket=BUCKET, key=wrong[0]))
    assert (job.report["examined"], job.report["moved"]) == (1, 1)
    assert misplaced(four, contents) == wrong[1:]
    lost = [key for key in wrong[1:] if 0 not in best(four, key)]
    job = run(four, Scope(node="node1"))
    assert (job.report["examined"], job.report["moved"]) == (20, len(wrong) - 1)
    assert lost, "some were to leave node1, the others lay there and were to leave another"


def test_copies_that_are_on_the_way_are_finished_by_the_sweep(four: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = fill(four)
    wrong = misplaced(four, contents)
    monkeypatch.setattr(rebalance, "CONVERGE_SECONDS", 0.0)
    four.nodes.busy.add(four.ids[3])
    job = run(four)
    assert job.state is JobState.DONE
    assert (job.report["moved"], job.report["waiting"]) == (0, len(wrong))
    assert all(len(rows(four, key)) == 4 for key in wrong)
    four.nodes.busy.clear()
    four.converge(25)
    assert misplaced(four, contents) == []


def test_few_rows_are_outstanding_and_the_job_goes_on_from_its_cursor(
    four: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = fill(four, 40)
    wrong = misplaced(four, contents)
    monkeypatch.setattr(rebalance, "PAGE_BLOBS", 4)
    monkeypatch.setattr(rebalance, "OUTSTANDING_ROWS", 3)
    four.nodes.busy.add(four.ids[3])
    monkeypatch.setattr(rebalance, "CONVERGE_SECONDS", 0.0)
    job = create(four)
    for _ in range(3):
        turn(four, job)
    left = four.catalogue.jobs.get(job.id)
    assert left.state is JobState.RUNNING
    assert 3 < left.report["waiting"] <= 7  # type: ignore[operator]
    assert sum(len(rows(four, key)) == 4 for key in contents) == left.report["waiting"]
    assert left.done < 40
    four.nodes.busy.clear()
    for _ in range(60):
        four.clock.now += 20
        turn(four, job)
    ended = four.catalogue.jobs.get(job.id)
    assert ended.state is JobState.DONE
    assert ended.report["examined"] == 40
    assert misplaced(four, contents) == []
    assert len(wrong) > 7


def test_a_cancelled_job_moves_no_more(four: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = fill(four)
    monkeypatch.setattr(rebalance, "PAGE_BLOBS", 1)
    job = create(four)
    apply = four.catalogue.relocations.apply

    def then_cancelled(*args: Any) -> Any:
        made = apply(*args)
        if made and four.catalogue.jobs.get(job.id).state is JobState.RUNNING:
            four.catalogue.jobs.cancel(job.id)
        return made

    monkeypatch.setattr(four.catalogue.relocations, "apply", then_cancelled)
    wrong = misplaced(four, contents)
    turn(four, job)
    assert four.catalogue.jobs.get(job.id).state is JobState.CANCELLED
    moved = [key for key in wrong if len(rows(four, key)) == 4 or sorted(rows(four, key)) == best(four, key)]
    assert len(moved) == 1


def test_nothing_moves_while_the_brake_holds(four: Rig) -> None:
    contents = fill(four)
    wrong = misplaced(four, contents)
    four.change(1, DOWN)
    four.change(2, DOWN)
    job = run(four)
    assert job.state is JobState.RUNNING
    assert misplaced(four, contents) == wrong
    four.change(1)
    four.change(2)
    turn(four, job)
    assert four.catalogue.jobs.get(job.id).state is JobState.DONE
    assert misplaced(four, contents) == []


def test_what_no_node_can_take_is_counted(four: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebalance, "CONVERGE_SECONDS", 0.0)
    fill(four, 5)
    for number in (2, 3):
        four.change(number, mode=NodeMode.DRAINING)
    assert run(four).report == {"examined": 5, "moved": 0, "waiting": 5, "unplaced": 5}


def test_an_object_that_is_deleted_meanwhile_is_no_error(four: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = fill(four, 3)
    apply = four.catalogue.relocations.apply

    def then_deleted(*args: Any) -> Any:
        made = apply(*args)
        for key in list(contents):
            if contents.pop(key, None):
                four.catalogue.objects.delete(BUCKET, key, Preconditions())
        return made

    monkeypatch.setattr(four.catalogue.relocations, "apply", then_deleted)
    job = run(four)
    assert job.state is JobState.DONE
    assert job.report["waiting"] == 0


def test_a_bucket_that_is_not_there_fails_the_job(four: Rig) -> None:
    assert run(four, Scope(bucket="nowhere")).state is JobState.FAILED
