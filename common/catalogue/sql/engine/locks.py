"""The locks a writing transaction takes first on PostgreSQL, in this order.

Bucket, key and node rows FOR KEY SHARE (their states are judged on what that returns); an advisory lock on the
object's name; then version and copy rows by id. SQLite has one writer and needs none of them: there the same
statements read the states.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, bindparam, select, text

from common.catalogue.sql.engine.compiled_select import CompiledSelect
from common.catalogue.sql.engine.tables import buckets, keks, nodes
from common.errors import KeysUnavailable, NoSuchBucket

_BUCKET_AND_KEK = CompiledSelect(
    select(buckets.c.deleted_at, keks.c.state)
    .select_from(buckets.join(keks, keks.c.id == bindparam("kek")))
    .where(buckets.c.id == bindparam("bucket"))
    .with_for_update(read=True, key_share=True)
)
_BUCKET = (
    select(buckets.c.deleted_at).where(buckets.c.id == bindparam("bucket")).with_for_update(read=True, key_share=True)
)
_NODES = CompiledSelect(
    select(nodes.c.id, nodes.c.mode).order_by(nodes.c.id).with_for_update(read=True, key_share=True)
)
_NAME = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")


def share_bucket(connection: Connection, bucket_id: str) -> None:
    """NoSuchBucket if it is deleted; it cannot be until this transaction ends."""
    row = connection.execute(_BUCKET, {"bucket": bucket_id}).first()
    if row is None or row.deleted_at is not None:
        raise NoSuchBucket("there is no such bucket")


def share_bucket_and_kek(connection: Connection, bucket_id: str, kek_id: str) -> None:
    found = _BUCKET_AND_KEK.all(connection, {"bucket": bucket_id, "kek": kek_id})
    if not found:
        share_bucket(connection, bucket_id)
        raise KeysUnavailable("the key of this upload is not known to the catalogue")
    if found[0].deleted_at is not None:
        raise NoSuchBucket("there is no such bucket")
    if found[0].state == "retired":
        raise KeysUnavailable("the key of this upload was retired meanwhile")


def share_nodes(connection: Connection) -> Mapping[str, str]:
    """Modes by node id."""
    return {row.id: row.mode for row in _NODES.all(connection, {})}


def lock_name(connection: Connection, bucket_id: str, key: str) -> None:
    """One writer per object name; a hash collision only makes two names wait for each other."""
    if connection.dialect.name == "postgresql":
        connection.execute(_NAME, {"name": f"{bucket_id}/{key}"})
