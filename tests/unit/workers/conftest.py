from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.workers.orphans import NODE
from tests.unit.workers.rig import Rig, migrated


@pytest.fixture(scope="session")
def empty_catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return migrated(tmp_path_factory.mktemp("catalogue") / "empty.db")


@pytest.fixture
def rig(empty_catalogue: Path, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(empty_catalogue, tmp_path)
    yield made
    made.close()


@pytest.fixture
def four(empty_catalogue: Path, tmp_path: Path) -> Iterator[Rig]:
    """Four nodes; objects are put on the first three."""
    made = Rig(empty_catalogue, tmp_path, nodes=4)
    yield made
    made.close()


@pytest.fixture
def node(rig: Rig) -> str:
    for node_id in rig.ids:
        rig.identify(node_id)
    return rig.ids[NODE]
