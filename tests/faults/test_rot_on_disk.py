"""A byte changes on a node's disk, under the server: it refuses that name and serves all others (scenarios 15, 16, 20).

That is evidence about a copy, not about the node. It is read around, mended, told, and never counted as good.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest

from cli.cluster.home import servers
from common.model.sizes import MIB
from tests.faults.rot import NODE, NOTHING, SECONDS, Bad, Disks, disks_of, run_job, store_first_there
from tests.support.cluster import Cluster
from tests.support.servers import absent
from tests.support.shared import wish
from tests.support.waiting import wait_until

# Within MinIO's xl.meta and beside it, one chunk of SeaweedFS and several, one blob of ours and two.
SIZES = (16 * 1024, 16 * 1024 + 1, 100_000, 200_000, 3 * MIB, 9 * MIB)
WORKERS = ("worker1", "worker2")


@pytest.fixture(scope="module", params=servers.NODE_KINDS)
def cluster(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Its scrub stands until a test starts it: what is read before was asked for."""
    if servers.find_node(request.param) is None:
        absent(f"no {request.param} server is installed")
    home = tmp_path_factory.mktemp("faults") / "home"
    with wish("--node-kind", request.param, BOVEDA_SCRUB_PERIOD="2", BOVEDA_LOG_FORMAT="json").running(home) as running:
        running.act("stop", "scrub")
        yield running


@pytest.fixture(scope="module")
def disks(cluster: Cluster) -> Iterator[Disks]:
    with disks_of(cluster) as found:
        yield found


@pytest.fixture
def prefix() -> str:
    return secrets.token_hex(4)


@pytest.fixture
def rot(cluster: Cluster, disks: Disks, prefix: str) -> Iterator[Bad]:
    """Objects of all sizes, each with one byte changed on one node's disk."""
    objects = [store_first_there(cluster, disks, prefix, size) for size in SIZES]
    cluster.wait_converged()
    bad = Bad(cluster, objects)
    for stored in objects:
        disks[NODE].flip(stored.name, stored.sealed, len(stored.sealed) * 5 // 8)
    yield bad
    for stored in objects:
        assert cluster.delete(stored.key).status == 204


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


def assert_mended(cluster: Cluster, disks: Disks, rot: Bad) -> None:
    rot.wait_proven()
    for stored in rot.objects:
        assert [node for node, disk in disks.items() if disk.read(stored.name) != stored.sealed] == []
    assert rot.told("copy_repaired") == rot.ids
    assert rot.kept(disks) | rot.told("evidence_not_kept") == rot.ids, "it is kept, or told that it is not"
    wait_until(lambda: cluster.status()["copies"] == NOTHING, 20, "nothing is left to do")
    assert cluster.status()["dead_letters"] == 0
    assert set(cluster.states().values()) == {"up"}, "the node was never the trouble"


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
