"""SQLite's one writer, shared: a fair lock over all processes of a host, and one COMMIT for all threads of a process.

The lock has two files. Whoever wants to write takes `.next` and, holding it, waits for `.lock`; then lets `.next` go.
So a process that has just written stands behind the one that waits, and no process starves the others. Both are polled
(flock has no timeout), for at most 2 s in all. `.lock` names its holder's pid while it is held; who keeps `.next` for
a quarter of a second (stopped, perhaps) is passed by.

A COMMIT costs a sync of the disk. Threads that come while one writes are gathered, and the next of them writes for all:

1. a thread puts its work into the queue; the first one there leads, the others wait for their result;
2. the leader takes the lock, then all work that is queued, and runs each piece in a savepoint of its own, so that one
   that is refused takes nothing of the others with it (an error of the database's own undoes all, and all are told);
3. one COMMIT; then everyone learns the result, and the first of those that came meanwhile leads.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError

from common.errors import CatalogueUnavailable, OutcomeUnknown

LOCK_SECONDS = 2.0
POLL_SECONDS = 0.0005
PASS_BY_SECONDS = 0.25
BATCH = 32

Work = Callable[[Connection], Any]
Landed = Callable[[Connection], bool]


class WriterLock:
    """One writer at a time, over all processes of a host; the threads of one process come one by one already."""

    def __init__(self, path: Path) -> None:
        self._paths = (path.with_name(path.name + ".lock"), path.with_name(path.name + ".next"))
        self._files: tuple[int, int] | None = None
        self._pid = 0

    @contextmanager
    def held(self, until: float) -> Iterator[None]:
        """Until the end of the block. CatalogueUnavailable if it is not free by `until` (monotonic clock)."""
        lock, following = self._opened()
        first = self._poll(following, min(until, time.monotonic() + PASS_BY_SECONDS))
        try:
            if not self._poll(lock, until):
                raise CatalogueUnavailable("the catalogue is busy")
        finally:
            if first:
                fcntl.flock(following, fcntl.LOCK_UN)
        try:
            with suppress(OSError):  # a full disk: the database says so itself, and better
                os.pwrite(lock, b"%d\n" % os.getpid(), 0)
            yield
        finally:
            os.ftruncate(lock, 0)
            fcntl.flock(lock, fcntl.LOCK_UN)

    @staticmethod
    def _poll(file: int, until: float) -> bool:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    return False
                time.sleep(POLL_SECONDS)
            else:
                return True

    def _opened(self) -> tuple[int, int]:
        # A descriptor that came through a fork would share its lock with the parent.
        if self._files is None or self._pid != os.getpid():
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            try:
                self._files = (os.open(self._paths[0], flags, 0o600), os.open(self._paths[1], flags, 0o600))
            except OSError as error:
                raise CatalogueUnavailable(f"the catalogue's lock cannot be opened: {error.strerror}") from None
            self._pid = os.getpid()
        return self._files


class _Piece:
    """One thread's work, and what came of it."""

    __slots__ = ("decided", "error", "landed", "leads", "result", "told", "work")

    def __init__(self, work: Work, landed: Landed | None) -> None:
        self.work = work
        self.landed = landed
        self.result: Any = None
        self.error: Exception | None = None
        self.leads = False
        self.decided = False
        self.told = threading.Event()


class GroupWriter:
    """See the module. Safe across threads."""

    def __init__(self, engine: Engine, lock: WriterLock) -> None:
        self._engine = engine
        self._lock = lock
        self._mutex = threading.Lock()
        self._queue: deque[_Piece] = deque()
        self._led = False

    def write(self, work: Work, landed: Landed | None) -> Any:
        """Run the work in a transaction; its result once that is committed, or what it raised."""
        until = time.monotonic() + LOCK_SECONDS
        piece = _Piece(work, landed)
        with self._mutex:
            self._queue.append(piece)
            piece.leads = not self._led
            self._led = True
        if not piece.leads:
            self._wait(piece, until)
        if piece.leads:
            self._lead(piece, until)
        if piece.error is not None:
            raise piece.error
        return piece.result

    def _wait(self, piece: _Piece, until: float) -> None:
        if piece.told.wait(max(0.0, until - time.monotonic())):
            return
        with self._mutex:
            if piece in self._queue and not piece.leads:
                self._queue.remove(piece)
                raise CatalogueUnavailable("the catalogue is busy")
        piece.told.wait()  # it is being written, or was just asked to lead

    def _lead(self, piece: _Piece, until: float) -> None:
        batch: Sequence[_Piece] = ()
        try:
            with self._lock.held(until), self._engine.connect() as connection:
                batch = self._taken()
                _transact(connection, batch)
        except BaseException as error:
            for other in batch:
                if not other.decided:
                    other.error = other.error or OutcomeUnknown("the catalogue's writer was interrupted")
            if not batch:
                with self._mutex:
                    self._queue.remove(piece)
            if not isinstance(error, Exception):
                raise
            if not piece.decided:
                piece.error = error
        finally:
            self._hand_over()
            for other in batch:
                if other is not piece:
                    other.leads = False
                    other.told.set()

    def _taken(self) -> Sequence[_Piece]:
        with self._mutex:
            return [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]

    def _hand_over(self) -> None:
        with self._mutex:
            if self._queue:
                self._queue[0].leads = True
                self._queue[0].told.set()
            else:
                self._led = False


def _transact(connection: Connection, batch: Sequence[_Piece]) -> None:
    sent = False
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        for piece in batch:
            _run(connection, piece, alone=len(batch) == 1)
        sent = True
        connection.commit()
    except DBAPIError as error:
        for piece in batch:
            if piece.error is None:
                piece.error = _undone(connection, piece, error, sent)
    for piece in batch:
        piece.decided = True


def _undone(connection: Connection, piece: _Piece, error: Exception, sent: bool) -> Exception | None:
    """What a piece is told when its transaction failed; None if a look shows that it is there all the same.

    `sent`: COMMIT was sent, so that only a look can tell. The lock is still held: nobody writes meanwhile.
    """
    try:
        _roll_back(connection)
        if sent and piece.landed is not None and piece.landed(connection):
            return None
    except DBAPIError:
        if sent and piece.landed is not None:
            return OutcomeUnknown("the database did not say whether the change was stored; look before repeating it")
    return error


def _roll_back(connection: Connection) -> None:
    """Undo what is open in the database itself: SQLAlchemy forgets its transaction when the COMMIT fails."""
    connection.rollback()
    if getattr(connection.connection.dbapi_connection, "in_transaction", False):
        connection.exec_driver_sql("ROLLBACK")


def _run(connection: Connection, piece: _Piece, alone: bool) -> None:
    """A piece that fails is undone alone; an error of the database's own undoes the whole transaction."""
    if not alone:
        connection.exec_driver_sql("SAVEPOINT piece")
    try:
        piece.result = piece.work(connection)
    except DBAPIError as error:
        if not isinstance(error, IntegrityError):
            raise
        piece.error = error
    except Exception as error:  # noqa: BLE001 - it is handed to the thread it belongs to
        piece.error = error
    if piece.error is not None:
        connection.exec_driver_sql("ROLLBACK" if alone else "ROLLBACK TO piece")
    if not alone:
        connection.exec_driver_sql("RELEASE piece")
