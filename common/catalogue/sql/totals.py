"""How much lies on each node and in each bucket, counted as it changes: asking costs the same at any size.

1. A row of `copies` or `objects` comes, goes, or changes its state, place or version. A trigger (migration 0004) writes
   the difference in the same transaction: it is seen with the change, or never.
2. SQLite has one writer: the difference is added to the row of slot 0. On PostgreSQL all commits would wait for one
   another at that row: there each difference is a row of its own, under the next slot, which nobody else touches.
3. A total is the sum over its slots, read in one statement: exact, and of one moment.
4. The sweep folds a page of differences: they are deleted and their sums added to slot 0 in one transaction, so whoever
   reads meanwhile sees either. Two that fold at once pass over each other's rows.
5. The row of a node that was removed goes with a later fold.

Nothing is decided on a total: whether a node is empty, or a bucket, is asked of the rows themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, Table, TextClause, bindparam, delete, func, select, text

from common.catalogue.buckets import Totals
from common.catalogue.nodes import NodeTotals
from common.catalogue.sql.engine.database import Database
from common.catalogue.sql.engine.tables import bucket_totals, node_totals, nodes

_TABLES = (node_totals, bucket_totals)
_OF_NODES = select(
    node_totals.c.node_id, *(func.sum(node_totals.c[name]) for name in ("copies", "bytes", "missing"))
).group_by(node_totals.c.node_id)
_OF_BUCKET = select(
    func.coalesce(func.sum(bucket_totals.c.objects), 0), func.coalesce(func.sum(bucket_totals.c.bytes), 0)
).where(bucket_totals.c.bucket_id == bindparam("bucket"))
_OBJECTS = select(func.coalesce(func.sum(bucket_totals.c.objects), 0))
_OF_NOBODY = select(node_totals.c.node_id).where(
    node_totals.c.slot == 0, node_totals.c.node_id.not_in(select(nodes.c.id))
)


def _fold_page(table: Table) -> TextClause:
    """One statement, rows by their place: nothing of it grows with what has piled up."""
    owner, _, *counts = (column.name for column in table.c)
    names, sums = ", ".join(counts), ", ".join(f"sum({name})" for name in counts)
    added = ", ".join(f"{name} = whole.{name} + excluded.{name}" for name in counts)
    return text(
        f"""
        WITH page AS (
            SELECT ctid AS place FROM {table} WHERE slot <> 0 ORDER BY {owner}, slot LIMIT :limit FOR UPDATE SKIP LOCKED
        ), gone AS (
            DELETE FROM {table} WHERE ctid = ANY (ARRAY (SELECT place FROM page)) RETURNING *
        ), folded AS (
            INSERT INTO {table} AS whole ({owner}, slot, {names})
            SELECT {owner}, 0, {sums} FROM gone GROUP BY {owner} ORDER BY {owner}
            ON CONFLICT ({owner}, slot) DO UPDATE SET {added}
        )
        SELECT count(*) FROM gone
        """  # noqa: S608 - names of our own tables
    )


_FOLD = tuple(map(_fold_page, _TABLES))


def of_nodes(connection: Connection) -> Mapping[str, NodeTotals]:
    return {row[0]: NodeTotals(*map(int, row[1:])) for row in connection.execute(_OF_NODES)}


def of_bucket(connection: Connection, bucket_id: str) -> Totals:
    return Totals(*map(int, connection.execute(_OF_BUCKET, {"bucket": bucket_id}).one()))


def objects_in_all(connection: Connection) -> int:
    return int(connection.execute(_OBJECTS).scalar_one())


def fold(database: Database, limit: int) -> int:
    """How many differences were folded."""

    def look(connection: Connection) -> bool:
        some = (select(table.c.slot).where(table.c.slot != 0) for table in _TABLES)
        return any(connection.execute(each.limit(1)).first() is not None for each in (*some, _OF_NOBODY))

    def work(connection: Connection) -> int:
        folded = (
            0
            if database.sqlite
            else sum(connection.execute(statement, {"limit": limit}).scalar_one() for statement in _FOLD)
        )
        gone = connection.execute(_OF_NOBODY).scalars().all()
        if gone:
            connection.execute(delete(node_totals).where(node_totals.c.slot == 0, node_totals.c.node_id.in_(gone)))
        return folded

    return database.write(work) if database.read(look) else 0
