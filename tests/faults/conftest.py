"""What tests of damage on nodes' disks share."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.faults.rot import Disks, disks_of
from tests.support.cluster import Cluster


@pytest.fixture(scope="module")
def disks(cluster: Cluster) -> Iterator[Disks]:
    """The nodes' disks. The scrub stands until a test starts it: what is read before was asked for."""
    cluster.act("stop", "scrub")
    with disks_of(cluster) as found:
        yield found


@pytest.fixture
def prefix() -> str:
    return secrets.token_hex(4)
