"""Uploads over several requests: the lease that says who sends, and where an upload stands.

Each change, in one transaction: 1. node rows shared, where copies are written · 2. the version's expiry moved, by
compare-and-set on `uploading` · 3. the upload's row changed, by compare-and-set on the holder · 4. blobs and copies.
The commit itself is that of every version (`commits`), which finishes the upload's row too.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, insert, or_, select, update

from common.catalogue.sql.engine import locks
from common.catalogue.sql.engine.database import Database
from common.catalogue.sql.engine.rows import AnyRow
from common.catalogue.sql.engine.tables import IS_DOOMED_VERSION, blobs, buckets, uploads, versions
from common.catalogue.sql.versions.commits import check_held, insert_blobs, mark_stored
from common.catalogue.uploads import Holder, Resumable
from common.errors import Conflict, NoSuchUpload, UploadGone
from common.model.names import id_at, new_id
from common.model.versions import Bucket, NewBlob

_FIND = (
    select(
        uploads,
        versions.c.bucket_id,
        versions.c.key,
        versions.c.wanted,
        versions.c.state,
        versions.c.active_until,
        buckets.c.name.label("bucket_name"),
        buckets.c.write_copies,
        buckets.c.created_at.label("bucket_created_at"),
    )
    .select_from(
        uploads.join(versions, versions.c.id == uploads.c.version_id).join(
            buckets, buckets.c.id == versions.c.bucket_id
        )
    )
    .where(uploads.c.id == bindparam("upload"))
)
# Seen from the last one: what lies behind the offset is never much.
_LAST = (
    select(blobs.c.number)
    .where(blobs.c.version_id == bindparam("version"), blobs.c.offset + blobs.c.length <= bindparam("upto"))
    .order_by(blobs.c.number.desc())
    .limit(1)
)
_ACTIVE = (
    update(versions)
    .where(
        versions.c.id == bindparam("active"),
        versions.c.state == "uploading",
        versions.c.active_until >= bindparam("at"),
    )
    .values(active_until=bindparam("until"))
)


class SqlUploads:
    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, new: Resumable, active: float) -> float:
        def work(connection: Connection) -> float:
            locks.share_bucket_and_kek(connection, new.bucket.id, new.kek_id)
            now = self._database.now(connection)
            connection.execute(
                insert(versions).values(
                    id=new.version_id,
                    bucket_id=new.bucket.id,
                    key=new.key,
                    state="uploading",
                    wanted=new.bucket.copies,
                    active_until=now + active,
                )
            )
            connection.execute(
                insert(uploads).values(
                    id=new.id,
                    version_id=new.version_id,
                    length=new.length,
                    offset=0,
                    kek_id=new.kek_id,
                    wrapped_dek=new.wrapped_dek,
                    metadata=dict(new.terms),
                    created_at=now,
                )
            )
            return now + active

        return self._database.write(work)

    def find(self, upload_id: str) -> Resumable:
        return self._database.read(lambda connection: self._find(connection, upload_id))

    def claim(self, upload_id: str, offset: int, holder: Holder) -> Resumable:
        def work(connection: Connection) -> Resumable:
            found = self._find(connection, upload_id)
            now = self._database.now(connection)
            if found.finished:
                raise Conflict("the upload is finished")
            self._stay(connection, found.version_id, now, holder)
            free = uploads.c.lease_until.is_(None) | (uploads.c.lease_until <= now)
            taken = connection.execute(
                update(uploads)
                .where(uploads.c.id == upload_id, uploads.c.offset == offset, uploads.c.finished_at.is_(None), free)
                .values(lease_owner=holder.owner, lease_until=now + holder.lease)
            )
            if taken.rowcount != 1:
                raise _behind(found) if found.offset != offset else _others()
            return found

        return self._database.write(work)

    def keep(self, upload: Resumable, holder: Holder) -> float:
        return self._database.write(lambda connection: self._hold(connection, upload, holder))

    def add_blob(self, upload: Resumable, holder: Holder, blob: NewBlob) -> None:
        def work(connection: Connection) -> None:
            modes = locks.share_nodes(connection)
            self._hold(connection, upload, holder)
            insert_blobs(connection, upload.version_id, [blob], modes, self._database.now(connection))

        self._database.write(work)

    def landed(self, upload: Resumable, holder: Holder, stored: Collection[tuple[str, str]], offset: int) -> float:
        def work(connection: Connection) -> float:
            modes = locks.share_nodes(connection)
            until = self._hold(connection, upload, holder, offset=offset)
            mark_stored(connection, stored, modes, self._database.now(connection))
            check_held(connection, {blob_id for blob_id, _ in stored}, upload.terms.get("write_copies", 1))
            return until

        return self._database.write(work)

    def discard(self, upload: Resumable, holder: Holder, limit: int = 300) -> int:
        behind = (
            select(blobs.c.id)
            .where(blobs.c.version_id == upload.version_id, blobs.c.number >= upload.blobs)
            .order_by(blobs.c.id)
            .limit(limit)
        )

        def work(connection: Connection) -> int:
            self._hold(connection, upload, holder)
            ids = connection.execute(behind).scalars().all()
            if ids:
                doomed = new_id()
                connection.execute(
                    insert(versions).values(
                        id=doomed,
                        bucket_id=upload.bucket.id,
                        key=upload.key,
                        state="doomed",
                        wanted=upload.bucket.copies,
                        doomed_at=self._database.now(connection),
                    )
                )
                connection.execute(update(blobs).where(blobs.c.id.in_(ids)).values(version_id=doomed))
            return len(ids)

        if self._database.read(lambda connection: connection.execute(behind.limit(1)).first()) is None:
            return 0
        return self._database.write(work)

    def release(self, upload: Resumable, holder: Holder) -> None:
        mine = (uploads.c.id == upload.id) & (uploads.c.lease_owner == holder.owner)
        self._database.write(
            lambda connection: connection.execute(
                update(uploads).where(mine).values(lease_owner=None, lease_until=None)
            )
        )

    def end(self, upload_id: str) -> None:
        def work(connection: Connection) -> None:
            found = self._find(connection, upload_id)
            if found.finished:
                connection.execute(delete(uploads).where(uploads.c.id == upload_id))
                return
            done = connection.execute(
                update(versions)
                .where(versions.c.id == found.version_id, versions.c.state == "uploading")
                .values(state="doomed", doomed_at=self._database.now(connection), active_until=None)
            )
            if done.rowcount != 1:  # committed or doomed between the two statements
                if not self._find(connection, upload_id).finished:
                    raise _gone()
                connection.execute(delete(uploads).where(uploads.c.id == upload_id))

        self._database.write(work)

    def forget(self, seconds: float, limit: int = 1000) -> int:
        """Ids begin with their time, so that only what is old enough is looked through, and mostly nothing is."""

        def look(connection: Connection) -> list[str]:
            before = self._database.now(connection) - seconds
            gone = and_(IS_DOOMED_VERSION, versions.c.doomed_at < before)
            old = (
                select(uploads.c.id)
                .select_from(uploads.join(versions, versions.c.id == uploads.c.version_id))
                .where(uploads.c.id < id_at(before), or_(uploads.c.finished_at < before, gone))
                .order_by(uploads.c.id)
                .limit(limit)
            )
            return list(connection.execute(old).scalars())

        ids = self._database.read(look)
        if ids:
            self._database.write(lambda connection: connection.execute(delete(uploads).where(uploads.c.id.in_(ids))))
        return len(ids)

    # -- within a transaction

    def _find(self, connection: Connection, upload_id: str) -> Resumable:
        row = connection.execute(_FIND, {"upload": upload_id}).first()
        if row is None:
            raise NoSuchUpload("there is no such upload")
        finished = row.finished_at is not None
        if not finished and (row.state != "uploading" or row.active_until < self._database.now(connection)):
            raise _gone()
        last = connection.execute(_LAST, {"version": row.version_id, "upto": row.offset}).scalar()
        return _resumable(row, 0 if last is None else last + 1, finished)

    def _hold(self, connection: Connection, upload: Resumable, holder: Holder, **values: Any) -> float:
        now = self._database.now(connection)
        until = self._stay(connection, upload.version_id, now, holder)
        held = connection.execute(
            update(uploads)
            .where(uploads.c.id == upload.id, uploads.c.lease_owner == holder.owner)
            .values(lease_until=now + holder.lease, **values)
        )
        if held.rowcount != 1:
            raise _others()
        return until

    def _stay(self, connection: Connection, version_id: str, now: float, holder: Holder) -> float:
        until = now + holder.active
        if connection.execute(_ACTIVE, {"active": version_id, "at": now, "until": until}).rowcount != 1:
            raise _gone()
        return until


def _resumable(row: AnyRow, count: int, finished: bool) -> Resumable:
    bucket = Bucket(row.bucket_id, row.bucket_name or "", row.wanted, row.write_copies, row.bucket_created_at)
    return Resumable(
        row.id,
        row.version_id,
        bucket,
        row.key,
        row.length,
        row.offset,
        count,
        row.kek_id,
        row.wrapped_dek,
        row.metadata,
        row.active_until,
        finished,
    )


def _gone() -> UploadGone:
    return UploadGone("the upload expired or was ended; begin another one")


def _others() -> Conflict:
    return Conflict("another request is sending this upload")


def _behind(upload: Resumable) -> Conflict:
    return Conflict(f"Upload-Offset: the upload stands at {upload.offset}")
