"""A byte changes on a node's disk, under the server: it refuses that name and serves all others (scenarios 15, 16, 20).

That is evidence about a copy, not about the node. It is read around, mended, told, and never counted as good. These are
MinIO's disks; `test_rot_on_seaweedfs` has the other kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from common.model.sizes import MIB
from tests.faults.rot import SECONDS, Bad, Disks, assert_mended, rotten, run_job
from tests.support.cluster import Cluster
from tests.support.shared import wish
from tests.support.waiting import wait_until

CLUSTER = wish("--node-kind", "minio", BOVEDA_SCRUB_PERIOD="2", BOVEDA_LOG_FORMAT="json")
# Within xl.meta and beside it, one chunk and several, one blob of ours and two.
SIZES = (16 * 1024, 16 * 1024 + 1, 100_000, 200_000, 3 * MIB, 9 * MIB)
WORKERS = ("worker1", "worker2")


@pytest.fixture
def rot(cluster: Cluster, disks: Disks, prefix: str) -> Iterator[Bad]:
    yield from rotten(cluster, disks, prefix, SIZES)


@pytest.fixture
def scrub(cluster: Cluster) -> Iterator[Callable[[], None]]:
    """Starts the scrub, until the test ends."""
    yield lambda: cluster.act("start", "scrub")
    cluster.act("stop", "scrub")


@pytest.fixture
def idle_workers(cluster: Cluster) -> Iterator[Callable[[], None]]:
    """Nobody mends anything until the test calls this, or ends."""
    for name in WORKERS:
        cluster.act("stop", name)

    def start() -> None:
        for name in WORKERS:
            cluster.act("start", name)

    yield start
    start()


def test_reads_are_right_and_find_the_copies_that_are_rotten_on_a_disk(
    cluster: Cluster, disks: Disks, rot: Bad
) -> None:
    def read() -> bool:
        rot.read()
        return rot.proven()

    wait_until(read, SECONDS, "the rotten copies are mended for being read")
    assert_mended(cluster, disks, rot)


def test_a_scrub_job_finds_the_copies_that_are_rotten_on_a_disk(
    cluster: Cluster, disks: Disks, rot: Bad, prefix: str
) -> None:
    report = run_job(cluster, "scrub", prefix)
    assert (report["damaged"], report["missing"], report["unreachable"]) == (len(rot.objects), 0, 0)
    assert_mended(cluster, disks, rot)


def test_a_repair_job_mends_the_copies_that_are_rotten_on_a_disk(
    cluster: Cluster, disks: Disks, rot: Bad, prefix: str
) -> None:
    report = run_job(cluster, "repair", prefix)
    assert (report["before"]["damaged"], report["after"]["damaged"]) == (len(rot.objects), 0)
    assert (report["repaired"], report["unreachable"]) == (len(rot.objects), 0)
    assert_mended(cluster, disks, rot)


def test_rot_on_a_disk_that_nobody_reads_is_found_by_the_scrub(
    cluster: Cluster, disks: Disks, rot: Bad, scrub: Callable[[], None]
) -> None:
    scrub()
    assert_mended(cluster, disks, rot)


def test_a_copy_known_to_be_rotten_on_a_disk_does_not_count_as_good(
    cluster: Cluster, disks: Disks, rot: Bad, scrub: Callable[[], None], idle_workers: Callable[[], None]
) -> None:
    scrub()
    wait_until(lambda: {copy["state"] for copy in rot.copies()} == {"suspect"}, SECONDS, "all are known to be bad")
    assert cluster.status()["copies"]["suspect"] == len(rot.objects)
    for stored in rot.objects:
        shown = cluster.json("stat", stored.key)["object"]
        assert (shown["copies"], shown["state"]) == ({"wanted": 3, "stored": 2}, "degraded")
    assert all(copy["last_error"] for copy in rot.copies())
    rot.read()
    idle_workers()
    assert_mended(cluster, disks, rot)
