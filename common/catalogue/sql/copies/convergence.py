"""Which versions became whole, and what a node is still owed: what is measured of the healing, not needed for it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, bindparam, func, select

from common.catalogue.sql.engine.database import Database
from common.catalogue.sql.engine.tables import blobs, copies, versions

BLOBS_MAX = 1024  # looking through a longer version at each of its ends would cost more than it tells

_sibling, _copy, _other = blobs.alias("sibling"), copies.alias("copy"), copies.alias("other")
# Copies are made in about the order of their blobs: seen from the last one, what is still waiting is found at once.
_first_waiting = (
    select(_copy.c.id)
    .select_from(_sibling.join(_copy, _copy.c.blob_id == _sibling.c.id))
    .where(_sibling.c.version_id == versions.c.id, _copy.c.state.in_(("missing", "suspect")))
    .order_by(_sibling.c.number.desc())
    .limit(1)
    .correlate(versions)
    .scalar_subquery()
)
_rows_of_blob = select(func.count()).where(_other.c.blob_id == blobs.c.id).correlate(blobs).scalar_subquery()
_WHOLE = (
    select(versions.c.id, versions.c.created_at)
    .distinct()
    .select_from(blobs.join(versions, versions.c.id == blobs.c.version_id))
    .where(
        blobs.c.id.in_(bindparam("blobs", expanding=True)),
        versions.c.state == "current",
        versions.c.blob_count <= BLOBS_MAX,
        _rows_of_blob == versions.c.wanted,
        _first_waiting.is_(None),
    )
)
_OWED = (
    select(copies.c.id)
    .select_from(copies.join(blobs, blobs.c.id == copies.c.blob_id).join(versions, versions.c.id == blobs.c.version_id))
    .where(
        copies.c.node_id == bindparam("node"),
        copies.c.state.in_(("missing", "suspect")),
        copies.c.id <= bindparam("upto"),
        copies.c.dead_at.is_(None),
        versions.c.state == "current",
    )
    .limit(1)
)
_NEWEST = select(func.max(copies.c.id))


def became_whole(connection: Connection, blob_ids: Collection[str], now: float) -> Sequence[float]:
    """Ages of the versions whose copies are all there, now that the first copies of these blobs on a node are.

    Not of a version one of these blobs of which moved: it was whole before.
    """
    if not blob_ids:
        return ()
    found = connection.execute(_WHOLE, {"blobs": list(blob_ids)})
    return tuple(max(0.0, now - row.created_at) for row in found)


class SqlConvergence:
    _database: Database

    def newest(self) -> int:
        return self._database.read(lambda connection: connection.execute(_NEWEST).scalar() or 0)

    def owed(self, node_id: str, upto: int) -> bool:
        parameters = {"node": node_id, "upto": upto}
        return self._database.read(lambda connection: connection.execute(_OWED, parameters).first() is not None)
