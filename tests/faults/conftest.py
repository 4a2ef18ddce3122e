"""A cluster of its own for every disaster, so that one leaves nothing behind for the next.

A module may give it `SETTINGS` (for the environment) and `OPTIONS` (for `boveda up`).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster import Cluster, running_cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    settings = {"BOVEDA_DOOM_DELAY": "1", **getattr(request.module, "SETTINGS", {})}
    home = tmp_path_factory.mktemp("faults") / "home"
    with running_cluster(home, *getattr(request.module, "OPTIONS", ()), **settings) as running:
        yield running
