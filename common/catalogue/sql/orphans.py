"""Names that lie on nodes and that no row wants there: what they are, and how they go.

A tombstone is a blob's row without a version. It is committed before the name is deleted, and a commit inserts its
blobs' rows: of a reclaim and a late commit of the same blob, the one that comes second finds the id taken.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, case, delete, func, select, text

from common.catalogue.sql.engine.database import Database
from common.catalogue.sql.engine.rows import AnyRow
from common.catalogue.sql.engine.tables import blobs, copies, node_health, nodes, versions
from common.model.names import BlobName
from common.model.scrubbing import NameStanding

_ROWS = select(blobs.c.id, blobs.c.version_id, versions.c.state, versions.c.wanted).select_from(
    blobs.outerjoin(versions, versions.c.id == blobs.c.version_id)
)
_BLOB_ROWS = _ROWS.where(blobs.c.id.in_(bindparam("ids", expanding=True)))
# A copy that can be counted on while another one of the same blob goes.
_counted = case(
    (
        (copies.c.state == "stored")
        & nodes.c.mode.is_distinct_from("retired")
        & node_health.c.health.in_(("up", "suspect")),
        1,
    ),
    else_=0,
)
_COPIES = (
    select(
        copies.c.blob_id,
        func.max(case((copies.c.node_id == bindparam("node"), func.coalesce(copies.c.alias, "")))).label("here"),
        func.sum(_counted).label("counted"),
        func.sum(case((copies.c.state.in_(("missing", "suspect")), 1), else_=0)).label("unsettled"),
    )
    .select_from(
        copies.outerjoin(nodes, nodes.c.id == copies.c.node_id).outerjoin(
            node_health, node_health.c.node_id == copies.c.node_id
        )
    )
    .where(copies.c.blob_id.in_(bindparam("ids", expanding=True)))
    .group_by(copies.c.blob_id)
)
# No blob's row goes while a copy's row is added to it.
_SHARE_BLOBS = (
    select(blobs.c.id)
    .where(blobs.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(blobs.c.id)
    .with_for_update(read=True, key_share=True)
)
_LOCK_COPIES = (
    select(copies.c.id)
    .where(copies.c.blob_id.in_(bindparam("ids", expanding=True)))
    .order_by(copies.c.id)
    .with_for_update()
)
_BURY = text("INSERT INTO blobs (id, tombstone_at) VALUES (:id, :at) ON CONFLICT DO NOTHING")
_BURIED = select(blobs.c.id).where(blobs.c.id.in_(bindparam("ids", expanding=True)), blobs.c.version_id.is_(None))
_DOOM = text(
    "INSERT INTO copies (blob_id, node_id, alias, state, next_attempt_at) VALUES (:blob, :node, :alias, 'doomed', :at) "
    "ON CONFLICT DO NOTHING"
)
_OLD_TOMBSTONES = (
    select(blobs.c.id)
    .where(blobs.c.version_id.is_(None), blobs.c.tombstone_at < bindparam("before"))
    .limit(bindparam("limit"))
)


class SqlOrphans:
    def __init__(self, database: Database) -> None:
        self._database = database

    def sort(self, node_id: str, names: Sequence[BlobName]) -> Mapping[BlobName, NameStanding]:
        return self._database.read(lambda connection: _sort(connection, node_id, names)) if names else {}

    def bury(self, blob_ids: Collection[str]) -> Collection[str]:
        def work(connection: Connection) -> Collection[str]:
            now = self._database.now(connection)
            ids = sorted(blob_ids)
            connection.execute(_BURY, [{"id": blob_id, "at": now} for blob_id in ids])
            return set(connection.execute(_BURIED, {"ids": ids}).scalars())

        return self._database.write(work) if blob_ids else set()

    def doom(self, node_id: str, names: Sequence[BlobName]) -> int:
        def work(connection: Connection) -> int:
            ids = list({name.blob_id for name in names})
            there = set(connection.execute(_SHARE_BLOBS, {"ids": ids}).scalars())
            connection.execute(_LOCK_COPIES, {"ids": list(there)}).all()
            now = self._database.now(connection)
            standings = _sort(connection, node_id, [name for name in names if name.blob_id in there])
            strays = sorted((name for name, standing in standings.items() if standing is NameStanding.STRAY), key=str)
            return sum(connection.execute(_DOOM, _doomed(name, node_id, now)).rowcount for name in strays)

        return self._database.write(work) if names else 0

    def unbury(self, age: float, limit: int = 300) -> int:
        def work(connection: Connection) -> int:
            before = self._database.now(connection) - age
            ids = connection.execute(_OLD_TOMBSTONES, {"before": before, "limit": limit}).scalars().all()
            if ids:
                connection.execute(delete(blobs).where(blobs.c.id.in_(ids), blobs.c.version_id.is_(None)))
            return len(ids)

        def any_old(connection: Connection) -> bool:
            parameters = {"before": self._database.now(connection) - age, "limit": 1}
            return connection.execute(_OLD_TOMBSTONES, parameters).first() is not None

        return self._database.write(work) if self._database.read(any_old) else 0


def _doomed(name: BlobName, node_id: str, now: float) -> dict[str, Any]:
    return {"blob": name.blob_id, "alias": name.alias, "node": node_id, "at": now}


def _sort(connection: Connection, node_id: str, names: Sequence[BlobName]) -> Mapping[BlobName, NameStanding]:
    ids = list({name.blob_id for name in names})
    known = {row.id: row for row in connection.execute(_BLOB_ROWS, {"ids": ids})}
    held = {row.blob_id: row for row in connection.execute(_COPIES, {"ids": list(known), "node": node_id})}
    return {name: _standing(name, known.get(name.blob_id), held.get(name.blob_id)) for name in names}


def _standing(name: BlobName, blob: AnyRow | None, copy: AnyRow | None) -> NameStanding:
    """`copy.here`: the alias of the row on the node asked about, "" without one, None where there is no row."""
    if blob is None or blob.version_id is None:
        return NameStanding.ORPHAN
    if copy is not None and copy.here is not None:
        return NameStanding.KNOWN if copy.here == (name.alias or "") else NameStanding.LEFTOVER
    if blob.state == "doomed":
        return NameStanding.STRAY
    settled = copy is not None and copy.unsettled == 0 and copy.counted >= blob.wanted
    return NameStanding.STRAY if blob.state == "current" and settled else NameStanding.KEPT
