"""What MinIO knows about an object rots on its disk: it refuses that name for ever, to PUT and DELETE as well.

Writing over it heals nothing. The copy comes to lie under another name on that node, and the old name is given up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from common.model.sizes import MIB
from tests.faults.rot import NODE, NOTHING, SECONDS, Bad, Disks, Stored, run_job, store_first_there
from tests.support.cluster import Cluster
from tests.support.disk import Disk
from tests.support.shared import wish
from tests.support.waiting import wait_until

SIZES = (16 * 1024, 200_000, 9 * MIB)


CLUSTER = wish("--node-kind", "minio", BOVEDA_SCRUB_PERIOD="2", BOVEDA_LOG_FORMAT="json")


@pytest.fixture
def objects(cluster: Cluster, disks: Disks, prefix: str) -> Iterator[Sequence[Stored]]:
    """Their first copies lie on one node, the others elsewhere."""
    stored = [store_first_there(cluster, disks, prefix, size) for size in SIZES]
    cluster.wait_converged()
    yield stored
    for each in stored:
        cluster.delete(each.key)


def lock(cluster: Cluster, disks: Disks, objects: Sequence[Stored]) -> Bad:
    for stored in objects:
        disks[NODE].lock(stored.name)
    return Bad(cluster, objects)


@pytest.fixture
def scrub(cluster: Cluster) -> Iterator[Callable[[], None]]:
    """Starts the scrub, until the test ends."""
    yield lambda: cluster.act("start", "scrub")
    cluster.act("stop", "scrub")


def three_good_copies(cluster: Cluster, disks: Disks, stored: Stored) -> bool:
    """Whether three of its first blob are said to be stored, and are right where they are said to be."""
    copies = [copy for copy in cluster.copies(stored.key) if copy["blob"] == 0]
    places = {(copy["node"], copy["blob_key"]) for copy in copies}
    return (
        len(places) == 3
        and {copy["state"] for copy in copies} == {"stored"}
        and all(disks[node].read(name) == stored.sealed for node, name in places)
    )


def wait_three_good_copies(
    cluster: Cluster, disks: Disks, objects: Sequence[Stored], meanwhile: Callable[[], None] = lambda: None
) -> None:
    def good() -> bool:
        meanwhile()
        return all(three_good_copies(cluster, disks, stored) for stored in objects)

    wait_until(good, SECONDS, "three good copies of each")
    assert {cluster.json("stat", stored.key)["object"]["state"] for stored in objects} == {"protected"}
    wait_until(lambda: set(cluster.states().values()) == {"up"}, 20, "the node is not the trouble")


def assert_nothing_left(cluster: Cluster, disks: Disks, before: dict[str, set[str]]) -> None:
    """Not of the objects that were deleted: no row, and no name that a node shows."""
    wait_until(lambda: all(not shown(disks)[node] - before[node] for node in disks), SECONDS, "their blobs are gone")
    wait_until(lambda: cluster.status()["copies"] == NOTHING, SECONDS, "no row is left of what was deleted")
    assert cluster.status()["dead_letters"] == 0


def shown(disks: Disks) -> dict[str, set[str]]:
    return {node: disk.names("blobs/") for node, disk in disks.items()}


def test_reads_beside_a_locked_name_are_right_and_bring_its_copy_to_another_place(
    cluster: Cluster, disks: Disks, objects: Sequence[Stored]
) -> None:
    bad = lock(cluster, disks, objects)
    wait_three_good_copies(cluster, disks, objects, meanwhile=bad.read)


def test_a_repair_job_brings_a_copy_whose_name_is_locked_to_another_place(
    cluster: Cluster, disks: Disks, objects: Sequence[Stored], prefix: str
) -> None:
    lock(cluster, disks, objects)
    report = run_job(cluster, "repair", prefix)
    assert (report["repaired"], report["unreachable"]) == (len(objects), 0)
    wait_three_good_copies(cluster, disks, objects)
    listed = cluster.ask("GET", f"/v1/nodes/{NODE}/locked-names").json()["locked_names"]
    assert {stored.name for stored in objects} <= {each["name"] for each in listed}
    assert all("500" in each["error"] for each in listed)
    assert "names-locked" in {alert["name"] for alert in cluster.status()["alerts"]}


def test_a_name_that_was_removed_by_hand_is_forgotten_by_a_reclaim(
    cluster: Cluster, disks: Disks, objects: Sequence[Stored], prefix: str
) -> None:
    lock(cluster, disks, objects)
    run_job(cluster, "repair", prefix)
    for stored in objects:
        disks[NODE].remove(stored.name)
    asked = cluster.ask("POST", "/v1/jobs", json={"kind": "reclaim", "scope": {"node": NODE}})

    def forgotten() -> bool:
        listed = cluster.ask("GET", f"/v1/nodes/{NODE}/locked-names").json()["locked_names"]
        return not {stored.name for stored in objects} & {each["name"] for each in listed}

    wait_until(forgotten, SECONDS, f"the reclaim {asked.headers['Location']} forgets what is gone")
    wait_three_good_copies(cluster, disks, objects)


def test_a_locked_name_that_nobody_reads_is_found_by_the_scrub(
    cluster: Cluster, disks: Disks, objects: Sequence[Stored], scrub: Callable[[], None]
) -> None:
    lock(cluster, disks, objects)
    scrub()
    wait_three_good_copies(cluster, disks, objects)


def test_an_object_with_a_locked_name_can_be_deleted_before_anybody_noticed(
    cluster: Cluster, disks: Disks, prefix: str
) -> None:
    before = shown(disks)
    objects = [store_first_there(cluster, disks, prefix, size) for size in SIZES]
    cluster.wait_converged()
    lock(cluster, disks, objects)
    delete_all(cluster, prefix)
    assert_nothing_left(cluster, disks, before)


def test_an_object_with_a_locked_name_can_be_deleted_after_it_was_repaired(
    cluster: Cluster, disks: Disks, prefix: str
) -> None:
    before = shown(disks)
    objects = [store_first_there(cluster, disks, prefix, size) for size in SIZES]
    cluster.wait_converged()
    lock(cluster, disks, objects)
    run_job(cluster, "repair", prefix)
    wait_three_good_copies(cluster, disks, objects)
    delete_all(cluster, prefix)
    assert_nothing_left(cluster, disks, before)


def delete_all(cluster: Cluster, prefix: str) -> None:
    listed = cluster.ask("GET", f"/v1/buckets/archivos/objects?prefix={prefix}").json()["objects"]
    assert {cluster.delete(found["key"]).status for found in listed} == {204}


@pytest.mark.parametrize("damage", [Disk.forget, Disk.cut, Disk.remove_part], ids=lambda damage: damage.__name__)
def test_other_damage_to_what_minio_keeps_is_mended_under_the_same_name(
    cluster: Cluster, disks: Disks, prefix: str, damage: Callable[[Disk, str], None]
) -> None:
    stored = store_first_there(cluster, disks, prefix, 200_000)
    cluster.wait_converged()
    bad = Bad(cluster, [stored])
    damage(disks[NODE], stored.name)
    report = run_job(cluster, "repair", prefix)
    assert (report["unreachable"], report["repaired"]) == (0, 1)
    bad.wait_proven()
    assert [node for node, disk in disks.items() if disk.read(stored.name) != stored.sealed] == []


def test_an_object_of_which_minio_knows_nothing_any_more_can_be_deleted(
    cluster: Cluster, disks: Disks, prefix: str
) -> None:
    before = shown(disks)
    stored = store_first_there(cluster, disks, prefix, 200_000)
    cluster.wait_converged()
    disks[NODE].forget(stored.name)
    delete_all(cluster, prefix)
    assert_nothing_left(cluster, disks, before)
