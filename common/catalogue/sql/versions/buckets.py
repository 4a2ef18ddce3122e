"""Buckets: names with settings. An empty one is one without current objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, bindparam, insert, select, update

from common.catalogue.buckets import Totals
from common.catalogue.sql import totals
from common.catalogue.sql.engine.compiled_select import CompiledSelect
from common.catalogue.sql.engine.database import Database, unseen
from common.catalogue.sql.engine.rows import AnyRow
from common.catalogue.sql.engine.tables import buckets, objects, versions
from common.errors import Conflict, NoSuchBucket, NotAllowed
from common.model.names import new_id
from common.model.versions import Bucket

_COLUMNS = (buckets.c.id, buckets.c.name, buckets.c.copies, buckets.c.write_copies, buckets.c.created_at)
_BY_NAME = select(*_COLUMNS).where(buckets.c.name == bindparam("name"))
_FIND = CompiledSelect(_BY_NAME)
_ALL = select(*_COLUMNS).where(buckets.c.name.is_not(None)).order_by(buckets.c.name)


def _bucket(row: AnyRow) -> Bucket:
    return Bucket(row[0], row[1], row[2], row[3], row[4])


def by_name(connection: Connection, name: str) -> Bucket:
    found = _FIND.all(connection, {"name": name})
    if not found:
        raise NoSuchBucket(f"there is no bucket '{name}'")
    return _bucket(found[0])


class SqlBuckets:
    def __init__(self, database: Database, copies: int, write_copies: int) -> None:
        self._database = database
        self._defaults = (copies, write_copies)

    def put(self, name: str, copies: int | None, write_copies: int | None) -> tuple[Bucket, bool]:
        return self._database.write(self._putting(name, copies, write_copies), landed=unseen)

    def _putting(
        self, name: str, copies: int | None, write_copies: int | None
    ) -> Callable[[Connection], tuple[Bucket, bool]]:
        def work(connection: Connection) -> tuple[Bucket, bool]:
            row = connection.execute(_BY_NAME.with_for_update(), {"name": name}).first()
            old = _bucket(row) if row else None
            before = (old.copies, old.write_copies) if old else self._defaults
            wanted = before[0] if copies is None else copies
            first = min(before[1], wanted) if write_copies is None else write_copies
            if first > wanted:
                raise NotAllowed("write_copies", "must not exceed copies")
            if old is None:
                new = Bucket(new_id(), name, wanted, first, self._database.now(connection))
                connection.execute(
                    insert(buckets).values(
                        id=new.id, name=name, copies=wanted, write_copies=first, created_at=new.created_at
                    )
                )
                return new, True
            connection.execute(update(buckets).where(buckets.c.id == old.id).values(copies=wanted, write_copies=first))
            return Bucket(old.id, name, wanted, first, old.created_at), False

        return work

    def get(self, name: str) -> Bucket:
        return self._database.read(lambda connection: by_name(connection, name))

    def all(self) -> Sequence[Bucket]:
        return self._database.read(lambda connection: [_bucket(row) for row in connection.execute(_ALL)])

    def totals(self, bucket_id: str) -> Totals:
        return self._database.read(lambda connection: totals.of_bucket(connection, bucket_id))

    def delete(self, name: str) -> None:
        def work(connection: Connection) -> None:
            row = connection.execute(_BY_NAME.with_for_update(), {"name": name}).first()
            if row is None:
                raise NoSuchBucket(f"there is no bucket '{name}'")
            used = select(objects.c.key).where(objects.c.bucket_id == row.id).limit(1)
            if connection.execute(used).first() is not None:
                raise Conflict(f"bucket '{name}' is not empty")
            now = self._database.now(connection)
            connection.execute(update(buckets).where(buckets.c.id == row.id).values(name=None, deleted_at=now))
            connection.execute(
                update(versions)
                .where(versions.c.bucket_id == row.id, versions.c.state == "uploading")
                .values(state="doomed", doomed_at=now)
            )

        self._database.write(work, landed=unseen)
