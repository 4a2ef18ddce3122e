"""One suite over both databases. Each is migrated once; every test gets an empty one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.catalogue.migrate import upgrade
from common.catalogue.sql import SqlCatalogue, open_catalogue
from common.catalogue.sql.engine.tables import metadata
from tests.contract.catalogue.stage import Stage
from tests.support.servers import RealPostgres


def migrated(url: str) -> None:
    catalogue = open_catalogue(url)
    upgrade(catalogue)
    catalogue.close()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("catalogue") / "template.db"
    migrated(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_postgres_url(postgres_server: RealPostgres) -> str:
    url = postgres_server.url(postgres_server.create())
    migrated(url)
    return url


@pytest.fixture
def sqlite_catalogue_url(sqlite_template: Path, tmp_path: Path) -> str:
    path = shutil.copy(sqlite_template, tmp_path / "catalogue.db")
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_catalogue_url(migrated_postgres_url: str) -> str:
    """Emptied, not made anew: that takes PostgreSQL half a second."""
    catalogue = open_catalogue(migrated_postgres_url)
    names = ", ".join(table.name for table in metadata.sorted_tables if table.name != "cluster")
    with catalogue.database.engine.begin() as connection:
        connection.exec_driver_sql(f"TRUNCATE {names} RESTART IDENTITY CASCADE")
    catalogue.close()
    return migrated_postgres_url


@pytest.fixture(params=["sqlite", "postgres"])
def catalogue(request: pytest.FixtureRequest) -> Iterator[SqlCatalogue]:
    opened = open_catalogue(request.getfixturevalue(f"{request.param}_catalogue_url"))
    yield opened
    opened.close()


@pytest.fixture
def stage(catalogue: SqlCatalogue) -> Stage:
    return Stage(catalogue)
