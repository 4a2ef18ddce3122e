"""Nodes come and go, and what would go with one is told before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from common.errors import CatalogueUnavailable, Conflict, NoSuchNode
from common.model.copies import CopyState
from common.model.names import new_id
from common.model.nodes import Node, NodeHealth, NodeMode, NodeSpec
from common.model.versions import Preconditions
from common.model.work import CopyAction, Outcome
from tests.contract.catalogue.race import race
from tests.contract.catalogue.stage import Stage, node_spec
from tests.contract.catalogue.test_objects import long_upload


def names(stage: Stage) -> list[str]:
    return [node.spec.name for node in stage.catalogue.nodes.all()]


def node(stage: Stage, name: str) -> Node:
    return next(row for row in stage.catalogue.nodes.all() if row.spec.name == name)


def drain(stage: Stage, name: str = "node3") -> None:
    stage.catalogue.nodes.set_mode(name, "draining", None)


def clear(stage: Stage, number: int) -> None:
    """Every row on that node goes, as when all of its copies were moved and deleted."""
    with stage.catalogue.database.engine.begin() as connection:
        connection.exec_driver_sql(f"DELETE FROM copies WHERE node_id = '{stage.nodes[number]}'")


def rows_on(stage: Stage, node_id: str) -> int:
    with stage.catalogue.database.reading.connect() as connection:
        found = connection.exec_driver_sql(f"SELECT count(*) FROM copies WHERE node_id = '{node_id}'")
        return int(found.scalar_one())


def test_an_added_node_is_new_and_not_seen_yet(stage: Stage) -> None:
    added = stage.catalogue.topology.add(NodeSpec("node4", "http://127.0.0.1:9004", "boveda", "file", "eu", "z", 2.0))
    assert added == node(stage, "node4")
    assert (added.spec.credentials, added.spec.zone, added.spec.weight) == ("file", "z", 2.0)
    assert (added.mode, added.health, added.identity) == (NodeMode.ACTIVE, NodeHealth.SUSPECT, "new")


@pytest.mark.parametrize(
    "spec",
    [
        NodeSpec("node1", "http://127.0.0.1:9009", "boveda", "x"),
        NodeSpec("other", node_spec(1).endpoint, "boveda", "x"),
    ],
    ids=["name", "place"],
)
def test_a_name_or_a_place_in_use_cannot_be_added(stage: Stage, spec: NodeSpec) -> None:
    with pytest.raises(Conflict):
        stage.catalogue.topology.add(spec)
    assert names(stage) == ["node1", "node2", "node3"]


def test_of_two_that_add_a_node_one_does(stage: Stage) -> None:
    add = lambda: stage.catalogue.topology.add(node_spec(4))  # noqa: E731
    one, two, _ = race(stage.catalogue, add, add, pause_before="INSERT INTO nodes")
    assert [type(error) for error in (one.error, two.error) if error is not None] == [Conflict]
    assert names(stage) == ["node1", "node2", "node3", "node4"]


def test_only_a_drained_and_empty_node_is_removed(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a")
    with pytest.raises(NoSuchNode):
        stage.catalogue.topology.remove("nobody")
    with pytest.raises(Conflict, match="active"):
        stage.catalogue.topology.remove("node3")
    drain(stage)
    with pytest.raises(Conflict, match="empty"):
        stage.catalogue.topology.remove("node3")
    assert not stage.catalogue.topology.empty()
    stage.replicate(blob_id)
    stage.catalogue.objects.delete("papers", "a", Preconditions())
    stage.catalogue.objects.doom_copies(0)
    with pytest.raises(Conflict, match="empty"):
        stage.catalogue.topology.remove("node3")  # its copy is still to be deleted there
    (claim,) = (claim for claim in stage.claim([blob_id], CopyAction.DELETE) if claim.node_id == stage.nodes[2])
    stage.catalogue.copies.end([Outcome(claim.copy_id, claim.fence, None)])
    assert stage.catalogue.topology.empty() == {stage.nodes[2]}
    stage.catalogue.topology.remove("node3")
    assert names(stage) == ["node1", "node2"]
    stage.catalogue.topology.add(node_spec(3))


def test_an_empty_node_that_is_not_draining_is_not_offered_for_removal(stage: Stage) -> None:
    assert stage.catalogue.topology.empty() == set()
    stage.catalogue.nodes.set_mode("node1", "paused", None)
    stage.catalogue.topology.retire("node2")
    drain(stage)
    assert stage.catalogue.topology.empty() == {stage.nodes[2]}


def test_a_retired_node_comes_back_as_active_or_not_at_all(stage: Stage) -> None:
    stage.put("a", stored=3)
    retired = stage.catalogue.topology.retire("node3")
    assert retired.mode is NodeMode.RETIRED
    assert stage.state("a") == "degraded"
    assert stage.catalogue.topology.retire("node3") == retired, "to say it again changes nothing"
    for mode in ("draining", "paused"):
        with pytest.raises(Conflict):
            stage.catalogue.nodes.set_mode("node3", mode, None)
    assert node(stage, "node3") == retired
    stage.catalogue.nodes.set_mode("node3", "active", None)
    assert stage.state("a") == "protected"
    with pytest.raises(NoSuchNode):
        stage.catalogue.topology.retire("nobody")


def test_a_pause_ends_only_if_it_is_the_one_that_was_seen(stage: Stage) -> None:
    end = stage.catalogue.nodes.end_pause
    stage.catalogue.nodes.set_mode("node1", "paused", 100.5)
    assert not end(stage.nodes[0], 99.0)
    assert node(stage, "node1").mode is NodeMode.PAUSED
    assert end(stage.nodes[0], 100.5)
    assert (node(stage, "node1").mode, node(stage, "node1").mode_until) == (NodeMode.ACTIVE, None)
    stage.catalogue.nodes.set_mode("node1", "draining", None)
    assert not end(stage.nodes[0], 100.5)
    assert node(stage, "node1").mode is NodeMode.DRAINING


@pytest.mark.parametrize("limit", [1, 2, 1000])
def test_the_last_copies_on_a_node_are_counted_in_pages(stage: Stage, limit: int) -> None:
    for number in range(3):
        stage.put(f"one{number}", stored=1)
        stage.put(f"two{number}", stored=2)
    _, blob_id, _ = stage.put("suspect", stored=1)
    stage.catalogue.copies.suspect(blob_id, stage.nodes[0], "absent")
    stage.put("gone", stored=1)
    stage.catalogue.objects.delete("papers", "gone", Preconditions())

    def only_on(number: int) -> int:
        count, after = 0, 0
        while True:
            found, next_after = stage.catalogue.topology.only_on(stage.nodes[number], after, limit)
            count += found
            if next_after is None:
                return count
            after = next_after

    assert [only_on(number) for number in range(3)] == [4, 0, 0]
    stage.see(NodeHealth.UP, NodeHealth.DOWN, NodeHealth.UP)
    assert only_on(0) == 4, "a node that is down has its copies still"
    stage.catalogue.topology.retire("node2")
    assert only_on(0) == 7, "one that was given up has none"
    stage.catalogue.topology.retire("node1")
    assert [only_on(0), only_on(1)] == [7, 3]


def remainders(stage: Stage, *without: int, limit: int = 500) -> dict[str, int]:
    seen: dict[str, int] = {}
    after = None
    while True:
        page, after = stage.catalogue.topology.remainders([stage.nodes[number] for number in without], after, limit)
        assert not set(seen) & {found.key for found in page}
        assert {found.bucket for found in page} <= {"papers"}
        seen |= {found.key: found.left for found in page}
        if after is None:
            return seen


@pytest.mark.parametrize("limit", [1, 2, 500])
def test_what_is_left_without_nodes_is_told_of_every_object(stage: Stage, limit: int) -> None:
    for stored in (1, 2, 3):
        stage.put(f"{stored}", stored=stored)
    stage.put("gone")
    stage.catalogue.objects.delete("papers", "gone", Preconditions())
    assert remainders(stage, limit=limit) == {"1": 1, "2": 2, "3": 3}
    assert remainders(stage, 0, limit=limit) == {"1": 0, "2": 1, "3": 2}
    assert remainders(stage, 0, 1, limit=limit) == {"1": 0, "2": 0, "3": 1}
    stage.see(NodeHealth.UP, NodeHealth.UP, NodeHealth.DOWN)
    assert remainders(stage, 0, limit=limit) == {"1": 0, "2": 1, "3": 1}, "what cannot be read now is not left either"


def test_the_worst_blob_of_an_object_decides_what_is_left(stage: Stage) -> None:
    upload, blobs = long_upload(stage)
    last = [(blobs[-1].blob.id, stage.nodes[0])]
    stage.catalogue.objects.commit(stage.version("long", upload, 3, 15), [], Preconditions(), last, uploading=True)
    stage.replicate(blobs[1].blob.id)
    assert remainders(stage) == {"long": 1}
    assert remainders(stage, 0) == {"long": 0}


# -- a commit against a node that goes


@pytest.mark.parametrize("how", ["remove", "lose"])
def test_a_commit_that_came_first_is_seen_by_who_takes_the_node_away(stage: Stage, how: str) -> None:
    drain(stage, "node1")
    go = stage.catalogue.topology.remove if how == "remove" else stage.catalogue.topology.retire
    put, gone, waited = race(
        stage.catalogue, lambda: stage.put("a"), lambda: go("node1"), pause_before="INSERT INTO copies"
    )
    assert put.error is None
    assert waited
    if how == "remove":
        assert isinstance(gone.error, Conflict)
        assert stage.state("a") == "replicating"
    else:
        assert gone.error is None
        (blob,), _ = stage.catalogue.relocations.examine(stage.nodes[0], 0)
        stored = [row.node_id for row in blob.rows if row.state is CopyState.STORED]
        assert stored == [stage.nodes[0]], "and is counted as lost"


@pytest.mark.parametrize(("how", "write"), [("remove", "DELETE FROM nodes"), ("lose", "UPDATE nodes")])
def test_a_commit_that_comes_after_a_node_went_is_refused(stage: Stage, how: str, write: str) -> None:
    drain(stage, "node1")
    go = stage.catalogue.topology.remove if how == "remove" else stage.catalogue.topology.retire
    gone, put, waited = race(stage.catalogue, lambda: go("node1"), lambda: stage.put("a"), pause_before=write)
    assert gone.error is None
    assert waited
    assert isinstance(put.error, CatalogueUnavailable)
    assert rows_on(stage, stage.nodes[0]) == 0


@pytest.mark.parametrize("how", ["remove", "lose"])
def test_a_long_upload_is_refused_when_a_node_with_a_part_of_it_went(stage: Stage, how: str) -> None:
    upload, blobs = long_upload(stage)
    version = stage.version("long", upload, 3, 15)
    drain(stage, "node1")
    if how == "remove":
        clear(stage, 0)
        stage.catalogue.topology.remove("node1")
    else:
        stage.catalogue.topology.retire("node1")
    last = [(blobs[-1].blob.id, stage.nodes[0])]
    with pytest.raises(CatalogueUnavailable):
        stage.catalogue.objects.commit(version, [], Preconditions(), last, uploading=True)
    if how == "remove":
        with pytest.raises(CatalogueUnavailable):
            stage.catalogue.objects.add_blob(upload, stage.new_blob(stage.blob(3), stored=0), last, 2e9)
    assert remainders(stage) == {}


def test_a_long_upload_with_another_copy_of_each_part_outlives_a_node(stage: Stage) -> None:
    upload, blobs = long_upload(stage)
    until = stage.catalogue.now() + 3600
    everywhere = [(blob.blob.id, stage.nodes[1]) for blob in blobs]
    stage.catalogue.objects.add_blob(upload, stage.new_blob(stage.blob(3), stored=0), everywhere, until)
    stage.catalogue.topology.retire("node1")
    with_last = [(stage.catalogue.objects.blobs(upload, 3)[0].blob.id, stage.nodes[1])]
    version = stage.version("long", upload, 4, 20)
    stage.catalogue.objects.commit(version, [], Preconditions(), with_last, uploading=True)
    assert remainders(stage) == {"long": 1}


@pytest.mark.parametrize("became", ["suspect", "missing"])
def test_a_long_upload_is_refused_when_the_only_copy_of_a_part_went(stage: Stage, became: str) -> None:
    upload, blobs = long_upload(stage)
    first = blobs[0].blob.id
    assert stage.catalogue.copies.suspect(first, stage.nodes[0], "seen wrong")
    if became == "missing":
        assert stage.catalogue.scrubs.absent(stage.nodes[0], first[30], [], 0) == (1, None)
    version = stage.version("long", upload, 3, 15)
    last = [(blobs[-1].blob.id, stage.nodes[1])]
    with pytest.raises(CatalogueUnavailable):
        stage.catalogue.objects.commit(version, [], Preconditions(), last, uploading=True)
    assert remainders(stage) == {}


def test_a_long_upload_is_refused_when_the_node_with_a_part_of_it_has_another_disk(stage: Stage) -> None:
    upload, blobs = long_upload(stage)
    version = stage.version("long", upload, 3, 15)
    last = [(blobs[-1].blob.id, stage.nodes[1])]
    stage.see(NodeHealth.FOREIGN, NodeHealth.UP, NodeHealth.UP)
    with pytest.raises(CatalogueUnavailable):
        stage.catalogue.objects.commit(version, [], Preconditions(), last, uploading=True)
    assert remainders(stage) == {}
    stage.see(NodeHealth.DOWN, NodeHealth.UP, NodeHealth.UP)
    stage.catalogue.objects.commit(version, [], Preconditions(), last, uploading=True)
    assert remainders(stage) == {"long": 0}, "what is only away comes back"


def test_a_copy_is_not_assigned_to_a_node_that_was_removed(stage: Stage) -> None:
    drain(stage)
    stage.put("a")
    ((copy_id, fence, *_),) = stage.catalogue.copies.unassigned()
    stage.catalogue.topology.remove("node3")
    assert not stage.catalogue.copies.assign(copy_id, fence, stage.nodes[2])
    assert not stage.catalogue.copies.assign(copy_id, fence, new_id())
    ((again, same, *_),) = stage.catalogue.copies.unassigned()
    assert (again, same) == (copy_id, fence)


def test_a_doubted_copy_or_one_on_a_foreign_node_does_not_make_up_for_a_lost_one(stage: Stage) -> None:
    _, blob_id, _ = stage.put("a", stored=2)
    lost = stage.nodes[0]
    assert stage.catalogue.topology.only_on(lost, 0) == (0, None)
    stage.see(NodeHealth.UP, NodeHealth.DOWN, NodeHealth.UP)
    assert stage.catalogue.topology.only_on(lost, 0) == (0, None), "a node that is down may come back"
    stage.see(NodeHealth.UP, NodeHealth.FOREIGN, NodeHealth.UP)
    assert stage.catalogue.topology.only_on(lost, 0) == (1, None)
    stage.see(NodeHealth.UP, NodeHealth.UP, NodeHealth.UP)
    assert stage.catalogue.copies.suspect(blob_id, stage.nodes[1], "wrong bytes")
    assert stage.catalogue.topology.only_on(lost, 0) == (1, None)


def test_a_node_is_full_since_that_was_first_seen(stage: Stage) -> None:
    times = [node(stage, "node1").writable_since]
    for writable in (False, False, True):
        stage.catalogue.nodes.set_writable(stage.nodes[0], writable)
        assert node(stage, "node1").writable is writable
        times.append(node(stage, "node1").writable_since)
    assert times[0] is None
    assert times[1] == times[2] < times[3]  # type: ignore[operator]


@pytest.mark.parametrize("lost", [False, True], ids=["drained", "given up"])
def test_a_removed_node_is_not_registered_again_until_somebody_adds_it(stage: Stage, lost: bool) -> None:
    if lost:
        node = stage.catalogue.topology.retire("node3")
        assert stage.catalogue.relocations.remove(node.id)
    else:
        stage.catalogue.nodes.set_mode("node3", "draining", None)
        stage.catalogue.topology.remove("node3")
    specs = [node_spec(number) for number in (1, 2, 3, 4)]
    assert stage.catalogue.nodes.register(specs) == ["node3"]
    assert [node.spec.name for node in stage.catalogue.nodes.all()] == ["node1", "node2", "node4"]
    stage.catalogue.topology.add(node_spec(3))
    assert stage.catalogue.nodes.register(specs) == []
    assert [node.spec.name for node in stage.catalogue.nodes.all()] == ["node1", "node2", "node3", "node4"]


def test_another_node_may_take_the_name_of_one_that_was_removed(stage: Stage) -> None:
    stage.catalogue.nodes.set_mode("node3", "draining", None)
    stage.catalogue.topology.remove("node3")
    another = replace(node_spec(3), endpoint="http://127.0.0.1:9999")
    assert stage.catalogue.nodes.register([another]) == []
    assert node(stage, "node3").spec.endpoint == "http://127.0.0.1:9999"
