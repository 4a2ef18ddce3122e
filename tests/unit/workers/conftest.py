from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.workers.rig import Rig, migrated


@pytest.fixture(scope="session")
def empty_catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return migrated(tmp_path_factory.mktemp("catalogue") / "empty.db")


@pytest.fixture
def rig(empty_catalogue: Path, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(empty_catalogue, tmp_path)
    yield made
    made.close()
