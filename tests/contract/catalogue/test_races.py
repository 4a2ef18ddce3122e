"""The pairs of transactions that meet in practice, each stopped between read and write."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection

from common.errors import Conflict, KeysUnavailable, NoSuchBucket, NoSuchObject, PreconditionFailed, UploadSuperseded
from common.model.copies import CopyState
from common.model.names import new_id
from common.model.versions import Preconditions
from common.model.work import CopyAction, Outcome
from tests.contract.catalogue.race import race
from tests.contract.catalogue.stage import Stage


def versions_in(stage: Stage, state: str) -> int:
    with stage.catalogue.database.reading.connect() as connection:
        found = connection.exec_driver_sql(f"SELECT count(*) FROM versions WHERE state = '{state}'")
        return int(found.scalar_one())


def test_of_two_puts_on_one_name_one_whole_winner_is_left(stage: Stage) -> None:
    one, two, waited = race(
        stage.catalogue, lambda: stage.put("a"), lambda: stage.put("a"), pause_before="INSERT INTO versions"
    )
    assert (one.error, two.error) == (None, None)
    assert waited, "the second writer of a name waits for the first"
    assert stage.catalogue.objects.find("papers", "a").version.id == two.value[0]
    assert (versions_in(stage, "current"), versions_in(stage, "doomed")) == (1, 1)
    assert two.value[2].replaced


def test_of_two_creations_that_must_not_replace_one_fails(stage: Stage) -> None:
    create = Preconditions(if_none_match=("*",))
    one, two, _ = race(
        stage.catalogue,
        lambda: stage.put("a", preconditions=create),
        lambda: stage.put("a", preconditions=create),
        pause_before="INSERT INTO versions",
    )
    assert one.error is None
    assert isinstance(two.error, PreconditionFailed)
    assert versions_in(stage, "current") == 1


def test_puts_on_distinct_names_do_not_wait_for_each_other_on_postgresql(stage: Stage) -> None:
    one, two, waited = race(
        stage.catalogue, lambda: stage.put("a"), lambda: stage.put("b"), pause_before="INSERT INTO versions"
    )
    assert (one.error, two.error) == (None, None)
    assert waited is stage.catalogue.database.sqlite


def test_put_against_delete_leaves_the_later_ones_state(stage: Stage) -> None:
    stage.put("a")
    delete = lambda: stage.catalogue.objects.delete("papers", "a", Preconditions())  # noqa: E731
    put, deleted, _ = race(stage.catalogue, lambda: stage.put("a"), delete, pause_before="INSERT INTO versions")
    assert (put.error, deleted.error) == (None, None)
    assert deleted.value == put.value[0], "the delete came second, and took what was put"
    with pytest.raises(NoSuchObject):
        stage.catalogue.objects.find("papers", "a")
    stage.put("a")
    deleted, put, _ = race(stage.catalogue, delete, lambda: stage.put("a"), pause_before="DELETE FROM objects")
    assert (put.error, deleted.error) == (None, None)
    assert stage.catalogue.objects.find("papers", "a").version.id == put.value[0]
    assert not put.value[2].replaced


def test_put_against_bucket_delete_never_leaves_an_object_without_a_bucket(stage: Stage) -> None:
    delete = lambda: stage.catalogue.buckets.delete("papers")  # noqa: E731
    put, deleted, _ = race(stage.catalogue, lambda: stage.put("a"), delete, pause_before="INSERT INTO versions")
    assert put.error is None
    assert isinstance(deleted.error, Conflict)
    stage.catalogue.objects.delete("papers", "a", Preconditions())
    deleted, put, _ = race(stage.catalogue, delete, lambda: stage.put("b"), pause_before="UPDATE buckets")
    assert deleted.error is None
    assert isinstance(put.error, NoSuchBucket)
    assert versions_in(stage, "current") == 0


def placement(stage: Stage, blob_id: str) -> list[str | None]:
    (copies,) = stage.catalogue.relocations.of([blob_id])
    return [row.node_id for row in copies.rows]


def to_be_emptied(stage: Stage, node_id: str) -> list[str]:
    """The blobs that whoever empties the node finds there."""
    page, _ = stage.catalogue.relocations.examine(node_id, 0)
    return [copies.blob.id for copies in page]


def drain(stage: Stage) -> object:
    return stage.catalogue.nodes.set_mode("node3", "draining", None)


def test_what_a_put_places_on_a_node_that_is_drained_meanwhile_is_found_by_who_empties_it(stage: Stage) -> None:
    put, drained, waited = race(
        stage.catalogue, lambda: stage.put("a"), lambda: drain(stage), pause_before="INSERT INTO versions"
    )
    assert (put.error, drained.error) == (None, None)
    assert waited is stage.catalogue.database.sqlite, "a drain is not held up by the puts of PostgreSQL"
    assert placement(stage, put.value[1]) == stage.nodes, "decided before the drain"
    assert to_be_emptied(stage, stage.nodes[2]) == [put.value[1]]


def test_once_a_drain_is_committed_a_put_wants_nothing_on_its_node(stage: Stage) -> None:
    drained, put, waited = race(
        stage.catalogue, lambda: drain(stage), lambda: stage.put("a"), pause_before="SELECT nodes.id"
    )
    assert (drained.error, put.error) == (None, None)
    assert waited is stage.catalogue.database.sqlite
    meanwhile, afterwards = put.value[1], stage.put("b")[1]
    without = [*stage.nodes[:2], None]
    assert placement(stage, afterwards) == without
    assert placement(stage, meanwhile) == (without if waited else stage.nodes)
    assert to_be_emptied(stage, stage.nodes[2]) == ([] if waited else [meanwhile])


def retire_if_unused(stage: Stage) -> int:
    """Retire the key in one transaction, locked first, unless versions use it; how many do."""
    lock = "" if stage.catalogue.database.sqlite else " FOR UPDATE"

    def work(connection: Connection) -> int:
        connection.exec_driver_sql(f"SELECT id FROM keks WHERE id = 'kek-1'{lock}").all()
        rows = connection.exec_driver_sql("SELECT count(*) FROM versions WHERE kek_id = 'kek-1'").scalar_one()
        if rows == 0:
            connection.exec_driver_sql("UPDATE keks SET state = 'retired' WHERE id = 'kek-1'")
        return int(rows)

    return stage.catalogue.database.write(work)


def test_a_put_that_came_before_its_keys_retirement_is_stored_and_counted(stage: Stage) -> None:
    put, retired, waited = race(
        stage.catalogue, lambda: stage.put("a"), lambda: retire_if_unused(stage), pause_before="INSERT INTO versions"
    )
    assert put.error is None
    assert waited
    assert retired.value == 1, "the count saw the row that was being committed"


def test_a_put_that_came_after_its_keys_retirement_waits_and_is_refused(stage: Stage) -> None:
    retired, put, waited = race(
        stage.catalogue, lambda: retire_if_unused(stage), lambda: stage.put("a"), pause_before="UPDATE keks"
    )
    assert (retired.value, retired.error) == (0, None)
    assert waited
    assert isinstance(put.error, KeysUnavailable)
    assert versions_in(stage, "current") == 0


def test_of_two_workers_one_gets_the_copy(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    one, two, _ = race(
        stage.catalogue,
        lambda: stage.claim([blob_id], owner="one"),
        lambda: stage.claim([blob_id], owner="two"),
        pause_before="UPDATE copies",
    )
    assert (one.error, two.error) == (None, None)
    assert (len(one.value), len(two.value)) == (2, 0)


def test_an_end_against_a_doom_does_not_bring_the_copy_back(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    claims = stage.claim([blob_id])
    stage.catalogue.objects.delete("papers", "a", Preconditions())
    outcomes = [Outcome(claim.copy_id, claim.fence, CopyState.STORED) for claim in claims]
    one, two, _ = race(
        stage.catalogue,
        lambda: stage.catalogue.objects.doom_copies(0),
        lambda: stage.catalogue.copies.end(outcomes).copy_ids,
        pause_before="UPDATE copies",
    )
    assert (one.value, two.value) == (3, set())
    stage.catalogue.copies.expire_leases()
    with stage.catalogue.database.reading.connect() as connection:
        states = connection.exec_driver_sql("SELECT DISTINCT state FROM copies").scalars().all()
    assert states == ["doomed"]


def test_a_commit_against_the_uploads_expiry_has_one_winner(stage: Stage) -> None:
    for expiry_first in (True, False):
        upload = new_id()
        stage.catalogue.objects.begin(upload, stage.bucket.id, "long", 3, stage.catalogue.now() - 1)

        def commit(upload: str = upload) -> object:
            version = stage.version("long", upload, blobs=0, size=0)
            return stage.catalogue.objects.commit(version, [], Preconditions(), uploading=True)

        expire = stage.catalogue.objects.expire_uploads
        first, second = (expire, commit) if expiry_first else (commit, expire)
        one, two, _ = race(stage.catalogue, first, second, pause_before="UPDATE versions")
        expired, committed = (one, two) if expiry_first else (two, one)
        assert expired.error is None
        won = committed.error is None
        assert won or isinstance(committed.error, UploadSuperseded)
        assert won is (expired.value == 0)
        assert stage.catalogue.objects.is_current(upload) is won
        assert not (won and expiry_first)


def test_two_deletes_of_one_copy_end_with_the_row_gone(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    stage.catalogue.objects.delete("papers", "a", Preconditions())
    stage.catalogue.objects.doom_copies(0)
    claims = stage.claim([blob_id], CopyAction.DELETE)
    outcomes = [Outcome(claim.copy_id, claim.fence, None) for claim in claims]
    one, two, _ = race(
        stage.catalogue,
        lambda: stage.catalogue.copies.end(outcomes).copy_ids,
        lambda: stage.catalogue.copies.end(outcomes).copy_ids,
        pause_before="DELETE FROM copies",
    )
    assert (len(one.value), len(two.value)) == (3, 0)
    assert stage.catalogue.objects.forget() == 1
