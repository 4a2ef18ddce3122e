"""One suite over both databases, and a small stage that holds three nodes, a key and a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from common.catalogue.migrate import upgrade
from common.catalogue.sql import SqlCatalogue, open_catalogue
from tests.contract.catalogue.stage import Stage


@pytest.fixture(params=["sqlite", "postgresql"])
def catalogue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlCatalogue]:
    url = f"sqlite:///{tmp_path}/c.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    opened = open_catalogue(url)
    upgrade(opened)
    yield opened
    opened.close()


@pytest.fixture
def stage(catalogue: SqlCatalogue) -> Stage:
    return Stage(catalogue)
