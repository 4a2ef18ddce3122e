"""What readers ask: the current version of a name with its copies, listings in byte order, details of copies."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, select

from common.catalogue.objects import Found, Listing
from common.catalogue.sql.engine import rows
from common.catalogue.sql.engine.compiled_select import CompiledSelect
from common.catalogue.sql.engine.database import Database
from common.catalogue.sql.engine.rows import AnyRow
from common.catalogue.sql.engine.tables import blobs, buckets, copies, objects, versions
from common.catalogue.sql.versions.buckets import by_name
from common.errors import NoSuchObject
from common.model.copies import CopyState
from common.model.versions import Protection, StoredBlob, Version
from common.model.work import CopyDetail

_FIND = CompiledSelect(
    select(*rows.VERSION, *rows.BLOB, *rows.COPY)
    .select_from(
        rows.with_copies(
            buckets.join(objects, objects.c.bucket_id == buckets.c.id)
            .join(versions, versions.c.id == objects.c.version_id)
            .outerjoin(blobs, (blobs.c.version_id == versions.c.id) & (blobs.c.number < bindparam("blobs")))
        )
    )
    .where(buckets.c.name == bindparam("bucket"), objects.c.key == bindparam("key"))
    .order_by(blobs.c.number, copies.c.id)
)
_BLOBS = (
    select(*rows.BLOB, *rows.COPY)
    .select_from(rows.with_copies(blobs))
    .where(
        blobs.c.version_id == bindparam("version"),
        blobs.c.number >= bindparam("first"),
        blobs.c.number < bindparam("end"),
    )
    .order_by(blobs.c.number, copies.c.id)
)
_ONE_PROTECTION = rows.per_version([bindparam("version")])
_PROTECTIONS = rows.per_version(bindparam("versions", expanding=True))
_IS_CURRENT = (
    select(objects.c.version_id)
    .select_from(
        versions.join(objects, (objects.c.bucket_id == versions.c.bucket_id) & (objects.c.key == versions.c.key))
    )
    .where(versions.c.id == bindparam("version"), objects.c.version_id == versions.c.id)
)
_PAGE = (
    select(*rows.VERSION)
    .select_from(
        objects.join(versions, versions.c.id == objects.c.version_id).join(buckets, buckets.c.id == objects.c.bucket_id)
    )
    .where(
        objects.c.bucket_id == bindparam("bucket"),
        objects.c.key >= bindparam("from"),
        objects.c.key != bindparam("behind"),
    )
    .order_by(objects.c.key)
    .limit(bindparam("limit"))
)
_PAGE_BELOW = _PAGE.where(objects.c.key < bindparam("below"))
_DETAILS = (
    select(
        *rows.BLOB,
        copies.c.id.label("copy_id"),
        copies.c.node_id,
        copies.c.state,
        copies.c.attempts,
        copies.c.next_attempt_at,
        copies.c.stored_at,
        copies.c.verified_at,
        copies.c.last_error,
        copies.c.dead_at,
        copies.c.alias,
    )
    .select_from(blobs.join(copies, copies.c.blob_id == blobs.c.id))
    .where(blobs.c.version_id == bindparam("version"), copies.c.state != "doomed")
    .order_by(blobs.c.number, copies.c.node_id)
)


def successor(prefix: str) -> str | None:
    """The least string above all that start with `prefix`, None if there is none. Byte order of UTF-8 is code order."""
    for index in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[index]) + 1
        if 0xD800 <= code <= 0xDFFF:
            code = 0xE000
        if code <= 0x10FFFF:
            return prefix[:index] + chr(code)
    return None


class SqlLookups:
    _database: Database

    def find(self, bucket: str, key: str, blobs: int = 16) -> Found:
        def work(connection: Connection) -> Found:
            found = _FIND.all(connection, {"bucket": bucket, "key": key, "blobs": blobs})
            if not found:
                by_name(connection, bucket)
                raise NoSuchObject(f"there is no such object in '{bucket}'")
            version = rows.version(found[0])
            if version.blob_count <= blobs:
                return Found(version, rows.stored_blobs(found), rows.protection(version.wanted, found))
            counts = connection.execute(_ONE_PROTECTION, {"version": version.id}).first()
            return Found(version, rows.stored_blobs(found), rows.protection_of(version.wanted, counts))

        return self._database.read(work)

    def blobs(self, version_id: str, first: int, limit: int = 16) -> Sequence[StoredBlob]:
        parameters = {"version": version_id, "first": first, "end": first + limit}
        return self._database.read(lambda connection: rows.stored_blobs(connection.execute(_BLOBS, parameters)))

    def is_current(self, version_id: str) -> bool:
        return self._database.read(
            lambda connection: connection.execute(_IS_CURRENT, {"version": version_id}).first() is not None
        )

    def list(self, bucket: str, prefix: str, delimiter: str, after: str, limit: int) -> Listing:
        return self._database.read(
            lambda connection: _listing(connection, by_name(connection, bucket).id, prefix, delimiter, after, limit)
        )

    def copies(self, bucket: str, key: str) -> tuple[Found, Sequence[CopyDetail]]:
        found = self.find(bucket, key, blobs=0)
        details = self._database.read(
            lambda connection: [_detail(row) for row in connection.execute(_DETAILS, {"version": found.version.id})]
        )
        return found, details


def _detail(row: AnyRow) -> CopyDetail:
    return CopyDetail(
        row.copy_id,
        rows.blob(row),
        row.node_id,
        CopyState(row.state),
        row.attempts,
        row.next_attempt_at,
        row.stored_at,
        row.verified_at,
        row.last_error,
        row.dead_at,
        row.alias,
    )


def _listing(connection: Connection, bucket_id: str, prefix: str, delimiter: str, after: str, limit: int) -> Listing:
    """Walk the keys in order; at the first key of a folded prefix jump behind all that share it.

    Of a page that ends in a jump the rest was read in vain: so after a jump pages begin small, and grow while they are
    used to their end. What is read stays within twice what is shown.
    """
    found: list[Version] = []
    prefixes: list[str] = []
    start, behind, below = max(prefix, after), after, successor(prefix)
    folded = _fold(after, prefix, delimiter)
    if folded is not None and folded == after:
        start, behind = successor(after) or "", ""
    more = bool(start) or not after
    last = after
    size = 1 if delimiter else limit + 1
    while more and len(found) + len(prefixes) <= limit:
        size = min(size, limit + 1 - len(found) - len(prefixes))
        page = _page(connection, bucket_id, start, behind, below, size)
        more = len(page) == size
        for row in page:
            folded = _fold(row.key, prefix, delimiter)
            if len(found) + len(prefixes) == limit:
                return Listing(_protected(connection, found), prefixes, last)
            if folded is not None:
                prefixes.append(folded)
                last, behind, start, size = folded, "", successor(folded) or "", 1
                more = bool(start)
                break
            found.append(rows.version(row))
            last = start = behind = row.key
        else:
            size *= 2
    return Listing(_protected(connection, found), prefixes, None)


def _fold(key: str, prefix: str, delimiter: str) -> str | None:
    """The common prefix a key folds into, None if it is listed itself."""
    if not delimiter or not key.startswith(prefix):
        return None
    head, found, _ = key[len(prefix) :].partition(delimiter)
    return prefix + head + found if found else None


def _page(
    connection: Connection, bucket_id: str, start: str, behind: str, below: str | None, limit: int
) -> Sequence[AnyRow]:
    parameters = {"bucket": bucket_id, "from": start, "behind": behind, "limit": limit}
    if below is None:
        return connection.execute(_PAGE, parameters).all()
    return connection.execute(_PAGE_BELOW, {**parameters, "below": below}).all()


def _protected(connection: Connection, found: Sequence[Version]) -> list[tuple[Version, Protection]]:
    if not found:
        return []
    counts = {
        row.version_id: row for row in connection.execute(_PROTECTIONS, {"versions": [version.id for version in found]})
    }
    return [(version, rows.protection_of(version.wanted, counts.get(version.id))) for version in found]
