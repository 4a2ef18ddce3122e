"""Names that were given up because their node fails at them whatever is asked: remembered until they are gone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection, bindparam, delete, exists, func, select, text, tuple_

from common.catalogue.sql.engine.database import Database
from common.catalogue.sql.engine.tables import copies, locked_names
from common.model.names import BlobName
from common.model.scrubbing import LockedName
from common.model.work import Locked

_REMEMBER = text(
    "INSERT INTO locked_names (node_id, blob_id, alias, since, error) VALUES (:node, :blob, :alias, :at, :error) "
    "ON CONFLICT (node_id, blob_id, alias) DO UPDATE SET error = excluded.error"
)
_OF = (
    select(locked_names)
    .where(locked_names.c.node_id == bindparam("node"))
    .order_by(locked_names.c.since, locked_names.c.blob_id, locked_names.c.alias)
    .limit(bindparam("limit"))
)
# A row of a copy may have come back to the name meanwhile: then it is that row's, and not to be removed.
_IN_USE = exists().where(
    copies.c.node_id == locked_names.c.node_id,
    copies.c.blob_id == locked_names.c.blob_id,
    func.coalesce(copies.c.alias, "") == locked_names.c.alias,
)
_COUNTS = select(locked_names.c.node_id, func.count().label("names")).group_by(locked_names.c.node_id)


class SqlLockedNames:
    def __init__(self, database: Database) -> None:
        self._database = database

    def counts(self) -> Mapping[str, int]:
        return self._database.read(
            lambda connection: {row.node_id: int(row.names) for row in connection.execute(_COUNTS)}
        )

    def of(self, node_id: str, limit: int = 1000, unused: bool = False) -> Sequence[LockedName]:
        statement = _OF.where(~_IN_USE) if unused else _OF
        return self._database.read(
            lambda connection: [
                LockedName(row.node_id, BlobName(row.blob_id, row.alias or None), row.since, row.error)
                for row in connection.execute(statement, {"node": node_id, "limit": limit})
            ]
        )

    def forget(self, node_id: str, names: Collection[BlobName]) -> None:
        pairs = [(name.blob_id, name.alias or "") for name in names]
        those = tuple_(locked_names.c.blob_id, locked_names.c.alias).in_(pairs)
        if pairs:
            self._database.write(
                lambda connection: connection.execute(
                    delete(locked_names).where(locked_names.c.node_id == node_id, those)
                )
            )


def remember(connection: Connection, found: Sequence[tuple[str, str, Locked, float]]) -> None:
    """Note (node id, blob id, locked name, time). A name that is known already keeps its first time."""
    connection.execute(
        _REMEMBER,
        [
            {"node": node_id, "blob": blob_id, "alias": locked.alias or "", "at": at, "error": locked.error}
            for node_id, blob_id, locked, at in found
        ],
    )
