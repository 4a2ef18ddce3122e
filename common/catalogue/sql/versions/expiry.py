"""What becomes of versions nobody sees any more: uploads expire, copies are doomed, rows are forgotten.

A doomed version is one row at first. After `doom_delay` its copies follow in batches; a copy's row goes when its node
has confirmed; a blob's row when it has no copies; the version's when it has no blobs. Nothing resurrects. An upload
that expired or was ended stays known for a while (`uploads`), so that whoever still sends hears that it is gone.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, delete, exists, select, update

from common.catalogue.sql.engine.database import Database
from common.catalogue.sql.engine.tables import IS_DOOMED_VERSION, IS_UPLOADING, blobs, copies, uploads, versions


def dooming(now: float) -> dict[str, Any]:
    """What dooming a copy row changes. A live lease stays: the row is due when that ends."""
    return {
        "state": "doomed",
        "fence": copies.c.fence + 1,
        "attempts": 0,
        "failures": None,
        "next_attempt_at": now,
        "enqueued_at": None,
        "dead_at": None,
        "acknowledged_at": None,
    }


class SqlExpiry:
    _database: Database

    def expire_uploads(self, limit: int = 100) -> int:
        def work(connection: Connection) -> int:
            now = self._database.now(connection)
            over = (
                select(versions.c.id)
                .where(IS_UPLOADING, versions.c.active_until < now)
                .order_by(versions.c.active_until)
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
            ids = connection.execute(over).scalars().all()
            if ids:
                connection.execute(
                    update(versions)
                    .where(versions.c.id.in_(ids), IS_UPLOADING)
                    .values(state="doomed", doomed_at=now, active_until=None)
                )
            return len(ids)

        return self._database.write(work)

    def doom_copies(self, doom_delay: float, limit: int = 1000) -> int:
        due = (
            select(copies.c.id)
            .select_from(
                versions.join(blobs, blobs.c.version_id == versions.c.id).join(copies, copies.c.blob_id == blobs.c.id)
            )
            .where(IS_DOOMED_VERSION, copies.c.state != "doomed")
            .order_by(versions.c.doomed_at)
            .limit(limit)
        )

        def work(connection: Connection) -> int:
            now = self._database.now(connection)
            these = due.where(versions.c.doomed_at <= now - doom_delay)
            statement = (
                select(copies.c.id, copies.c.node_id)
                .where(copies.c.id.in_(these), copies.c.state != "doomed")
                .order_by(copies.c.id)
                .with_for_update()
            )
            rows = connection.execute(statement).all()
            placed = [row.id for row in rows if row.node_id is not None]
            if len(placed) < len(rows):
                nowhere = [row.id for row in rows if row.node_id is None]
                connection.execute(delete(copies).where(copies.c.id.in_(nowhere)))
            if placed:
                connection.execute(update(copies).where(copies.c.id.in_(placed)).values(**dooming(now)))
            return len(rows)

        return self._database.write(work) if self._any(due) else 0

    def forget(self, limit: int = 300) -> int:
        no_copies = ~exists().where(copies.c.blob_id == blobs.c.id)
        no_blobs = ~exists().where(blobs.c.version_id == versions.c.id)
        unremembered = ~exists().where(uploads.c.version_id == versions.c.id, uploads.c.finished_at.is_(None))
        doomed = IS_DOOMED_VERSION
        empty_blobs = (
            select(blobs.c.id)
            .select_from(versions.join(blobs, blobs.c.version_id == versions.c.id))
            .where(doomed, no_copies)
            .limit(limit)
        )
        empty_versions = select(versions.c.id).where(doomed, no_blobs, unremembered).limit(limit)

        def work(connection: Connection) -> int:
            # One that is getting a copy's row at this moment is left; one that got it before the lock is seen below.
            locked = empty_blobs.with_for_update(of=blobs, skip_locked=True)
            blob_ids = connection.execute(locked).scalars().all()
            if blob_ids:
                connection.execute(delete(blobs).where(blobs.c.id.in_(blob_ids), no_copies))
            version_ids = connection.execute(empty_versions).scalars().all()
            if version_ids:
                connection.execute(delete(uploads).where(uploads.c.version_id.in_(version_ids)))
                connection.execute(delete(versions).where(versions.c.id.in_(version_ids)))
            return len(version_ids)

        return self._database.write(work) if self._any(empty_blobs, empty_versions) else 0

    def _any(self, *statements: object) -> bool:
        """A look without the writer's lock: a sweep that finds nothing should cost nothing."""
        return self._database.read(
            lambda connection: any(
                connection.execute(statement.limit(1)).first() is not None  # type: ignore[attr-defined]
                for statement in statements
            )
        )
