"""Dead letters: copy rows with `dead_at`, shown and counted until they are acknowledged, tried again, or come true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, select, tuple_, update

from common.catalogue.sql.engine.database import Database, unseen
from common.catalogue.sql.engine.rows import AnyRow
from common.catalogue.sql.engine.tables import blobs, buckets, copies, nodes, versions
from common.errors import NoSuchDeadLetter
from common.model.copies import CopyState
from common.model.work import CopyAction, DeadLetter, Failure

_LISTED = copies.c.dead_at.is_not(None) & copies.c.acknowledged_at.is_(None)
_ORDER = (copies.c.dead_at, copies.c.id)
_LETTERS = (
    select(
        copies,
        versions.c.key,
        buckets.c.name.label("bucket"),
        blobs.c.number,
        nodes.c.name.label("node"),
    )
    .select_from(
        copies.join(blobs, blobs.c.id == copies.c.blob_id)
        .join(versions, versions.c.id == blobs.c.version_id)
        .join(buckets, buckets.c.id == versions.c.bucket_id)
        .outerjoin(nodes, nodes.c.id == copies.c.node_id)
    )
    .where(_LISTED)
    .order_by(*_ORDER)
)


class SqlDeadLetters:
    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, after: tuple[float, int] | None, limit: int = 100) -> Sequence[DeadLetter]:
        statement = _LETTERS if after is None else _LETTERS.where(tuple_(*_ORDER) > tuple_(*after))
        return self._database.read(
            lambda connection: [_letter(row) for row in connection.execute(statement.limit(limit))]
        )

    def retry(self, copy_id: int) -> tuple[CopyAction, str]:
        def work(connection: Connection) -> tuple[CopyAction, str]:
            revived = self._revive(connection, [copy_id])
            if not revived:
                raise _unknown(copy_id)
            return revived[0]

        return self._database.write(work, landed=unseen)

    def retry_all(self, dead_until: float, limit: int = 1000) -> Sequence[tuple[CopyAction, str]] | None:
        page = select(copies.c.id).where(_LISTED, copies.c.dead_at <= dead_until).order_by(*_ORDER).limit(limit)

        def work(connection: Connection) -> Sequence[tuple[CopyAction, str]] | None:
            ids = connection.execute(page).scalars().all()
            return self._revive(connection, ids) if ids else None

        return self._database.write(work, landed=unseen)

    def acknowledge(self, copy_id: int) -> None:
        def work(connection: Connection) -> None:
            now = self._database.now(connection)
            done = connection.execute(update(copies).where(copies.c.id == copy_id, _LISTED).values(acknowledged_at=now))
            if not done.rowcount:
                raise _unknown(copy_id)

        self._database.write(work, landed=unseen)

    def _revive(self, connection: Connection, ids: Sequence[int]) -> Sequence[tuple[CopyAction, str]]:
        """Those that are still dead, locked by id: acknowledged or not, who asks for one by its id wants it."""
        dead: ColumnElement[bool] = copies.c.id.in_(ids) & copies.c.dead_at.is_not(None)
        found = connection.execute(
            select(copies.c.id, copies.c.state, copies.c.blob_id).where(dead).order_by(copies.c.id).with_for_update()
        ).all()
        now = self._database.now(connection)
        values: dict[str, Any] = {
            "next_attempt_at": now,
            "enqueued_at": now,
            "failures": None,
            "dead_at": None,
            "acknowledged_at": None,
            "fence": copies.c.fence + 1,
        }
        if found:
            connection.execute(update(copies).where(copies.c.id.in_([row.id for row in found])).values(**values))
        return [(CopyAction.on(CopyState(row.state)), row.blob_id) for row in found]


def _unknown(copy_id: int) -> NoSuchDeadLetter:
    return NoSuchDeadLetter(f"there is no dead letter {copy_id}")


def _letter(row: AnyRow) -> DeadLetter:
    return DeadLetter(
        copy_id=row.id,
        bucket=row.bucket,
        key=row.key,
        blob_number=row.number,
        blob_id=row.blob_id,
        node=row.node,
        state=CopyState(row.state),
        attempts=row.attempts,
        dead_at=row.dead_at,
        first=_failure(row.first_error, row.first_error_kind, row.first_error_at),
        last=_failure(row.last_error, row.last_error_kind, row.last_error_at),
        alias=row.alias,
    )


def _failure(error: str | None, kind: str | None, at: float | None) -> Failure | None:
    return None if error is None or kind is None or at is None else Failure(error, kind, at)
