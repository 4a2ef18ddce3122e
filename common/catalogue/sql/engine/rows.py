"""Rows of versions, blobs and copies as the values the rest of the system knows, and how a version is protected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import FromClause, Join, Row, case, func, select

from common.catalogue.sql.engine.tables import blobs, buckets, copies, node_health, nodes, versions
from common.model.copies import CopyState, Placed
from common.model.versions import Blob, Headers, Protection, StoredBlob, Version

AnyRow = Row[*tuple[Any, ...]]

VERSION = (
    versions.c.id.label("version_id"),
    versions.c.bucket_id,
    buckets.c.name.label("bucket_name"),
    versions.c.key,
    versions.c.size,
    versions.c.blob_count,
    versions.c.wanted,
    versions.c.kek_id,
    versions.c.wrapped_dek,
    versions.c.sha256,
    versions.c.created_at,
    versions.c.content_type,
    versions.c.content_encoding,
    versions.c.content_language,
    versions.c.content_disposition,
    versions.c.cache_control,
    versions.c.metadata,
)
BLOB = (
    blobs.c.id.label("blob_id"),
    blobs.c.number,
    blobs.c.offset,
    blobs.c.length,
    blobs.c.cipher_length,
    blobs.c.digest,
    blobs.c.salt,
)
COPY = (
    copies.c.id.label("copy_id"),
    copies.c.node_id,
    copies.c.state.label("copy_state"),
    copies.c.alias,
    copies.c.stored_at,
    copies.c.dead_at,
    nodes.c.mode,
    node_health.c.health,
    node_health.c.unreachable_since,
)


def with_copies(left: FromClause) -> Join:
    """Blobs with their copies and those copies' nodes. Flat: SQLite would materialise a nested join's right side."""
    return (
        left.outerjoin(copies, copies.c.blob_id == blobs.c.id)
        .outerjoin(nodes, nodes.c.id == copies.c.node_id)
        .outerjoin(node_health, node_health.c.node_id == copies.c.node_id)
    )


def version(row: AnyRow) -> Version:
    headers = Headers(
        row.content_type,
        row.content_encoding,
        row.content_language,
        row.content_disposition,
        row.cache_control,
        row.metadata or {},
    )
    return Version(
        row.version_id,
        row.bucket_id,
        row.bucket_name,
        row.key,
        row.size,
        row.blob_count,
        row.wanted,
        headers,
        row.kek_id,
        row.wrapped_dek,
        row.sha256,
        row.created_at,
    )


def blob(row: AnyRow) -> Blob:
    return Blob(row.blob_id, row.number, row.offset, row.length, row.cipher_length, row.digest, row.salt)


def stored_blobs(rows: Iterable[AnyRow]) -> list[StoredBlob]:
    """Rows of blob × copy, ordered by blob number."""
    result: list[StoredBlob] = []
    placed: list[Placed] = []
    for row in rows:
        if row.blob_id is None:
            continue
        if not result or result[-1].blob.id != row.blob_id:
            placed = []
            result.append(StoredBlob(blob(row), placed))
        if row.copy_id is not None and row.copy_state != "doomed":
            placed.append(Placed(row.node_id, CopyState(row.copy_state), row.alias))
    return result


def protection(wanted: int, rows: Sequence[AnyRow]) -> Protection:
    """How a version is protected, over rows of blob × copy; the same counts as `per_version` makes in the database."""
    counts: dict[str, list[int]] = {}
    harmed = False
    for row in rows:
        mine = counts.setdefault(row.blob_id, [0, 0, 0])
        if row.copy_id is None or row.copy_state == "doomed":
            continue
        placed = row.node_id is not None and row.mode != "retired"
        stored = row.copy_state == "stored"
        good = stored and placed and row.health != "foreign"
        reached = row.health in ("up", "suspect") and row.unreachable_since is None
        live = good and reached
        mine[0] += good
        mine[1] += live
        mine[2] += placed and row.copy_state in ("stored", "suspect") and reached
        harmed = harmed or row.dead_at is not None or (row.stored_at is not None and not live)
    least = [min(column) for column in zip(*counts.values(), strict=True)] or [0, 0, 0]
    return Protection(wanted, min(least[0], wanted), min(least[1], wanted), least[2], harmed)


_placed = (copies.c.node_id.is_not(None)) & (nodes.c.mode != "retired") & (copies.c.state != "doomed")
_good = _placed & (copies.c.state == "stored") & (node_health.c.health != "foreign")
_reached = node_health.c.health.in_(("up", "suspect")) & node_health.c.unreachable_since.is_(None)
_live = _good & _reached
READABLE = _placed & copies.c.state.in_(("stored", "suspect")) & _reached
_harmed = (copies.c.state != "doomed") & (
    copies.c.dead_at.is_not(None)
    | (copies.c.stored_at.is_not(None) & ((copies.c.state != "stored") | (nodes.c.mode == "retired") | ~_reached))
)


def per_version(which: Any) -> Any:
    """A statement of (version_id, good, live, readable, harmed): the least over the blobs of the versions `which`."""
    per_blob = (
        select(
            blobs.c.version_id,
            func.sum(case((_good, 1), else_=0)).label("good"),
            func.sum(case((_live, 1), else_=0)).label("live"),
            func.sum(case((READABLE, 1), else_=0)).label("readable"),
            func.max(case((_harmed, 1), else_=0)).label("harmed"),
        )
        .select_from(with_copies(blobs))
        .where(blobs.c.version_id.in_(which))
        .group_by(blobs.c.version_id, blobs.c.number)  # not the id: SQLite would go through all blobs in that order
        .subquery()
    )
    return select(
        per_blob.c.version_id,
        func.min(per_blob.c.good).label("good"),
        func.min(per_blob.c.live).label("live"),
        func.min(per_blob.c.readable).label("readable"),
        func.max(per_blob.c.harmed).label("harmed"),
    ).group_by(per_blob.c.version_id)


def protection_of(wanted: int, row: AnyRow | None) -> Protection:
    if row is None:
        return Protection(wanted, 0, 0, 0, False)
    return Protection(wanted, min(row.good, wanted), min(row.live, wanted), row.readable, bool(row.harmed))
