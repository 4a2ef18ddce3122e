"""Totals of nodes and buckets say what the rows say, after everything that happens to rows, and while it happens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, func, inspect, select

from common.catalogue import migrate
from common.catalogue.buckets import Totals
from common.catalogue.nodes import NodeTotals
from common.catalogue.sql import SqlCatalogue
from common.catalogue.sql.engine.tables import blobs, bucket_totals, buckets, copies, node_totals, objects, versions
from common.errors import UploadSuperseded
from common.model.copies import CopyState
from common.model.names import new_id
from common.model.nodes import NodeMode
from common.model.relocation import Relocation
from common.model.versions import Preconditions
from common.model.work import CopyAction, Outcome
from common.queue.memory import MemoryQueue
from common.settings import Settings
from tests.contract.catalogue.race import race
from tests.contract.catalogue.stage import Stage, node_spec
from workers.sweep.sweep import Sweep

PAUSE = "SELECT node_totals.node_id"  # of a fold: everything is folded and nothing committed
LENGTH = 93  # of the ciphertext of a stage's blob


def counted(connection: Connection) -> tuple[dict[str, NodeTotals], dict[str, Totals]]:
    """Row by row, without the totals."""
    on_nodes: dict[str, list[int]] = {}
    of_copies = select(copies.c.node_id, copies.c.state, blobs.c.cipher_length).join(
        blobs, blobs.c.id == copies.c.blob_id
    )
    for node_id, state, length in connection.execute(of_copies.where(copies.c.node_id.is_not(None))):
        mine = on_nodes.setdefault(node_id, [0, 0, 0])
        held = state in ("stored", "suspect")
        for index, more in enumerate((held, held * length, state == "missing")):
            mine[index] += more
    of_buckets = (
        select(objects.c.bucket_id, func.count(), func.sum(versions.c.size))
        .join(versions, versions.c.id == objects.c.version_id)
        .group_by(objects.c.bucket_id)
    )
    in_buckets = {row[0]: Totals(row[1], int(row[2])) for row in connection.execute(of_buckets)}
    return {node_id: NodeTotals(*mine) for node_id, mine in on_nodes.items()}, in_buckets


def right(stage: Stage) -> tuple[list[NodeTotals], Totals]:
    """Totals by node in order and of the stage's bucket, compared with the rows; before a fold and after it."""
    catalogue = stage.catalogue
    nothing = NodeTotals(0, 0, 0)
    for fold in (False, True):
        if fold:
            while catalogue.fold_totals():
                pass
            assert differences(catalogue) == 0
        with catalogue.database.reading.connect() as connection:
            on_nodes, in_buckets = counted(connection)
            ids = connection.execute(select(buckets.c.id)).scalars().all()
        found = catalogue.nodes.totals()
        assert {node_id: of for node_id, of in found.items() if of != nothing} == {
            node_id: of for node_id, of in on_nodes.items() if of != nothing
        }
        assert {each: catalogue.buckets.totals(each) for each in ids} == {
            each: in_buckets.get(each, Totals(0, 0)) for each in ids
        }
        assert sum(catalogue.status().objects.values()) == sum(of.objects for of in in_buckets.values())
    return [found.get(node_id, nothing) for node_id in stage.nodes], catalogue.buckets.totals(stage.bucket.id)


def differences(catalogue: SqlCatalogue) -> int:
    """Rows beside the totals proper."""
    with catalogue.database.reading.connect() as connection:
        return sum(
            connection.execute(select(func.count()).select_from(table).where(table.c.slot != 0)).scalar_one()
            for table in (node_totals, bucket_totals)
        )


def delete_copies(stage: Stage, blob_id: str) -> None:
    stage.catalogue.objects.doom_copies(0)
    claims = stage.claim([blob_id], CopyAction.DELETE)
    stage.catalogue.copies.end([Outcome(claim.copy_id, claim.fence, None) for claim in claims])


def test_totals_follow_an_object_through_its_life(stage: Stage) -> None:
    assert right(stage) == ([NodeTotals(0, 0, 0)] * 3, Totals(0, 0))
    _, first, _ = stage.put("a")
    here, owed = NodeTotals(1, LENGTH, 0), NodeTotals(0, 0, 1)
    assert right(stage) == ([here, owed, owed], Totals(1, 5))
    stage.replicate(first)
    assert right(stage) == ([here] * 3, Totals(1, 5))
    _, second, _ = stage.put("a", stored=2)  # the first one's copies are there until they are doomed
    assert right(stage) == ([NodeTotals(2, 2 * LENGTH, 0)] * 2 + [NodeTotals(1, LENGTH, 1)], Totals(1, 5))
    delete_copies(stage, first)
    assert right(stage) == ([here, here, owed], Totals(1, 5))
    stage.catalogue.objects.delete("papers", "a", Preconditions())
    assert right(stage) == ([here, here, owed], Totals(0, 0))
    delete_copies(stage, second)
    stage.catalogue.objects.forget()
    assert right(stage) == ([NodeTotals(0, 0, 0)] * 3, Totals(0, 0))


def test_an_overwrite_counts_the_new_size(stage: Stage) -> None:
    stage.put("a")
    stage.catalogue.objects.commit(stage.version("a", size=1000), [stage.new_blob()], Preconditions())
    assert right(stage)[1] == Totals(1, 1000)


def test_suspicion_keeps_a_copy_on_its_node_and_absence_takes_it_off(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a", stored=3)
    assert stage.catalogue.copies.suspect(blob_id, stage.nodes[1], "wrong bytes")
    assert right(stage)[0] == [NodeTotals(1, LENGTH, 0)] * 3
    (claim,) = stage.claim([blob_id], CopyAction.VERIFY)
    stage.catalogue.copies.end([Outcome(claim.copy_id, claim.fence, CopyState.MISSING)])
    assert right(stage)[0][1] == NodeTotals(0, 0, 1)


def test_a_whole_page_of_suspicion_is_counted(stage: Stage) -> None:
    for number in range(20):
        stage.put(f"k{number}", stored=3)
    assert stage.catalogue.nodes.doubt(stage.nodes[0]) == 20
    assert right(stage)[0] == [NodeTotals(20, 20 * LENGTH, 0)] * 3


def test_a_row_without_a_node_counts_where_it_is_assigned(stage: Stage) -> None:
    stage.catalogue.nodes.set_mode("node3", "paused", None)
    stage.put("a", stored=2)
    assert right(stage)[0][2] == NodeTotals(0, 0, 0)
    stage.catalogue.nodes.set_mode("node3", "active", None)
    ((copy_id, fence, *_),) = stage.catalogue.copies.unassigned()
    assert stage.catalogue.copies.assign(copy_id, fence, stage.nodes[2])
    assert right(stage)[0][2] == NodeTotals(0, 0, 1)


def test_a_move_takes_a_copy_off_one_node_and_wants_it_on_another(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a", stored=3)
    added = stage.catalogue.topology.add(node_spec(4))
    stage.nodes.append(added.id)
    (blob,) = stage.catalogue.relocations.of([blob_id])
    leaving = next(row.id for row in blob.rows if row.node_id == stage.nodes[0])
    modes = dict.fromkeys(stage.nodes, NodeMode.ACTIVE)
    assert stage.catalogue.relocations.apply([Relocation(blob, add=[added.id], doom=[leaving], modes=modes)]) == {
        blob_id
    }
    here = NodeTotals(1, LENGTH, 0)
    assert right(stage)[0] == [NodeTotals(0, 0, 0), here, here, NodeTotals(0, 0, 1)]


def test_an_upload_in_progress_counts_on_nodes_and_in_no_bucket(stage: Stage) -> None:
    version_id, first, last = new_id(), stage.new_blob(stored=0), stage.new_blob(stage.blob(1))
    stage.catalogue.objects.begin(version_id, stage.bucket.id, "a", 3, stage.catalogue.now() + 60)
    stage.catalogue.objects.add_blob(version_id, first, (), stage.catalogue.now() + 60)
    assert right(stage) == ([NodeTotals(0, 0, 1)] * 3, Totals(0, 0))
    version = stage.version("a", version_id, blobs=2, size=10)
    stored = [(first.blob.id, stage.nodes[2])]
    stage.catalogue.objects.commit(version, [last], Preconditions(), stored, uploading=True)
    assert right(stage) == (
        [NodeTotals(1, LENGTH, 1), NodeTotals(0, 0, 2), NodeTotals(1, LENGTH, 1)],
        Totals(1, 10),
    )


def test_a_refused_commit_counts_nothing(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a", stored=3)
    before = right(stage)
    again = stage.new_blob(replace(stage.blob(), id=blob_id))
    with pytest.raises(UploadSuperseded):
        stage.catalogue.objects.commit(stage.version("b"), [again], Preconditions())
    assert right(stage) == before


def test_the_totals_of_a_removed_node_go_with_a_fold(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a", stored=3)
    stage.catalogue.objects.delete("papers", "a", Preconditions())
    delete_copies(stage, blob_id)
    stage.catalogue.nodes.set_mode("node3", "draining", None)
    stage.catalogue.topology.remove("node3")
    right(stage)
    stage.catalogue.fold_totals()
    assert stage.nodes[2] not in stage.catalogue.nodes.totals()


def test_a_sweep_folds_all_of_it(stage: Stage, tmp_path: Path) -> None:
    for number in range(200):  # more than a page
        stage.put(f"k{number}")
    assert (differences(stage.catalogue) == 0) == stage.catalogue.database.sqlite
    before = stage.catalogue.nodes.totals()
    Sweep(stage.catalogue, MemoryQueue(), Settings(home=tmp_path))()
    assert differences(stage.catalogue) == 0
    assert stage.catalogue.nodes.totals() == before


# -- side by side


def put_and_replace(stage: Stage, key: str) -> None:
    for stored in (1, 3):
        stage.put(key, stored=stored)


def test_two_commits_on_the_same_nodes_and_bucket_are_both_counted(stage: Stage) -> None:
    one, two, waited = race(
        stage.catalogue, lambda: put_and_replace(stage, "a"), lambda: put_and_replace(stage, "b"), "INSERT INTO objects"
    )
    assert (one.error, two.error) == (None, None)
    assert waited == stage.catalogue.database.sqlite, "commits of different names do not wait for one another's totals"
    totals, bucket = right(stage)
    assert totals[0] == NodeTotals(4, 4 * LENGTH, 0)
    assert bucket == Totals(2, 10)


def test_a_commit_amid_a_fold_is_counted_once(stage: Stage) -> None:
    stage.put("a", stored=3)
    if stage.catalogue.database.sqlite:
        assert differences(stage.catalogue) == 0  # nothing is ever folded there
        return
    read: list[object] = []

    def put_and_read() -> None:
        stage.put("b", stored=3)
        read.append(stage.catalogue.nodes.totals()[stage.nodes[0]])

    one, two, waited = race(stage.catalogue, stage.catalogue.fold_totals, put_and_read, PAUSE)
    assert (one.error, two.error, waited) == (None, None, False)
    assert read == [NodeTotals(2, 2 * LENGTH, 0)], "whoever reads amid a fold sees what was there before it"
    assert right(stage)[0] == [NodeTotals(2, 2 * LENGTH, 0)] * 3


def test_two_folds_at_once_count_everything_once(stage: Stage) -> None:
    if stage.catalogue.database.sqlite:
        assert stage.catalogue.fold_totals() == 0
        return
    for number in range(5):
        stage.put(f"k{number}")
    fold = lambda: stage.catalogue.fold_totals(4)  # noqa: E731
    one, two, _ = race(stage.catalogue, fold, fold, PAUSE)
    assert (one.error, two.error) == (None, None)
    assert right(stage)[0] == [NodeTotals(5, 5 * LENGTH, 0)] + [NodeTotals(0, 0, 5)] * 2


def test_a_catalogue_from_before_is_counted_by_its_migration(stage: Stage) -> None:
    stage.put("a", stored=2)
    stage.put("b", stored=3)
    before, database = right(stage), stage.catalogue.database
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    with database.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0003")
        connection.commit()
        assert not inspect(connection).has_table("node_totals")
    migrate.upgrade(stage.catalogue)
    assert right(stage) == before
    assert before[1] == Totals(2, 10)
    stage.put("c")
    assert right(stage)[1] == Totals(3, 15)
