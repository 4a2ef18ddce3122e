"""Versions come into being and are replaced: the transactions of an upload and of a delete.

The commit point, in one transaction, with its locks first (`locks`):

1. bucket and key row shared: NoSuchBucket, KeysUnavailable · 2. nodes shared and their modes read: a wanted copy on a
node that takes no new ones any more stands without a node; what lies only on a node that went is refused · 3. the name
locked, the current version read, preconditions judged · 4. the version inserted as current, or turned from `uploading`
by compare-and-set · 5. blobs and all wanted copy rows inserted where they are not there yet; an upload is refused of
which a blob lies on no node any more · 6. the name points to the version; the replaced one is doomed (one row).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, exists, func, insert, select, update
from sqlalchemy.exc import IntegrityError as Taken

from common.catalogue.objects import Committed
from common.catalogue.sql.engine import locks
from common.catalogue.sql.engine.compiled_select import CompiledSelect
from common.catalogue.sql.engine.database import Database
from common.catalogue.sql.engine.tables import blobs, copies, node_health, nodes, objects, uploads, versions
from common.catalogue.sql.versions.buckets import by_name
from common.errors import CatalogueUnavailable, NoSuchObject, UploadSuperseded
from common.model.copies import CopyState
from common.model.versions import NewBlob, NewVersion, Preconditions

_CURRENT = CompiledSelect(
    select(versions.c.id, versions.c.created_at)
    .select_from(objects.join(versions, versions.c.id == objects.c.version_id))
    .where(objects.c.bucket_id == bindparam("bucket"), objects.c.key == bindparam("key"))
)
_LANDED = select(versions.c.state).where(versions.c.id == bindparam("id"))
_COMMITTED_AT = select(versions.c.created_at).where(versions.c.id == bindparam("id"))
_INSERT_VERSION = insert(versions)
_INSERT_BLOBS = insert(blobs)
_INSERT_COPIES = insert(copies)
_INSERT_OBJECT = insert(objects)
_POINT = (
    update(objects)
    .where(objects.c.bucket_id == bindparam("of_bucket"), objects.c.key == bindparam("of_key"))
    .values(version_id=bindparam("to_version"))
)
_DOOM = (
    update(versions)
    .where(versions.c.id == bindparam("doomed"))
    .values(state="doomed", doomed_at=bindparam("at"), active_until=None)
)
_FINISH = update(versions).where(versions.c.id == bindparam("finished"), versions.c.state == "uploading")
# Of an upload over several requests: the version has the data key now, and nobody sends any more.
_FINISH_UPLOAD = (
    update(uploads)
    .where(uploads.c.version_id == bindparam("finished"))
    .values(finished_at=bindparam("at"), kek_id="", wrapped_dek=b"", lease_owner=None, lease_until=None)
)
_STORED = (
    update(copies)
    .where(
        copies.c.blob_id == bindparam("of_blob"), copies.c.node_id == bindparam("on_node"), copies.c.state == "missing"
    )
    .values(state="stored", stored_at=bindparam("at"), fence=copies.c.fence + 1, next_attempt_at=None)
)
# The put failed over to a node nobody wanted: its copy takes the place of a missing one.
_REPLACEABLE = (
    select(copies.c.id)
    .where(copies.c.blob_id == bindparam("of_blob"), copies.c.state == "missing")
    .order_by(copies.c.node_id.is_(None).desc(), copies.c.id.desc())
    .limit(1)
    .scalar_subquery()
)
_other = copies.alias("other")
_STORED_ELSEWHERE = (
    update(copies)
    .where(
        copies.c.id == _REPLACEABLE,
        ~exists().where(_other.c.blob_id == bindparam("of_blob"), _other.c.node_id == bindparam("on_node")),
    )
    .values(
        node_id=bindparam("on_node"),
        state="stored",
        stored_at=bindparam("at"),
        fence=copies.c.fence + 1,
        next_attempt_at=None,
    )
)
_holders = (
    select(func.count())
    .select_from(copies.join(nodes, nodes.c.id == copies.c.node_id))
    .where(copies.c.blob_id == blobs.c.id, copies.c.state == "stored", nodes.c.mode != "retired")
    .where(~exists().where(node_health.c.node_id == nodes.c.id, node_health.c.health == "foreign"))
    .scalar_subquery()
)
_TOO_FEW = _holders < bindparam("need")
_LOST = select(blobs.c.id).where(blobs.c.version_id == bindparam("version"), _TOO_FEW).limit(1)
_LOST_OF = select(blobs.c.id).where(blobs.c.id.in_(bindparam("blobs", expanding=True)), _TOO_FEW).limit(1)
_TOUCH = (
    update(versions)
    .where(versions.c.id == bindparam("touched"), versions.c.state == "uploading")
    .values(active_until=bindparam("until"))
)


class SqlCommits:
    _database: Database

    def begin(self, version_id: str, bucket_id: str, key: str, wanted: int, active_until: float) -> None:
        def work(connection: Connection) -> None:
            locks.share_bucket(connection, bucket_id)
            connection.execute(
                _INSERT_VERSION,
                {
                    "id": version_id,
                    "bucket_id": bucket_id,
                    "key": key,
                    "state": "uploading",
                    "wanted": wanted,
                    "active_until": active_until,
                },
            )

        self._database.write(work)

    def add_blob(
        self, version_id: str, blob: NewBlob, stored: Collection[tuple[str, str]], active_until: float
    ) -> None:
        def work(connection: Connection) -> None:
            modes = locks.share_nodes(connection)
            self._touch(connection, version_id, active_until)
            now = self._database.now(connection)
            insert_blobs(connection, version_id, [blob], modes, now)
            mark_stored(connection, stored, modes, now)

        self._database.write(work)

    def touch(self, version_id: str, active_until: float) -> None:
        self._database.write(lambda connection: self._touch(connection, version_id, active_until))

    def _touch(self, connection: Connection, version_id: str, active_until: float) -> None:
        done = connection.execute(_TOUCH, {"touched": version_id, "until": active_until})
        if done.rowcount != 1:
            raise UploadSuperseded("the upload expired before it was finished")

    def commit(
        self,
        version: NewVersion,
        blobs: Sequence[NewBlob],
        preconditions: Preconditions,
        stored: Collection[tuple[str, str]] = (),
        uploading: bool = False,
        need: int = 1,
    ) -> Committed:
        def work(connection: Connection) -> Committed:
            bucket = version.bucket.id
            locks.share_bucket_and_kek(connection, bucket, version.kek_id)
            modes = locks.share_nodes(connection)
            locks.lock_name(connection, bucket, version.key)
            current = next(iter(_CURRENT.all(connection, {"bucket": bucket, "key": version.key})), None)
            preconditions.check(*(current or (None, None)))
            now = self._database.now(connection)
            if uploading:
                _finish(connection, version, now)
            else:
                connection.execute(_INSERT_VERSION, {"id": version.id, **_columns(version, now)})
            insert_blobs(connection, version.id, blobs, modes, now)
            mark_stored(connection, stored, modes, now)
            if uploading:
                _check_whole(connection, version.id, need)
            if current is None:
                connection.execute(_INSERT_OBJECT, {"bucket_id": bucket, "key": version.key, "version_id": version.id})
            else:
                connection.execute(_POINT, {"of_bucket": bucket, "of_key": version.key, "to_version": version.id})
                connection.execute(_DOOM, {"doomed": current.id, "at": now})
            return Committed(now, current is not None)

        try:
            return self._database.write(work, landed=lambda connection: _there(connection, version.id))
        except Taken:
            raise UploadSuperseded("the upload took too long: its blobs were reclaimed; send it again") from None

    def abandon(self, version_id: str) -> None:
        def work(connection: Connection) -> None:
            connection.execute(
                update(versions)
                .where(versions.c.id == version_id, versions.c.state == "uploading")
                .values(state="doomed", doomed_at=self._database.now(connection), active_until=None)
            )

        self._database.write(work)

    def delete(self, bucket: str, key: str, preconditions: Preconditions) -> str:
        doomed: list[str] = []

        def work(connection: Connection) -> str:
            doomed.clear()
            row = by_name(connection, bucket)
            locks.lock_name(connection, row.id, key)
            current = next(iter(_CURRENT.all(connection, {"bucket": row.id, "key": key})), None)
            preconditions.check(*(current or (None, None)))
            if current is None:
                raise NoSuchObject(f"there is no such object in '{bucket}'")
            doomed[:] = [current.id]
            connection.execute(objects.delete().where(objects.c.bucket_id == row.id, objects.c.key == key))
            connection.execute(_DOOM, {"doomed": current.id, "at": self._database.now(connection)})
            return str(current.id)

        def gone(connection: Connection) -> bool:
            state = connection.execute(_LANDED, {"id": doomed[0]}).scalar()
            return state == "doomed" or state is None

        return self._database.write(work, landed=gone)


def _there(connection: Connection, version_id: str) -> bool:
    """Only a commit gives a version its time; an upload that was doomed never had one."""
    return connection.execute(_COMMITTED_AT, {"id": version_id}).scalar() is not None


def _columns(version: NewVersion, now: float) -> dict[str, Any]:
    headers = version.headers
    return {
        "bucket_id": version.bucket.id,
        "key": version.key,
        "state": "current",
        "wanted": version.wanted,
        "size": version.size,
        "blob_count": version.blob_count,
        "kek_id": version.kek_id,
        "wrapped_dek": version.wrapped_dek,
        "sha256": version.sha256,
        "content_type": headers.content_type,
        "content_encoding": headers.content_encoding,
        "content_language": headers.content_language,
        "content_disposition": headers.content_disposition,
        "cache_control": headers.cache_control,
        "metadata": dict(headers.metadata),
        "created_at": now,
        "active_until": None,
    }


def _finish(connection: Connection, version: NewVersion, now: float) -> None:
    done = connection.execute(_FINISH.values(**_columns(version, now)), {"finished": version.id})
    if done.rowcount != 1:
        raise UploadSuperseded("the upload expired before it was finished")
    connection.execute(_FINISH_UPLOAD, {"finished": version.id, "at": now})


def insert_blobs(
    connection: Connection, version_id: str, new: Sequence[NewBlob], modes: Mapping[str, str], now: float
) -> None:
    if not new:
        return
    connection.execute(
        _INSERT_BLOBS,
        [
            {
                "id": item.blob.id,
                "version_id": version_id,
                "number": item.blob.number,
                "offset": item.blob.offset,
                "length": item.blob.length,
                "cipher_length": item.blob.cipher_length,
                "digest": item.blob.digest,
                "salt": item.blob.salt,
            }
            for item in new
        ],
    )
    rows = []
    for item in new:
        for copy in item.copies:
            stored = copy.state is CopyState.STORED
            mode = modes.get(copy.node_id or "")
            if stored and mode in (None, "retired"):
                raise _removed()
            rows.append(
                {
                    "blob_id": item.blob.id,
                    "node_id": copy.node_id if stored or mode == "active" else None,
                    "state": copy.state.value,
                    "stored_at": now if stored else None,
                    "next_attempt_at": None if stored else now,
                }
            )
    connection.execute(_INSERT_COPIES, rows)


def _check_whole(connection: Connection, version_id: str, need: int) -> None:
    """Every blob lies on `need` nodes yet. The copies of an upload in progress are nobody's work: one that was lost
    since its blob was put is not made up for, and the upload would be acknowledged with fewer than were asked for.
    """
    if connection.execute(_LOST, {"version": version_id, "need": need}).first() is not None:
        raise _removed()


def check_held(connection: Connection, blob_ids: Collection[str], need: int) -> None:
    """The same of some blobs, when they are acknowledged by themselves."""
    if blob_ids and connection.execute(_LOST_OF, {"blobs": list(blob_ids), "need": need}).first() is not None:
        raise _removed()


def _removed() -> CatalogueUnavailable:
    return CatalogueUnavailable("a node was removed, or its disk changed, during the upload; send it again")


def mark_stored(
    connection: Connection, stored: Collection[tuple[str, str]], modes: Mapping[str, str], now: float
) -> None:
    for blob_id, node_id in stored:
        if node_id not in modes:
            raise _removed()
        parameters = {"of_blob": blob_id, "on_node": node_id, "at": now}
        if not connection.execute(_STORED, parameters).rowcount:
            connection.execute(_STORED_ELSEWHERE, parameters)
