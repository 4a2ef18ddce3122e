"""SQLite's shared writer: what one thread's failure means for the others, and what is told when a COMMIT fails."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import OperationalError

from common.catalogue.sql.engine.database import Database
from common.catalogue.sql.engine.writer import WriterLock
from common.errors import CatalogueUnavailable, Conflict, OutcomeUnknown


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path}/writer.db")
    opened.write(lambda connection: connection.exec_driver_sql("CREATE TABLE t (n INTEGER PRIMARY KEY)"))
    yield opened
    opened.close()


def insert(number: int) -> Callable[[Connection], int]:
    def work(connection: Connection) -> int:
        connection.execute(text("INSERT INTO t VALUES (:n)"), {"n": number})
        return number

    return work


def numbers(database: Database) -> list[int]:
    return database.read(lambda connection: list(connection.exec_driver_sql("SELECT n FROM t ORDER BY n").scalars()))


def there(number: int) -> Callable[[Connection], bool]:
    return lambda connection: (
        connection.execute(text("SELECT n FROM t WHERE n = :n"), {"n": number}).first() is not None
    )


def together(database: Database, *works: Callable[[Connection], object]) -> list[Future[object]]:
    """Run pieces of work in one batch, in this order: they gather while another process has the lock."""
    other = WriterLock(Path(str(database.engine.url.database)))
    with ThreadPoolExecutor(len(works)) as pool:
        with other.held(time.monotonic() + 1):
            futures: list[Future[object]] = []
            for work in works:
                futures.append(pool.submit(database.write, work))
                while len(database._writer._queue) < len(futures):
                    time.sleep(0.001)
        return futures


def fail_next_commit(database: Database, before: bool) -> None:
    """The next COMMIT raises; `before` it took effect, or after."""
    left = [True]

    def commit(connection: Connection) -> None:
        if left:
            left.clear()
            if not before:
                connection.connection.dbapi_connection.commit()  # type: ignore[union-attr]
            raise OperationalError("COMMIT", None, sqlite3.OperationalError("disk I/O error"))

    event.listen(database.engine, "commit", commit)


def test_a_refused_piece_takes_nothing_of_its_batch_with_it(database: Database) -> None:
    def refuse(connection: Connection) -> None:
        insert(2)(connection)
        raise Conflict("no")

    one, two, three = together(database, insert(1), refuse, insert(3))
    assert (one.result(), three.result()) == (1, 3)
    with pytest.raises(Conflict):
        two.result()
    assert numbers(database) == [1, 3]


def test_an_error_of_the_database_undoes_the_batch_and_the_others_write_again(database: Database) -> None:
    first = [True]

    def broken(connection: Connection) -> int:
        if first:
            first.clear()
            raise OperationalError("INSERT", None, sqlite3.OperationalError("disk I/O error"))
        return insert(2)(connection)

    results = together(database, insert(1), broken, insert(3))
    assert [future.result() for future in results] == [1, 2, 3]
    assert numbers(database) == [1, 2, 3]


def test_a_transaction_that_cannot_begin_is_repeated_for_all_of_its_batch(database: Database) -> None:
    first = [True]

    def begin(_connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        if first and statement.startswith("BEGIN"):
            first.clear()
            raise OperationalError("BEGIN", None, sqlite3.OperationalError("database is locked"))

    event.listen(database.engine, "before_cursor_execute", begin)
    results = together(database, insert(1), insert(2), insert(3))
    assert [future.result() for future in results] == [1, 2, 3]
    assert numbers(database) == [1, 2, 3]


def test_a_commit_that_failed_after_it_took_effect_is_a_success(database: Database) -> None:
    fail_next_commit(database, before=False)
    assert database.write(insert(1), landed=there(1)) == 1
    assert numbers(database) == [1]


def test_a_commit_that_failed_before_it_took_effect_is_repeated(database: Database) -> None:
    fail_next_commit(database, before=True)
    assert database.write(insert(1), landed=there(1)) == 1
    assert numbers(database) == [1]


def test_nobody_is_asked_whether_work_landed_that_was_never_committed(database: Database) -> None:
    def broken(_connection: Connection) -> None:
        raise OperationalError("INSERT", None, sqlite3.OperationalError("disk I/O error"))

    def asked(_connection: Connection) -> bool:
        raise AssertionError("nothing was committed")

    with pytest.raises(CatalogueUnavailable):
        database.write(broken, landed=asked)


def test_a_commit_whose_look_fails_too_is_of_unknown_outcome(database: Database) -> None:
    def away(_connection: Connection) -> bool:
        raise OperationalError("SELECT", None, sqlite3.OperationalError("disk I/O error"))

    fail_next_commit(database, before=True)
    with pytest.raises(OutcomeUnknown):
        database.write(insert(1), landed=away)


def test_who_waits_too_long_is_told_so_and_its_work_never_runs(database: Database) -> None:
    other = WriterLock(Path(str(database.engine.url.database)))
    with other.held(time.monotonic() + 1), ThreadPoolExecutor(3) as pool:
        started = time.monotonic()
        futures = [pool.submit(database.write, insert(number)) for number in range(3)]
        for future in futures:
            with pytest.raises(CatalogueUnavailable, match="busy"):
                future.result()
        assert time.monotonic() - started < 4
    assert numbers(database) == []
    assert database.write(insert(7)) == 7, "the writer goes on afterwards"


def test_whoever_was_stopped_while_it_stood_next_in_line_is_passed_by(database: Database) -> None:
    path = Path(str(database.engine.url.database))
    standing = WriterLock(path)
    _, following = standing._opened()
    assert standing._poll(following, time.monotonic() + 1)
    assert database.write(insert(1)) == 1


def test_many_threads_write_each_of_their_rows_once(database: Database) -> None:
    def run(thread: int) -> None:
        for number in range(25):
            database.write(insert(thread * 100 + number))

    threads = [threading.Thread(target=run, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(numbers(database)) == 200
