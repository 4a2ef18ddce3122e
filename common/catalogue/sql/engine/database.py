"""One database, read and written: connections, locks, repetition, and what became of a COMMIT.

Reading is autocommit. Writing is one transaction given as a function, so that it can be run again:

- SQLite: under a lock of our own, then BEGIN IMMEDIATE (`writer`). Its own busy handler sleeps up to 100 ms at a time,
  which made the p99 of a loaded store.
- PostgreSQL: READ COMMITTED; 40001 and 40P01 are repeated 10 times with 5 to 100 ms of jitter.

A COMMIT whose answer is lost is in doubt. `write(..., landed=...)` then finds out. Without `landed` it is told as a
failure, though it may have taken effect: for work that is only repeated, by whoever did it, without harm.

- SQLite: `landed` looks, under the writer lock.
- PostgreSQL: for up to 5 s, from fresh connections. What `landed` sees is there. Otherwise the transaction's id is
  asked for. `aborted` did not land. `committed` did, and its effect is no longer to be seen; but only while the server
  is the one that gave the id out. After a crash it gives those ids out again of which nothing was on its disk, and
  another's success would be taken for ours. Then the outcome is unknown.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar, cast

from sqlalchemy import Connection, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from common.catalogue.sql.engine.writer import LOCK_SECONDS, GroupWriter, WriterLock
from common.errors import CatalogueUnavailable, OutcomeUnknown

T = TypeVar("T")

REPEATS = 10
DOUBT_SECONDS = 5.0
POOL_SIZE = 16
REPEATABLE = ("40001", "40P01")


class Database:
    """`clock` is the time of SQLite; PostgreSQL has its own."""

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        parsed = make_url(url)
        self.sqlite = parsed.get_backend_name() == "sqlite"
        self._clock = clock
        if self.sqlite:
            database = parsed.database or ""
            self._lock = WriterLock(Path(database))
            self.engine = create_engine(
                parsed,
                hide_parameters=True,  # object names and wrapped keys are among them
                pool_size=POOL_SIZE,
                max_overflow=POOL_SIZE,
                connect_args={"check_same_thread": False, "isolation_level": None, "timeout": LOCK_SECONDS},
            )
            event.listen(self.engine, "connect", _prepare_sqlite)
            self._writer = GroupWriter(self.engine, self._lock)
            self.reading = self.engine
        else:
            parsed = parsed.set(drivername="postgresql+psycopg")
            self.engine = create_engine(
                parsed,
                isolation_level="READ COMMITTED",
                hide_parameters=True,  # object names and wrapped keys are among them
                pool_size=POOL_SIZE,
                max_overflow=POOL_SIZE,
                pool_timeout=LOCK_SECONDS,
                connect_args={
                    "connect_timeout": 2,
                    # A server that vanished without a word is given up: idle after 20 s, amid a statement after 10.
                    "keepalives_idle": 5,
                    "keepalives_interval": 5,
                    "keepalives_count": 3,
                    "tcp_user_timeout": 10_000,  # milliseconds
                    "options": "-c statement_timeout=10000 -c lock_timeout=5000 "
                    "-c idle_in_transaction_session_timeout=15000",
                },
            )
            event.listen(self.engine, "connect", _note_server)
            self.reading = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    def close(self) -> None:
        self.engine.dispose()

    def writer_lock(self) -> AbstractContextManager[None]:
        """SQLite's writer lock alone, for work that makes its own transactions."""
        return self._lock.held(time.monotonic() + LOCK_SECONDS)

    def now(self, connection: Connection) -> float:
        if self.sqlite:
            return self._clock()
        return float(connection.execute(_PG_NOW).scalar_one())

    @contextmanager
    def patient(self, connection: Connection, seconds: int) -> Iterator[None]:
        """For what reads much: meanwhile a statement may take so long. SQLite has no limit."""
        if self.sqlite:
            yield
            return
        connection.exec_driver_sql(f"SET statement_timeout = '{seconds}s'")
        try:
            yield
        finally:
            connection.exec_driver_sql("RESET statement_timeout")

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run reading work; once more if the connection turns out to be dead."""
        for attempt in (1, 2):
            try:
                with self.reading.connect() as connection:
                    return work(connection)
            except (SQLAlchemyError, PoolTimeout) as error:
                if attempt == 1 and _disconnected(error):
                    continue
                raise _translated(error) from error
        raise AssertionError("unreachable")

    def write(self, work: Callable[[Connection], T], landed: Callable[[Connection], bool] | None = None) -> T:
        """Run one writing transaction. `landed` tells from a fresh look whether its effect is there; or `unseen`."""
        for attempt in range(1, REPEATS + 1):
            try:
                if self.sqlite:
                    return cast(T, self._writer.write(work, landed))
                return self._write_postgres(work, landed)
            except (SQLAlchemyError, PoolTimeout) as error:
                if attempt == REPEATS or not (_repeatable(error) or (attempt < 3 and _disconnected(error))):
                    raise _translated(error) from error
                time.sleep(random.uniform(0.005, 0.1))  # noqa: S311 - jitter, not a secret
        raise AssertionError("unreachable")

    def _write_postgres(self, work: Callable[[Connection], T], landed: Callable[[Connection], bool] | None) -> T:
        """With `landed` a COMMIT whose answer is lost is looked after."""
        with self.engine.connect() as connection:
            result = work(connection)
            server = connection.info[_SERVER]
            transaction = connection.execute(_PG_TRANSACTION).scalar_one() if landed is not None else ""
            try:
                connection.commit()
            except DBAPIError as error:
                if _repeatable(error) or not _disconnected(error):
                    raise
                if landed is None:
                    raise CatalogueUnavailable("the catalogue did not say whether it took the change") from error
                if not self._committed(transaction, server, landed):
                    raise CatalogueUnavailable("the catalogue did not take the change; nothing was stored") from error
            return result

    def _committed(self, transaction: str, server: str, landed: Callable[[Connection], bool]) -> bool:
        """What became of a COMMIT in doubt: True it landed, False surely not, OutcomeUnknown after 5 s."""
        end = time.monotonic() + DOUBT_SECONDS
        while time.monotonic() < end:
            try:
                with self.reading.connect() as connection:
                    status = connection.execute(_PG_STATUS, {"id": transaction}).scalar_one()
                    if landed(connection):
                        return True
                    if status == "aborted":
                        return False
                    if status == "committed":
                        if connection.info[_SERVER] == server:
                            return True
                        break
            except (SQLAlchemyError, PoolTimeout):
                pass  # still away: the loop's end is the limit
            time.sleep(0.1)
        raise OutcomeUnknown("the database did not say whether the change was stored; look before repeating it")


def unseen(_connection: Connection) -> bool:
    """The `landed` of work that leaves nothing to know it by. On SQLite it counts as undone: a COMMIT that fails is. On
    PostgreSQL its transaction's id tells."""
    return False


_SERVER = "server"
"""In a connection's `info`: the run of the server that it is connected to."""

# A crash of one backend has the server recover without a new start; that resets its statistics.
_PG_SERVER = "SELECT pg_postmaster_start_time()::text || coalesce((SELECT stats_reset FROM pg_stat_wal)::text, '')"
_PG_NOW = text("SELECT extract(epoch FROM clock_timestamp())")
_PG_TRANSACTION = text("SELECT pg_current_xact_id()::text")
_PG_STATUS = text("SELECT pg_xact_status(CAST(CAST(:id AS text) AS xid8))")


def _prepare_sqlite(connection: object, _entry: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "temp_store = MEMORY"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _note_server(connection: object, entry: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute(_PG_SERVER)
    entry.info[_SERVER] = cursor.fetchone()[0]
    cursor.close()
    connection.rollback()  # type: ignore[attr-defined]


def _repeatable(error: Exception) -> bool:
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in REPEATABLE


def _disconnected(error: Exception) -> bool:
    return (
        isinstance(error, DBAPIError)
        and (error.connection_invalidated or isinstance(error, InterfaceError | OperationalError))
        and getattr(error.orig, "sqlstate", None) in (None, "57P01", "57P02", "57P03", "08006", "08003", "08000")
    )


def _translated(error: Exception) -> Exception:
    """What a caller may see. An error in our own SQL stays what it is: a fault to be found, not a state."""
    if isinstance(error, PoolTimeout | OperationalError | InterfaceError) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    ):
        return CatalogueUnavailable("the catalogue cannot be reached or is busy")
    return error
