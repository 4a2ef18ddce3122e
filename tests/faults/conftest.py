"""A cluster of its own for every disaster, so that one leaves nothing behind for the next."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster import Cluster, running_cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("faults") / "home", BOVEDA_DOOM_DELAY="1") as running:
        yield running
