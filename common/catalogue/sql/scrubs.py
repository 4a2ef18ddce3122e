"""How far each node was read, which copies are to be read next, and what a listing of a node tells.

Copies are paged by id, a bounded stretch at a time: no statement here looks at more than that, however many rows are
of no interest. Everything about a node that has no column of its own is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exists, func, or_, select, text, update

from common.catalogue.sql.copies.copies import in_scope
from common.catalogue.sql.engine import rows
from common.catalogue.sql.engine.database import Database
from common.catalogue.sql.engine.rows import AnyRow
from common.catalogue.sql.engine.tables import IS_WAITING, blobs, copies, leases, objects, scrubs, versions
from common.model.copies import CopyState
from common.model.names import BlobName
from common.model.scrubbing import Reclaimed, ScopePage, Scrub, StoredCopy, scrub_lease

STRETCH = 5000

_FIRST = select(func.min(copies.c.id)).where(copies.c.id > bindparam("after"))
_HERE = (
    copies.c.id >= bindparam("first"),
    copies.c.id < bindparam("behind"),
    copies.c.node_id == bindparam("node"),
    copies.c.state == "stored",
)
_COPY = (
    copies.c.id.label("copy_id"),
    copies.c.fence,
    copies.c.node_id,
    copies.c.state.label("copy_state"),
    copies.c.alias,
)
_UNREAD = (
    select(*_COPY, *rows.BLOB)
    .select_from(copies.join(blobs, blobs.c.id == copies.c.blob_id).join(versions, versions.c.id == blobs.c.version_id))
    .where(*_HERE, versions.c.state == "current")
    .order_by(copies.c.id)
    .limit(bindparam("limit"))
)
_NEVER_READ = _UNREAD.where(copies.c.verified_at.is_(None))
_READ_BEFORE = _UNREAD.where(or_(copies.c.verified_at.is_(None), copies.c.verified_at < bindparam("before")))
_WEIGHT = (
    select(func.count(), func.coalesce(func.sum(blobs.c.cipher_length), 0))
    .select_from(copies.join(blobs, blobs.c.id == copies.c.blob_id))
    .where(*_HERE)
)
_FENCES = (
    select(copies.c.id, copies.c.fence)
    .where(copies.c.id.in_(bindparam("ids", expanding=True)), copies.c.state == "stored")
    .order_by(copies.c.id)
    .with_for_update()
)
_VERIFIED = update(copies).where(copies.c.id.in_(bindparam("ids", expanding=True))).values(verified_at=bindparam("at"))
_DOUBTED = (
    select(copies.c.id, copies.c.blob_id, copies.c.alias)
    .where(
        IS_WAITING,
        copies.c.state == "suspect",
        copies.c.node_id == bindparam("node"),
        copies.c.id > bindparam("after"),
        func.substr(copies.c.blob_id, 31, 1) == bindparam("digit"),
        or_(copies.c.lease_until.is_(None), copies.c.lease_until < bindparam("now")),
    )
    .order_by(copies.c.id)
    .limit(bindparam("limit"))
    .with_for_update()
)
_ABSENT = (
    update(copies)
    .where(copies.c.id.in_(bindparam("ids", expanding=True)))
    .values(
        state="missing",
        fence=copies.c.fence + 1,
        next_attempt_at=bindparam("now"),
        enqueued_at=None,
        dead_at=None,
        acknowledged_at=None,
    )
)
_IN_SCOPE = (
    select(objects.c.bucket_id, objects.c.key, *rows.BLOB, *_COPY)
    .select_from(
        objects.join(blobs, blobs.c.version_id == objects.c.version_id).outerjoin(
            copies, copies.c.blob_id == blobs.c.id
        )
    )
    .where(blobs.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(objects.c.bucket_id, objects.c.key, blobs.c.number, copies.c.id)
)
_MAKE = text(
    "INSERT INTO scrubs (node_id, cursor, passes, blobs, bytes, found, updated_at) "
    "VALUES (:node, '{}', 0, 0, 0, '{}', :now) ON CONFLICT DO NOTHING"
)


class SqlScrubs:
    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> Mapping[str, Scrub]:
        return self._database.read(
            lambda connection: {row.node_id: _scrub(row) for row in connection.execute(select(scrubs))}
        )

    def get(self, node_id: str) -> Scrub:
        def work(connection: Connection) -> Scrub:
            row = connection.execute(select(scrubs).where(scrubs.c.node_id == node_id)).first()
            return _scrub(row) if row is not None else Scrub(node_id)

        return self._database.read(work)

    def save(self, scrub: Scrub, holder: str) -> bool:
        def work(connection: Connection) -> bool:
            held = select(exists().where(leases.c.name == scrub_lease(scrub.node_id), leases.c.owner == holder))
            if not connection.execute(held).scalar():
                return False
            kept = lock(connection, scrub.node_id, self._database.now(connection))
            connection.execute(
                update(scrubs)
                .where(scrubs.c.node_id == scrub.node_id)
                .values(
                    cursor=json.dumps(dict(scrub.cursor)),
                    pass_started_at=scrub.started_at,
                    pass_finished_at=scrub.finished_at,
                    passes=scrub.passes,
                    blobs=scrub.blobs,
                    bytes=scrub.bytes,
                    found={**kept, "counts": dict(scrub.found), "total": scrub.total},
                    updated_at=self._database.now(connection),
                )
            )
            return True

        return self._database.write(work)

    def reclaimed(self, node_id: str, result: Reclaimed, lifts: bool) -> None:
        def work(connection: Connection) -> None:
            now = self._database.now(connection)
            held = None if lifts else lock(connection, node_id, now).get("reclaimed", {}).get("held")
            note_reclaimed(connection, node_id, replace(result, held=held), now)

        self._database.write(work)

    # -- copies to read

    def unread(
        self, node_id: str, before: float | None, after: int, limit: int = 100
    ) -> tuple[Sequence[StoredCopy], int | None]:
        def work(connection: Connection) -> tuple[Sequence[StoredCopy], int | None]:
            first = connection.execute(_FIRST, {"after": after}).scalar()
            if first is None:
                return [], None
            parameters = {"node": node_id, "first": first, "behind": first + STRETCH, "limit": limit}
            if before is None:
                found = connection.execute(_NEVER_READ, parameters).all()
            else:
                found = connection.execute(_READ_BEFORE, {**parameters, "before": before}).all()
            copies_found = [_copy(row) for row in found]
            return copies_found, found[-1].copy_id if len(found) == limit else first + STRETCH - 1

        return self._database.read(work)

    def weigh(self, node_id: str, after: int) -> tuple[int, int, int | None]:
        def work(connection: Connection) -> tuple[int, int, int | None]:
            first = connection.execute(_FIRST, {"after": after}).scalar()
            if first is None:
                return 0, 0, None
            row = connection.execute(_WEIGHT, {"node": node_id, "first": first, "behind": first + STRETCH}).one()
            return int(row[0]), int(row[1]), first + STRETCH - 1

        return self._database.read(work)

    def verified(self, read: Sequence[tuple[int, int]], at: float) -> int:
        def work(connection: Connection) -> int:
            fences = dict(read)
            found = connection.execute(_FENCES, {"ids": list(fences)}).all()
            ids = [row.id for row in found if fences[row.id] == row.fence]
            if ids:
                connection.execute(_VERIFIED, {"ids": ids, "at": at})
            return len(ids)

        return self._database.write(work) if read else 0

    def scope(
        self,
        bucket_id: str | None,
        prefix: str,
        key: str | None,
        after: tuple[str, str, int] | None,
        limit: int,
    ) -> ScopePage:
        def work(connection: Connection) -> ScopePage:
            ids = connection.execute(in_scope(bucket_id, prefix, key, after).limit(limit)).scalars().all()
            grouped: dict[tuple[str, str, int], list[StoredCopy]] = {}
            for row in connection.execute(_IN_SCOPE, {"ids": ids}):
                copies_of = grouped.setdefault((row.bucket_id, row.key, row.number), [])
                if row.node_id is not None and row.copy_state != "doomed":
                    copies_of.append(_copy(row))
            return ScopePage(list(grouped.values()), next(reversed(grouped), None))

        return self._database.read(work)

    # -- a node that was taken in anew

    def absent(
        self, node_id: str, digit: str, present: Collection[BlobName], after: int, limit: int = 1000
    ) -> tuple[int, int | None]:
        def work(connection: Connection) -> tuple[int, int | None]:
            now = self._database.now(connection)
            parameters = {"node": node_id, "digit": digit, "after": after, "now": now, "limit": limit}
            doubted = connection.execute(_DOUBTED, parameters).all()
            gone = [row.id for row in doubted if BlobName(row.blob_id, row.alias) not in present]
            if gone:
                connection.execute(_ABSENT, {"ids": gone, "now": now})
            return len(gone), doubted[-1].id if len(doubted) == limit else None

        return self._database.write(work)


# -- shared with the transactions on nodes


def restart(connection: Connection, node_id: str, now: float) -> None:
    """A node was taken in anew: what it has is looked at from the start, its listing first. Who scrubs it stops."""
    lock(connection, node_id, now)
    connection.execute(delete(leases).where(leases.c.name == scrub_lease(node_id)))
    connection.execute(
        update(scrubs).where(scrubs.c.node_id == node_id).values(cursor=json.dumps({"phase": "census"}), updated_at=0.0)
    )


def lock(connection: Connection, node_id: str, now: float) -> dict[str, Any]:
    """Lock the node's row, making it if it is not there; what its `found` holds."""
    statement = select(scrubs.c.found).where(scrubs.c.node_id == node_id).with_for_update()
    row = connection.execute(statement).first()
    if row is None:
        # Of two that make it the second waits for the first here, and finds its row.
        connection.execute(_MAKE, {"node": node_id, "now": now})
        row = connection.execute(statement).one()
    return dict(row.found)


def note_reclaimed(connection: Connection, node_id: str, result: Reclaimed, now: float) -> None:
    found = lock(connection, node_id, now)
    connection.execute(
        update(scrubs).where(scrubs.c.node_id == node_id).values(found={**found, "reclaimed": asdict(result)})
    )


def hold_reclaim(connection: Connection, node_id: str, why: str, now: float) -> None:
    """Nothing may be reclaimed on the node until a job says `force`."""
    noted = lock(connection, node_id, now).get("reclaimed", {})
    note_reclaimed(connection, node_id, Reclaimed(**{**noted, "held": why}), now)


def trust_generation(connection: Connection, node_id: str, generation: str) -> None:
    """The node was identified for the first time: this generation is trusted. It was not scrubbed yet."""
    noted = lock(connection, node_id, 0.0).get("reclaimed", {})
    note_reclaimed(connection, node_id, Reclaimed(**{**noted, "generation": generation}), 0.0)


def _copy(row: AnyRow) -> StoredCopy:
    return StoredCopy(row.copy_id, row.fence, row.node_id, CopyState(row.copy_state), rows.blob(row), row.alias)


def _scrub(row: AnyRow) -> Scrub:
    found = row.found
    return Scrub(
        row.node_id,
        json.loads(row.cursor),
        row.pass_started_at,
        row.pass_finished_at,
        row.passes,
        row.blobs,
        row.bytes,
        found.get("counts", {}),
        found.get("total", 0),
        row.updated_at,
        Reclaimed(**found.get("reclaimed", {})),
    )
