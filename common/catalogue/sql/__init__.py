"""The catalogue on SQLAlchemy Core: SQLite for one machine, PostgreSQL for more."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import select

from common.catalogue.sql import status, totals
from common.catalogue.sql.access import SqlKeks, SqlLeases, SqlTokens
from common.catalogue.sql.copies.copies import SqlCopies
from common.catalogue.sql.copies.dead_letters import SqlDeadLetters
from common.catalogue.sql.copies.locked_names import SqlLockedNames
from common.catalogue.sql.copies.relocations import SqlRelocations
from common.catalogue.sql.engine.database import Database
from common.catalogue.sql.engine.tables import cluster
from common.catalogue.sql.jobs import SqlJobs
from common.catalogue.sql.last_ends import SqlLastEnds
from common.catalogue.sql.nodes import SqlNodes
from common.catalogue.sql.orphans import SqlOrphans
from common.catalogue.sql.scrubs import SqlScrubs
from common.catalogue.sql.topology import SqlTopology
from common.catalogue.sql.versions.buckets import SqlBuckets
from common.catalogue.sql.versions.commits import SqlCommits
from common.catalogue.sql.versions.expiry import SqlExpiry
from common.catalogue.sql.versions.lookups import SqlLookups
from common.catalogue.sql.versions.uploads import SqlUploads
from common.catalogue.status import StatusCounts
from common.errors import CatalogueUnavailable


class SqlObjects(SqlCommits, SqlLookups, SqlExpiry):
    def __init__(self, database: Database) -> None:
        self._database = database


class SqlCatalogue:
    """`common.catalogue.base.Catalogue` over one database."""

    def __init__(self, database: Database, copies: int, write_copies: int) -> None:
        self.database = database
        self.buckets = SqlBuckets(database, copies, write_copies)
        self.objects = SqlObjects(database)
        self.uploads = SqlUploads(database)
        self.copies = SqlCopies(database)
        self.dead_letters = SqlDeadLetters(database)
        self.relocations = SqlRelocations(database)
        self.scrubs = SqlScrubs(database)
        self.orphans = SqlOrphans(database)
        self.locked_names = SqlLockedNames(database)
        self.nodes = SqlNodes(database)
        self.topology = SqlTopology(database)
        self.jobs = SqlJobs(database)
        self.leases = SqlLeases(database)
        self.last_ends = SqlLastEnds(database)
        self.keks = SqlKeks(database)
        self.tokens = SqlTokens(database)

    def now(self) -> float:
        return self.database.read(self.database.now)

    def ready(self) -> None:
        if self.database.read(lambda connection: connection.execute(select(cluster.c.id)).first()) is None:
            raise CatalogueUnavailable("the catalogue is empty: run the migration")

    def status(self, kept: StatusCounts | None = None) -> StatusCounts:
        return status.status(self.database, kept)

    def fold_totals(self, limit: int = 500) -> int:
        return totals.fold(self.database, limit)

    def close(self) -> None:
        self.database.close()


def open_catalogue(
    url: str, *, clock: Callable[[], float] = time.time, copies: int = 3, write_copies: int = 1
) -> SqlCatalogue:
    """A catalogue on an SQLAlchemy URL; nothing connects yet. `copies`, `write_copies`: defaults of new buckets."""
    return SqlCatalogue(Database(url, clock), copies, write_copies)
