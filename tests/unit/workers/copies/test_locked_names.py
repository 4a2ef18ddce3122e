"""A name at which its node fails whatever is asked: the copy lies elsewhere, and the name is remembered."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from common.model.names import BlobName, blob_name
from common.model.scrubbing import LockedName
from common.model.versions import Preconditions
from tests.unit.workers import orphans
from tests.unit.workers.rig import BUCKET, Rig

NODE = 1


@pytest.fixture
def blob(rig: Rig) -> str:
    """A blob with three stored copies, whose name is locked on one node."""
    rig.put("a", stored=3)
    blob_id = rig.blob_ids("a")[0]
    lock(rig, blob_id)
    return blob_id


def lock(rig: Rig, blob_id: str) -> None:
    rig.nodes.stores[rig.ids[NODE]].faults.locked.add(blob_name(blob_id))


def locked(rig: Rig) -> list[LockedName]:
    return list(rig.catalogue.locked_names.of(rig.ids[NODE]))


def data_of(rig: Rig, name: str) -> bytes | None:
    found = rig.nodes.stores[rig.ids[NODE]].blobs.get(name)
    return None if found is None else found[0]


def mended(rig: Rig, blob_id: str) -> str:
    """Have the suspect copy repaired; the name under which it lies then."""
    rig.suspect(blob_id, NODE)
    assert rig.worker.verify([blob_id]) == 1
    alias = rig.details("a")[0, rig.ids[NODE]].alias
    assert alias is not None
    return blob_name(blob_id, alias)


def test_a_suspect_copy_is_written_under_another_name_and_the_locked_one_is_remembered(rig: Rig, blob: str) -> None:
    name = mended(rig, blob)
    assert rig.states("a") == ["stored"] * 3
    assert rig.details("a")[0, rig.ids[NODE]].verified_at is not None
    assert data_of(rig, name) == rig.on_nodes(blob)[0]
    (record,) = locked(rig)
    assert (record.name, record.error) == (BlobName(blob), "the node answered 500 InternalError")
    assert rig.catalogue.locked_names.counts() == {rig.ids[NODE]: 1}


def test_a_name_that_takes_the_copy_at_the_second_time_is_not_locked(rig: Rig, blob: str) -> None:
    faults = rig.nodes.stores[rig.ids[NODE]].faults

    def passing(operation: str, name: str) -> None:
        if operation == "put" and name != blob_name(blob):
            faults.locked.clear()

    faults.before = passing
    rig.suspect(blob, NODE)
    rig.worker.verify([blob])
    assert rig.states("a") == ["stored"] * 3
    assert rig.details("a")[0, rig.ids[NODE]].alias is None
    assert locked(rig) == []
    assert [name for name in rig.nodes.stores[rig.ids[NODE]].blobs if blob in name] == [blob_name(blob)]


def test_a_node_that_takes_nothing_has_no_locked_name(rig: Rig, blob: str) -> None:
    def no_writes(operation: str, name: str) -> None:
        rig.nodes.stores[rig.ids[NODE]].faults.failing = operation == "put"

    rig.nodes.stores[rig.ids[NODE]].faults.before = no_writes
    rig.suspect(blob, NODE)
    rig.worker.verify([blob])
    assert rig.states("a") == ["stored", "suspect", "stored"]
    assert rig.details("a")[0, rig.ids[NODE]].alias is None
    assert locked(rig) == []


def test_a_missing_copy_is_made_under_another_name(rig: Rig) -> None:
    (data,) = rig.put("a", stored=1)
    blob_id = rig.blob_ids("a")[0]
    lock(rig, blob_id)
    rig.worker.replicate([blob_id])
    assert rig.states("a") == ["stored"] * 3
    alias = rig.details("a")[0, rig.ids[NODE]].alias
    assert data_of(rig, blob_name(blob_id, alias)) == data
    assert [record.name for record in locked(rig)] == [BlobName(blob_id)]


def test_a_copy_under_another_name_is_a_source_like_any(rig: Rig, blob: str) -> None:
    mended(rig, blob)
    data = rig.on_nodes(blob)[0]
    for node in (0, 2):
        rig.spoil(blob, node, None)
    rig.suspect(blob, 0, 2)
    rig.worker.verify([blob])
    assert rig.states("a") == ["stored"] * 3
    assert rig.on_nodes(blob)[0] == rig.on_nodes(blob)[2] == data


def test_a_damaged_copy_under_another_name_is_replaced_under_that_name(rig: Rig, blob: str) -> None:
    name = mended(rig, blob)
    good = data_of(rig, name)
    rig.nodes.stores[rig.ids[NODE]].blobs[name] = b"x" * 100, 0.0
    rig.suspect(blob, NODE)
    rig.worker.verify([blob])
    assert data_of(rig, name) == good
    assert len(locked(rig)) == 1


def test_a_copy_under_another_name_goes_with_its_object(rig: Rig, blob: str) -> None:
    name = mended(rig, blob)
    rig.catalogue.objects.delete(BUCKET, "a", Preconditions())
    rig.converge()
    assert data_of(rig, name) is None
    assert rig.catalogue.nodes.totals()[rig.ids[NODE]].copies == 0


def test_a_doomed_copy_under_a_locked_name_ends_with_a_record(rig: Rig, blob: str) -> None:
    rig.catalogue.objects.delete(BUCKET, "a", Preconditions())
    rig.converge()
    assert rig.catalogue.nodes.totals()[rig.ids[NODE]].copies == 0
    assert rig.catalogue.dead_letters.page(None) == []
    assert [record.name for record in locked(rig)] == [BlobName(blob)]


def test_a_node_that_deletes_nothing_keeps_its_doomed_rows(rig: Rig, blob: str) -> None:
    rig.nodes.stores[rig.ids[NODE]].faults.full = True  # takes no trial either
    rig.catalogue.objects.delete(BUCKET, "a", Preconditions())
    rig.converge()
    assert locked(rig) == []


def reclaim(rig: Rig) -> Mapping[str, object]:
    rig.identify(rig.ids[NODE])
    job = orphans.run(rig)
    assert job.error is None
    return job.report


def test_a_name_that_is_let_go_is_forgotten_by_the_next_reclaim(rig: Rig, blob: str) -> None:
    mended(rig, blob)
    assert reclaim(rig)["locked"] == 1
    assert len(locked(rig)) == 1
    rig.nodes.stores[rig.ids[NODE]].faults.locked.clear()
    assert reclaim(rig)["locked"] == 0
    assert locked(rig) == []
    assert data_of(rig, blob_name(blob)) is None
    assert rig.states("a") == ["stored"] * 3


def test_a_name_that_a_row_came_back_to_is_not_deleted(rig: Rig, blob: str) -> None:
    mended(rig, blob)
    rig.nodes.stores[rig.ids[NODE]].faults.locked.clear()
    rig.catalogue.database.write(
        lambda connection: connection.exec_driver_sql("UPDATE copies SET alias = NULL") and None
    )
    reclaim(rig)
    assert data_of(rig, blob_name(blob)) is not None


def test_a_name_that_no_end_was_written_for_is_a_leftover_and_goes(rig: Rig) -> None:
    rig.put("a", stored=3)
    blob_id = rig.blob_ids("a")[0]
    name = blob_name(blob_id, "0123abcd")
    rig.nodes.stores[rig.ids[NODE]].blobs[name] = b"half a repair", time.time() - orphans.OLD
    assert reclaim(rig)["leftovers"] == 1
    assert data_of(rig, name) is None
    assert data_of(rig, blob_name(blob_id)) is not None


def test_a_census_knows_a_copy_by_the_name_it_has(rig: Rig, blob: str) -> None:
    mended(rig, blob)
    row = rig.catalogue.nodes.all()[NODE]
    absent = rig.catalogue.scrubs.absent
    rig.suspect(blob, NODE)
    alias = rig.details("a")[0, row.id].alias
    assert absent(row.id, blob[30], {BlobName(blob, alias)}, 0) == (0, None)
    assert absent(row.id, blob[30], {BlobName(blob)}, 0) == (1, None)
