"""A byte changes on a SeaweedFS node's disk. It tries for 13 seconds at that chunk before it refuses it with 500.

So a reader takes it for a node that hangs, and a worker has to be patient once (see `workers/copies/check.py`).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from common.model.sizes import MIB
from tests.faults.rot import SECONDS, Bad, Disks, assert_mended, rotten, run_job
from tests.support.cluster import Cluster
from tests.support.shared import wish
from tests.support.waiting import wait_until

CLUSTER = wish("--node-kind", "seaweedfs", BOVEDA_SCRUB_PERIOD="2", BOVEDA_LOG_FORMAT="json")
SIZES = (16 * 1024, 9 * MIB)  # one chunk and several


@pytest.fixture
def rot(cluster: Cluster, disks: Disks, prefix: str) -> Iterator[Bad]:
    yield from rotten(cluster, disks, prefix, SIZES)


def test_reads_are_right_and_find_the_rotten_copies(cluster: Cluster, disks: Disks, rot: Bad) -> None:
    def read() -> bool:
        rot.read()
        return rot.proven()

    wait_until(read, SECONDS, "the rotten copies are mended for being read")
    assert_mended(cluster, disks, rot)


def test_a_repair_job_mends_the_rotten_copies(cluster: Cluster, disks: Disks, rot: Bad, prefix: str) -> None:
    report = run_job(cluster, "repair", prefix)
    assert (report["before"]["damaged"], report["after"]["damaged"]) == (len(rot.objects), 0)
    assert (report["repaired"], report["unreachable"]) == (len(rot.objects), 0)
    assert_mended(cluster, disks, rot)
