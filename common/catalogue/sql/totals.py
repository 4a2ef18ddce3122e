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

from sqlalchemy import Connection, Table, bindparam, delete, func, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from common.catalogue.base import NodeTotals, Totals
from common.catalogue.sql.database import Database
from common.catalogue.sql.tables import bucket_totals, node_totals, nodes

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
        folded = sum(_fold(connection, table, limit) for table in _TABLES)
        gone = connection.execute(_OF_NOBODY).scalars().all()
        if gone:
            connection.execute(delete(node_totals).where(node_totals.c.slot == 0, node_totals.c.node_id.in_(gone)))
        return folded

    return database.write(work) if database.read(look) else 0


def _fold(connection: Connection, table: Table, limit: int) -> int:
    owner, slot, *counts = table.c
    page = select(table).where(slot != 0).order_by(slot).limit(limit).with_for_update(skip_locked=True)
    found = connection.execute(page).all()
    if not found:
        return 0
    sums: dict[str, list[int]] = {}
    for of, _, *differences in found:
        sums[of] = [total + more for total, more in zip(sums.get(of, [0] * len(counts)), differences, strict=True)]
    connection.execute(delete(table).where(tuple_(owner, slot).in_([(row[0], row[1]) for row in found])))
    adding = insert(table)
    adding = adding.on_conflict_do_update(
        index_elements=[owner, slot], set_={count.name: count + adding.excluded[count.name] for count in counts}
    )
    names = [column.name for column in table.c]
    connection.execute(adding, [dict(zip(names, (of, 0, *of_it), strict=True)) for of, of_it in sorted(sums.items())])
    return len(found)
