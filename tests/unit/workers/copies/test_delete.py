from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from common.blobstore.base import Deadline
from common.errors import NoSuchObject
from common.model.names import blob_name
from common.model.nodes import NodeHealth
from common.model.versions import Preconditions
from common.model.work import CopyAction
from tests.unit.workers.rig import BUCKET, Rig
from workers.copies.claims import Claims
from workers.copies.delete import Delete
from workers.copies.outcomes import OutcomeWriter
from workers.copies.slots import NodeSlots
from workers.leases import HeldLeases


def doomed(rig: Rig, stored: int = 3, blobs: int = 1) -> list[str]:
    """Ids of blobs of a deleted object whose copies are doomed."""
    rig.put("a", stored=stored, blobs=blobs)
    ids = rig.blob_ids("a")
    rig.catalogue.objects.delete(BUCKET, "a", Preconditions())
    rig.clock.now += 31
    rig.catalogue.objects.doom_copies(30)
    return ids


def test_doomed_copies_are_removed_from_every_node(rig: Rig) -> None:
    ids = doomed(rig, stored=3, blobs=10)
    assert rig.worker.delete(ids) == 30
    assert all(not store.blobs for store in rig.nodes.stores.values())
    assert rig.worker.delete(ids) == 0


def test_a_node_is_asked_once_for_all_its_names(rig: Rig) -> None:
    rig.worker.delete(doomed(rig, stored=3, blobs=10))
    assert [operation for operation, _ in rig.nodes.stores[rig.ids[0]].calls] == ["delete_many"]


def test_a_copy_on_a_node_that_is_down_goes_when_it_is_back(rig: Rig) -> None:
    ids = doomed(rig, stored=3)
    rig.nodes.see(rig.ids[1], NodeHealth.DOWN)
    assert rig.worker.delete(ids) == 2
    assert blob_name(ids[0]) in rig.nodes.stores[rig.ids[1]].blobs
    rig.nodes.see(rig.ids[1])
    assert rig.worker.delete(ids) == 1
    assert not rig.nodes.stores[rig.ids[1]].blobs


def test_a_row_goes_only_when_its_node_has_confirmed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = doomed(rig, stored=3, blobs=2)
    store = rig.nodes.stores[rig.ids[0]]
    kept = blob_name(ids[0])

    def all_but_one(names: Sequence[str], deadline: Deadline) -> Mapping[str, str]:
        for name in names:
            if name != kept:
                store.delete(name, deadline)
        return {kept: "locked"}

    with monkeypatch.context() as patch:
        patch.setattr(store, "delete_many", all_but_one)
        assert rig.worker.delete(ids) == 6
    assert rig.worker.delete(ids) == 1
    assert not store.blobs


def test_a_failing_node_holds_up_no_other(rig: Rig) -> None:
    ids = doomed(rig, stored=3)
    rig.nodes.stores[rig.ids[0]].faults.down = True
    rig.worker.delete(ids)
    assert [len(rig.nodes.stores[node].blobs) for node in rig.ids] == [1, 0, 0]


def test_copies_of_a_current_version_are_never_deleted(rig: Rig) -> None:
    rig.put("a", stored=3)
    assert rig.worker.delete(rig.blob_ids("a")) == 0


def test_an_object_put_again_under_the_same_name_is_untouched(rig: Rig) -> None:
    old = doomed(rig, stored=3)
    (data,) = rig.put("a", stored=3)
    rig.worker.delete(old)
    assert rig.on_nodes(rig.blob_ids("a")[0]) == [data] * 3


def test_the_sweep_forgets_what_no_node_has_any_more(rig: Rig) -> None:
    rig.put("a", stored=3)
    rig.catalogue.objects.delete(BUCKET, "a", Preconditions())
    rig.clock.now += 31
    rig.worker.sweep()
    assert rig.work() == 1
    rig.worker.sweep()
    status = rig.catalogue.status()
    assert status.copies_doomed == 0
    with pytest.raises(NoSuchObject):
        rig.catalogue.objects.find(BUCKET, "a")
    assert all(not store.blobs for store in rig.nodes.stores.values())


def test_a_copy_whose_lease_is_over_is_not_removed_with_the_others(rig: Rig) -> None:
    ids = doomed(rig, stored=1, blobs=2)
    leases = HeldLeases(rig.catalogue.copies, rig.catalogue.leases, "w", 60)
    outcomes = OutcomeWriter(rig.catalogue.copies.end)
    outcomes.start()

    class Late(NodeSlots):
        def take(self, node_id: str) -> None:
            """While the task waits for its slot another worker claims one of its rows."""
            rig.clock.now += 61
            rig.catalogue.copies.claim(CopyAction.DELETE, ids[1:], rig.ids, "worker-2", 60)
            leases.renew()
            super().take(node_id)

    Delete(Claims(rig.catalogue, rig.nodes, leases, outcomes, rig.settings), rig.nodes, Late(1))(ids)
    outcomes.stop()
    assert list(rig.nodes.stores[rig.ids[0]].blobs) == [blob_name(ids[1])]
