"""Bring the catalogue's schema up to date and fill in what must exist. Run once, before the processes start.

1. Under one lock (the writer's on SQLite, an advisory one on PostgreSQL): all migrations up to the newest.
2. Cluster id and generation, if there are none; sweep and health are waited for. 3. The Spanish door's bucket. 4. Nodes
of BOVEDA_NODES_FILE that are not known yet, as `new`; their buckets are made when the node answers for the first time.
Those that an operator removed are left out while the list names them at the same endpoint.

    python -m common.catalogue.migrate
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, insert, select, text
from sqlalchemy.exc import SQLAlchemyError

from common.catalogue.sql import SqlCatalogue, open_catalogue
from common.catalogue.sql.engine.tables import cluster
from common.catalogue.sql.last_ends import begin
from common.errors import BovedaError, CatalogueUnavailable
from common.model.names import SPANISH_BUCKET, new_id
from common.nodes_file import read_nodes
from common.settings import Settings, load

_LOCK = 0x626F76656461  # "boveda"


def migrate(settings: Settings) -> Sequence[str]:
    """All of it, idempotent. CatalogueUnavailable, ConfigurationError, Conflict.

    The names in BOVEDA_NODES_FILE that were left out, because these nodes were removed.
    """
    specs = read_nodes(settings.nodes_file) if settings.nodes_file else []
    catalogue = open_catalogue(settings.database, copies=settings.copies, write_copies=settings.write_copies)
    try:
        upgrade(catalogue)
        catalogue.buckets.put(SPANISH_BUCKET, None, None)
        return catalogue.nodes.register(specs)
    finally:
        catalogue.close()


def upgrade(catalogue: SqlCatalogue) -> None:
    """The schema, and the cluster's row."""
    database = catalogue.database
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))

    def create(connection: Connection) -> None:
        if connection.execute(select(cluster.c.id)).first() is None:
            now = database.now(connection)
            connection.execute(insert(cluster).values(one=1, id=new_id(), generation=new_id(), created_at=now))
        begin(connection, database.now(connection))

    try:
        with database.writer_lock() if database.sqlite else nullcontext(), database.engine.connect() as connection:
            if not database.sqlite:
                connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
                connection.commit()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
            if not database.sqlite:
                connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})
                connection.commit()
    except SQLAlchemyError as error:
        raise CatalogueUnavailable(f"the catalogue cannot be migrated: {type(error).__name__}") from error
    database.write(create)


def main() -> int:
    try:
        for name in migrate(load()):
            print(f"migrate: {name} was removed, and is left out; `boveda nodes add` brings it back")  # noqa: T201
    except BovedaError as error:
        print(f"migrate: {error.detail}", file=sys.stderr)  # noqa: T201 - a command's own voice
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
