"""A world with three nodes and one bucket of three copies; blobs of 2 MiB keep the bodies small.

All tests share one database, emptied before each: a new engine would compile every statement anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from common.catalogue.migrate import upgrade
from common.catalogue.sql import SqlCatalogue, open_catalogue
from common.catalogue.sql.engine.tables import cluster, metadata
from common.model.sizes import MIB
from common.settings import Settings
from tests.unit.api.use_cases.world import World, content

MakeWorld = Callable[..., World]


@pytest.fixture(scope="package")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlCatalogue]:
    catalogue = open_catalogue(f"sqlite:///{tmp_path_factory.mktemp('catalogue')}/catalogue.db")
    upgrade(catalogue)
    yield catalogue
    catalogue.close()


@pytest.fixture
def make_world(catalogue: SqlCatalogue, tmp_path: Path) -> Iterator[MakeWorld]:
    made: list[World] = []

    def make(nodes: int = 3, copies: int = 3, blob_size: int = 2 * MIB) -> World:
        assert not made, "one world a test: they would share the catalogue"
        catalogue.database.write(_empty)
        own = SqlCatalogue(catalogue.database, copies, 1)  # so that a test may spoil it
        made.append(World(own, Settings(home=tmp_path, blob_size=blob_size), nodes, copies))
        return made[0]

    yield make
    for world in made:
        world.close()


def _empty(connection: Connection) -> None:
    for table in reversed(metadata.sorted_tables):
        if table is not cluster:
            connection.execute(table.delete())


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world()


@pytest.fixture
def wide(make_world: Callable[..., World]) -> World:
    """Blobs of four chunks, and an object of two blobs on all three nodes."""
    world = make_world(blob_size=4 * MIB)
    world.put(content(6 * MIB + 9), write_copies=3)
    return world
