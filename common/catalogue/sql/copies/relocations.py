"""Moving copies between nodes: which blobs are concerned, and changes guarded by what they were decided on.

A change of a blob's rows, in one transaction with its locks first; what fails 1 to 3 is left out:

1. node rows shared: who gets a row is active, and nothing is given up unless the modes are those the decision saw · 2.
the versions locked: current, and no other move of their blobs goes on · 3. the blobs' copy rows locked by id: the same
rows with the same fences as those the decision saw · 4. rows added, doomed, deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy import Connection, bindparam, case, delete, exists, func, insert, select, update
from sqlalchemy.exc import IntegrityError as Taken

from common.catalogue.sql.engine import locks, rows
from common.catalogue.sql.engine.database import Database
from common.catalogue.sql.engine.tables import IS_WAITING, blobs, copies, nodes, versions
from common.catalogue.sql.nodes import remember_removed
from common.catalogue.sql.versions.expiry import dooming
from common.model.copies import CopyState
from common.model.relocation import BlobCopies, CopyRow, Relocation

_ON_NODE = (
    select(copies.c.id, copies.c.blob_id, copies.c.state)
    .where(copies.c.node_id == bindparam("node"), copies.c.id > bindparam("after"))
    .order_by(copies.c.id)
    .limit(bindparam("limit"))
)
_MISSING_ON_NODE = _ON_NODE.where(IS_WAITING, copies.c.state == "missing")
_BLOB_IDS = select(blobs.c.id).where(blobs.c.id > bindparam("after")).order_by(blobs.c.id).limit(bindparam("limit"))
_UNEVEN = (
    select(blobs.c.id)
    .select_from(
        blobs.join(versions, versions.c.id == blobs.c.version_id).outerjoin(copies, copies.c.blob_id == blobs.c.id)
    )
    .where(blobs.c.id > bindparam("after"), blobs.c.id <= bindparam("last"), versions.c.state == "current")
    .group_by(blobs.c.id, versions.c.wanted)
    .having(func.count(case((copies.c.state != "doomed", 1))) != versions.c.wanted)
    .order_by(blobs.c.id)
)
_WITH_ROWS = (
    select(
        *rows.BLOB,
        versions.c.id.label("version_id"),
        versions.c.wanted,
        copies.c.id.label("copy_id"),
        copies.c.fence,
        copies.c.node_id,
        copies.c.state,
        copies.c.stored_at,
        copies.c.verified_at,
        copies.c.alias,
    )
    .select_from(
        blobs.join(versions, versions.c.id == blobs.c.version_id).outerjoin(copies, copies.c.blob_id == blobs.c.id)
    )
    .where(blobs.c.id.in_(bindparam("blobs", expanding=True)), versions.c.state == "current")
    .order_by(blobs.c.id, copies.c.id)
)
_CURRENT = (
    select(versions.c.id)
    .where(versions.c.id.in_(bindparam("versions", expanding=True)), versions.c.state == "current")
    .order_by(versions.c.id)
    .with_for_update(key_share=True)
)
_FENCES = (
    select(copies.c.id, copies.c.blob_id, copies.c.fence)
    .where(copies.c.blob_id.in_(bindparam("blobs", expanding=True)))
    .order_by(copies.c.id)
    .with_for_update()
)
_VERIFIED = (
    update(copies)
    .where(copies.c.id == bindparam("of_id"), copies.c.fence == bindparam("at_fence"), copies.c.state == "stored")
    .values(verified_at=bindparam("at"))
)


class SqlRelocations:
    def __init__(self, database: Database) -> None:
        self._database = database

    def examine(
        self, node_id: str, after: int, limit: int = 500, missing: bool = False
    ) -> tuple[Sequence[BlobCopies], int | None]:
        statement = _MISSING_ON_NODE if missing else _ON_NODE

        def work(connection: Connection) -> tuple[Sequence[BlobCopies], int | None]:
            page = connection.execute(statement, {"node": node_id, "after": after, "limit": limit}).all()
            ids = [row.blob_id for row in page if row.state != "doomed"]
            return _of(connection, ids), page[-1].id if len(page) == limit else None

        return self._database.read(work)

    def uneven(self, after: str, limit: int = 1000) -> tuple[Sequence[BlobCopies], str | None]:
        def work(connection: Connection) -> tuple[Sequence[BlobCopies], str | None]:
            page = connection.execute(_BLOB_IDS, {"after": after, "limit": limit}).scalars().all()
            if not page:
                return [], None
            found = connection.execute(_UNEVEN, {"after": after, "last": page[-1]}).scalars().all()
            return _of(connection, found), page[-1] if len(page) == limit else None

        return self._database.read(work)

    def of(self, blob_ids: Sequence[str]) -> Sequence[BlobCopies]:
        return self._database.read(lambda connection: _of(connection, blob_ids))

    def apply(self, moves: Sequence[Relocation]) -> Collection[str]:
        def work(connection: Connection) -> Collection[str]:
            modes = locks.share_nodes(connection)
            valid = _unchanged(connection, [move for move in moves if _fits(move, modes)])
            _change(connection, valid, self._database.now(connection))
            return {move.copies.blob.id for move in valid}

        try:
            return self._database.write(work) if moves else set()
        except Taken:  # somebody gave one of these nodes a row meanwhile
            return set()

    def verified(self, rows: Sequence[tuple[int, int]], at: float) -> None:
        parameters = [{"of_id": copy_id, "at_fence": fence, "at": at} for copy_id, fence in sorted(rows)]
        if parameters:
            self._database.write(lambda connection: connection.execute(_VERIFIED, parameters))

    def clear(self, node_id: str, limit: int = 1000) -> int:
        there = (
            select(copies.c.id)
            .select_from(copies.join(nodes, nodes.c.id == copies.c.node_id))
            .where(copies.c.node_id == node_id, copies.c.state == "doomed", nodes.c.mode == "retired")
            .order_by(copies.c.id)
            .limit(limit)
        )

        def work(connection: Connection) -> int:
            ids = connection.execute(there.with_for_update(of=copies)).scalars().all()
            if ids:
                connection.execute(delete(copies).where(copies.c.id.in_(ids)))
            return len(ids)

        found = self._database.read(lambda connection: connection.execute(there.limit(1)).first())
        return self._database.write(work) if found else 0

    def remove(self, node_id: str) -> bool:
        retired = select(nodes.c.id).where(nodes.c.id == node_id, nodes.c.mode == "retired")
        empty = ~exists().where(copies.c.node_id == node_id)

        def work(connection: Connection) -> bool:
            if connection.execute(retired.with_for_update()).first() is None:
                return False
            # Counted after the lock: whoever adds a row shares the node's row first.
            gone = delete(nodes).where(nodes.c.id == node_id, empty).returning(nodes.c.name, nodes.c.endpoint)
            removed = [(row.name, row.endpoint) for row in connection.execute(gone)]
            remember_removed(connection, removed, self._database.now(connection))
            return bool(removed)

        if self._database.read(lambda connection: connection.execute(retired.where(empty)).first()) is None:
            return False
        return self._database.write(work)


def _of(connection: Connection, blob_ids: Sequence[str]) -> list[BlobCopies]:
    result: list[BlobCopies] = []
    mine: list[CopyRow] = []
    for row in connection.execute(_WITH_ROWS, {"blobs": list(blob_ids)}) if blob_ids else ():
        if not result or result[-1].blob.id != row.blob_id:
            mine = []
            result.append(BlobCopies(rows.blob(row), row.version_id, row.wanted, mine))
        if row.copy_id is not None:
            state = CopyState(row.state)
            mine.append(CopyRow(row.copy_id, row.fence, row.node_id, state, row.stored_at, row.verified_at, row.alias))
    return result


def _fits(move: Relocation, modes: Mapping[str, str]) -> bool:
    """Whether copies may be added, and given up, with the nodes as they are now: a change of a mode changes no row."""
    if (move.doom or move.delete) and any(modes.get(node_id) != mode for node_id, mode in move.modes.items()):
        return False
    return all(node_id is None or modes.get(node_id) == "active" for node_id in move.add)


def _unchanged(connection: Connection, moves: Sequence[Relocation]) -> Sequence[Relocation]:
    """Those whose version is current, and whose rows are still the ones they were decided on."""
    of_versions = list({move.copies.version_id for move in moves})
    current = set(connection.execute(_CURRENT, {"versions": of_versions}).scalars()) if moves else set()
    moves = [move for move in moves if move.copies.version_id in current]
    fences: dict[str, dict[int, int]] = {move.copies.blob.id: {} for move in moves}
    for row in connection.execute(_FENCES, {"blobs": list(fences)}) if moves else ():
        fences[row.blob_id][row.id] = row.fence
    return [move for move in moves if fences[move.copies.blob.id] == _fences(move.copies.rows)]


def _fences(seen: Iterable[CopyRow]) -> Mapping[int, int]:
    return {row.id: row.fence for row in seen}


def _change(connection: Connection, moves: Sequence[Relocation], now: float) -> None:
    new = [
        {"blob_id": move.copies.blob.id, "node_id": node_id, "state": "missing", "next_attempt_at": now}
        for move in moves
        for node_id in move.add
    ]
    if new:
        connection.execute(insert(copies), new)
    doom = [copy_id for move in moves for copy_id in move.doom]
    if doom:
        connection.execute(update(copies).where(copies.c.id.in_(doom)).values(**dooming(now)))
    gone = [copy_id for move in moves for copy_id in move.delete]
    if gone:
        connection.execute(delete(copies).where(copies.c.id.in_(gone)))
