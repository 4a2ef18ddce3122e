"""Copy rows as the sweep, readers and repairs see them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Double,
    Select,
    and_,
    bindparam,
    exists,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError as Broken

from common.catalogue.copies import DuePlace, Reach
from common.catalogue.sql.copies.claims import SqlClaims
from common.catalogue.sql.engine import rows
from common.catalogue.sql.engine.database import Database
from common.catalogue.sql.engine.tables import IS_WAITING, blobs, copies, objects, versions
from common.catalogue.sql.versions.lookups import successor
from common.model.versions import StoredBlob
from common.model.work import CopyAction

_source = copies.alias("source")
_PLACE = (copies.c.next_attempt_at, copies.c.id)
_page = (
    select(*_PLACE, copies.c.blob_id, copies.c.last_error_kind)
    .where(
        copies.c.node_id == bindparam("node"),
        copies.c.state == bindparam("state"),
        copies.c.next_attempt_at <= bindparam("now"),
        tuple_(*_PLACE) > tuple_(bindparam("after_time", type_=Double), bindparam("after_id", type_=BigInteger)),
        copies.c.dead_at.is_(None),
        copies.c.lease_until.is_(None) | (copies.c.lease_until < bindparam("now")),
        copies.c.enqueued_at.is_(None) | (copies.c.enqueued_at < bindparam("enqueued_before")),
    )
    .order_by(*_PLACE)
    .limit(bindparam("limit"))
    .subquery("page")
)
_OTHER = and_(_source.c.blob_id == _page.c.blob_id, _source.c.id != _page.c.id)
_READABLE = _source.c.node_id.in_(bindparam("readable", expanding=True))
_NOBODY_AWAY = ~exists().where(
    _OTHER, _source.c.state != "doomed", _source.c.node_id.in_(bindparam("away", expanding=True))
)
_WITH_SOURCE = or_(_NOBODY_AWAY, exists().where(_OTHER, _source.c.state.in_(("stored", "suspect")), _READABLE))
# Wrong bytes need a copy to be mended from: one that was itself found wrong is none. A `missing` one may lie there.
_UNLESS_WRONG = or_(
    _page.c.last_error_kind.is_distinct_from("wrong"),
    _NOBODY_AWAY,
    exists().where(
        _OTHER,
        _READABLE,
        or_(
            _source.c.state.in_(("stored", "missing")),
            and_(_source.c.state == "suspect", _source.c.last_error_kind.is_distinct_from("wrong")),
        ),
    ),
)
_DUE_OF = {
    action: select(
        _page.c.next_attempt_at,
        _page.c.id,
        _page.c.blob_id,
        blobs.c.cipher_length,
        and_(versions.c.state.in_(bindparam("version_states", expanding=True)), unparked).label("due"),
    )
    .select_from(_page.join(blobs, blobs.c.id == _page.c.blob_id).join(versions, versions.c.id == blobs.c.version_id))
    .order_by(_page.c.next_attempt_at, _page.c.id)
    for action, unparked in (
        (CopyAction.REPLICATE, _WITH_SOURCE),
        (CopyAction.VERIFY, _UNLESS_WRONG),
        (CopyAction.DELETE, true()),
    )
}
_STAMP = update(copies).where(copies.c.id.in_(bindparam("ids", expanding=True))).values(enqueued_at=bindparam("at"))
_RECALL = (
    update(copies)
    .where(
        copies.c.blob_id.in_(bindparam("blobs", expanding=True)),
        copies.c.node_id.in_(bindparam("nodes", expanding=True)),
        copies.c.state == bindparam("in_state"),
        copies.c.enqueued_at.is_not(None),
    )
    .values(enqueued_at=None)
)
_SUSPECT = (
    update(copies)
    .where(copies.c.blob_id == bindparam("blob"), copies.c.node_id == bindparam("node"), copies.c.state == "stored")
    .values(
        state="suspect",
        fence=copies.c.fence + 1,
        next_attempt_at=bindparam("now"),
        enqueued_at=bindparam("now"),
        first_error=bindparam("error"),
        first_error_kind="read",
        first_error_at=bindparam("now"),
        last_error=bindparam("error"),
        last_error_kind="read",
        last_error_at=bindparam("now"),
    )
)
_WAITING = (
    select(copies.c.id)
    .where(
        IS_WAITING,
        copies.c.id > bindparam("after"),
        or_(
            copies.c.next_attempt_at > bindparam("now"),
            copies.c.dead_at.is_not(None),
            copies.c.enqueued_at.is_not(None),
        ),
        copies.c.dead_at.is_(None) | bindparam("letters"),
        exists().where(_source.c.blob_id == copies.c.blob_id, _source.c.node_id == bindparam("node")),
    )
    .order_by(copies.c.id)
    .limit(bindparam("limit"))
)
_WAKE = (
    update(copies)
    .where(copies.c.id.in_(bindparam("ids", expanding=True)), copies.c.lease_until.is_(None))
    .values(
        next_attempt_at=bindparam("now"),
        dead_at=None,
        acknowledged_at=None,
        failures=None,
        enqueued_at=None,
        fence=copies.c.fence + 1,
    )
)
_WANTED = (
    select(objects.c.bucket_id, objects.c.key, *rows.BLOB, *rows.COPY)
    .select_from(rows.with_copies(objects.join(blobs, blobs.c.version_id == objects.c.version_id)))
    .order_by(objects.c.bucket_id, objects.c.key, blobs.c.number, copies.c.id)
)


class SqlCopies(SqlClaims):
    def __init__(self, database: Database) -> None:
        self._database = database

    def due(
        self,
        action: CopyAction,
        node_id: str,
        sources: Reach,
        enqueued_before: float,
        after: DuePlace | None = None,
        limit: int = 1000,
    ) -> tuple[Sequence[tuple[int, str, int]], DuePlace | None]:
        def work(connection: Connection) -> tuple[Sequence[tuple[int, str, int]], DuePlace | None]:
            after_time, after_id = after or (-1.0, 0)
            parameters: dict[str, Any] = {
                "node": node_id,
                "state": action.state.value,
                "version_states": ["current", "doomed"] if action is CopyAction.DELETE else ["current"],
                "now": self._database.now(connection),
                "enqueued_before": enqueued_before,
                "after_time": after_time,
                "after_id": after_id,
                "limit": limit,
            }
            if action is not CopyAction.DELETE:
                parameters |= {"readable": list(sources.readable), "away": list(sources.away)}
            page = connection.execute(_DUE_OF[action], parameters).all()
            last = (page[-1].next_attempt_at, page[-1].id) if len(page) == limit else None
            return [(row.id, row.blob_id, row.cipher_length) for row in page if row.due], last

        return self._database.read(work)

    def stamp(self, copy_ids: Sequence[int], enqueued_at: float | None) -> None:
        if copy_ids:
            self._database.write(
                lambda connection: connection.execute(_STAMP, {"ids": list(copy_ids), "at": enqueued_at})
            )

    def suspect(self, blob_id: str, node_id: str, error: str) -> bool:
        def work(connection: Connection) -> bool:
            now = self._database.now(connection)
            parameters = {"blob": blob_id, "node": node_id, "now": now, "error": error}
            return bool(connection.execute(_SUSPECT, parameters).rowcount)

        return self._database.write(work)

    def recall(self, action: CopyAction, blob_ids: Sequence[str], node_ids: Collection[str]) -> None:
        if blob_ids and node_ids:
            parameters = {"blobs": list(blob_ids), "nodes": list(node_ids), "in_state": action.state.value}
            self._database.write(lambda connection: connection.execute(_RECALL, parameters))

    def wanted(
        self, bucket_id: str | None, prefix: str, key: str | None, after: tuple[str, str, int] | None, limit: int
    ) -> Sequence[tuple[tuple[str, str, int], StoredBlob]]:
        statement = in_scope(bucket_id, prefix, key, after)
        page = statement.limit(limit).subquery()
        rows_of_page = _WANTED.join(page, page.c.id == blobs.c.id)

        def work(connection: Connection) -> Sequence[tuple[tuple[str, str, int], StoredBlob]]:
            found = connection.execute(rows_of_page).all()
            places = {row.blob_id: (row.bucket_id, row.key, row.number) for row in found}
            return [(places[item.blob.id], item) for item in rows.stored_blobs(found)]

        return self._database.read(work)

    def unassigned(self, after: int = 0, limit: int = 300) -> Sequence[tuple[int, int, str, str, Sequence[str]]]:
        def work(connection: Connection) -> Sequence[tuple[int, int, str, str, Sequence[str]]]:
            found = connection.execute(
                select(copies.c.id, copies.c.fence, blobs.c.version_id, copies.c.blob_id)
                .select_from(
                    copies.join(blobs, blobs.c.id == copies.c.blob_id).join(
                        versions, versions.c.id == blobs.c.version_id
                    )
                )
                .where(
                    copies.c.node_id.is_(None),
                    copies.c.state == literal_column("'missing'"),
                    copies.c.id > after,
                    versions.c.state == "current",
                )
                .order_by(copies.c.id)
                .limit(limit)
            ).all()
            taken: dict[str, list[str]] = {}
            if found:
                ids = [row.blob_id for row in found]
                for row in connection.execute(
                    select(copies.c.blob_id, copies.c.node_id).where(
                        copies.c.blob_id.in_(ids), copies.c.node_id.is_not(None)
                    )
                ):
                    taken.setdefault(row.blob_id, []).append(row.node_id)
            return [(row.id, row.fence, row.version_id, row.blob_id, taken.get(row.blob_id, [])) for row in found]

        return self._database.read(work)

    def assign(self, copy_id: int, fence: int, node_id: str) -> bool:
        def work(connection: Connection) -> bool:
            blob = select(copies.c.blob_id).where(copies.c.id == copy_id).scalar_subquery()
            other = copies.alias("other")
            free = ~exists().where(other.c.blob_id == blob, other.c.node_id == node_id)
            done = connection.execute(
                update(copies)
                .where(copies.c.id == copy_id, copies.c.fence == fence, copies.c.node_id.is_(None), free)
                .values(node_id=node_id, fence=copies.c.fence + 1, next_attempt_at=self._database.now(connection))
            )
            return bool(done.rowcount)

        try:
            return self._database.write(work)
        except Broken:  # the node was removed, or got a row of this blob, meanwhile
            return False

    def wake(self, node_id: str, after: int, letters: bool, limit: int = 1000) -> int | None:
        parameters: dict[str, Any] = {"node": node_id, "after": after, "letters": letters, "limit": limit}

        def work(connection: Connection) -> int | None:
            parameters["now"] = self._database.now(connection)
            ids = connection.execute(_WAITING, parameters).scalars().all()
            if ids:
                connection.execute(_WAKE, {"ids": ids, "now": parameters["now"]})
            return ids[-1] if len(ids) == limit else None

        return self._database.write(work)

    def queue_repair(self, blob_id: str, node_ids: Collection[str]) -> Sequence[int]:
        def work(connection: Connection) -> Sequence[int]:
            now = self._database.now(connection)
            there = and_(copies.c.blob_id == blob_id, copies.c.node_id.in_(list(node_ids)))
            ids = (
                connection.execute(
                    select(copies.c.id).where(there, copies.c.state != "doomed").order_by(copies.c.id).with_for_update()
                )
                .scalars()
                .all()
            )
            due = {
                "next_attempt_at": now,
                "dead_at": None,
                "acknowledged_at": None,
                "enqueued_at": None,
                "fence": copies.c.fence + 1,
            }
            connection.execute(
                update(copies).where(copies.c.id.in_(ids), copies.c.state == "stored").values(state="suspect", **due)
            )
            connection.execute(
                update(copies)
                .where(copies.c.id.in_(ids), copies.c.state.in_(("missing", "suspect")), copies.c.lease_until.is_(None))
                .values(**due)
            )
            return ids

        return self._database.write(work)


def in_scope(
    bucket_id: str | None, prefix: str, key: str | None, after: tuple[str, str, int] | None
) -> Select[tuple[str]]:
    """Ids of the blobs of a scope's current versions, in order of (bucket id, key, number)."""
    order = (objects.c.bucket_id, objects.c.key, blobs.c.number)
    statement = (
        select(blobs.c.id).select_from(objects.join(blobs, blobs.c.version_id == objects.c.version_id)).order_by(*order)
    )
    if bucket_id is not None:
        statement = statement.where(objects.c.bucket_id == bucket_id)
    if key is not None:
        statement = statement.where(objects.c.key == key)
    elif prefix:
        statement = statement.where(objects.c.key >= prefix)
        end = successor(prefix)
        statement = statement if end is None else statement.where(objects.c.key < end)
    if after is not None:
        statement = statement.where(tuple_(*order) > tuple_(*after))
    return statement
