"""A world with three nodes and one bucket of three copies; blobs of 2 MiB keep the bodies small."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.catalogue.migrate import upgrade
from common.catalogue.sql import open_catalogue
from common.objects import MIB
from common.settings import Settings
from tests.unit.api_use_cases.world import World

MakeWorld = Callable[..., World]


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the newest schema, to be copied: migrating takes longer than most tests here."""
    path = tmp_path_factory.mktemp("migrated") / "catalogue.db"
    catalogue = open_catalogue(f"sqlite:///{path}")
    upgrade(catalogue)
    catalogue.close()
    return path


@pytest.fixture
def make_world(migrated: Path, tmp_path: Path) -> Iterator[MakeWorld]:
    made: list[World] = []

    def make(nodes: int = 3, copies: int = 3, blob_size: int = 2 * MIB) -> World:
        path = tmp_path / f"catalogue{len(made)}.db"
        shutil.copy(migrated, path)
        settings = Settings(home=tmp_path, blob_size=blob_size)
        made.append(World(open_catalogue(f"sqlite:///{path}"), settings, nodes, copies))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world()
