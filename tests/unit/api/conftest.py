"""A fresh API over a fresh catalogue for each test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common.catalogue.migrate import upgrade
from common.catalogue.sql import open_catalogue
from common.settings import Settings
from tests.unit.api.world import ApiWorld

MakeApi = Callable[..., ApiWorld]


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the newest schema, to be copied: migrating takes longer than most tests here."""
    path = tmp_path_factory.mktemp("migrated") / "catalogue.db"
    catalogue = open_catalogue(f"sqlite:///{path}")
    upgrade(catalogue)
    catalogue.close()
    return path


@pytest.fixture
def make_api(migrated: Path, tmp_path: Path) -> Iterator[MakeApi]:
    made: list[ApiWorld] = []

    def make(**settings: Any) -> ApiWorld:
        path = tmp_path / f"catalogue{len(made)}.db"
        shutil.copy(migrated, path)
        made.append(ApiWorld(path, Settings(home=tmp_path, **settings)))
        return made[-1]

    yield make
    for api in made:
        api.close()


@pytest.fixture
def api(make_api: MakeApi) -> ApiWorld:
    return make_api()
