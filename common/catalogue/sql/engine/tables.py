"""The tables, once, for SQLite and PostgreSQL. Changes go through a migration.

Times are seconds since the epoch, UTC. Ids are 32 hex digits but for copies, which are many and numbered. Names and
keys compare as bytes: SQLite's BINARY, PostgreSQL's "C". What every upload writes is kept in its primary key's order
(`WITHOUT ROWID`): one page less to write for each table.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    literal_column,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Id = String(32)
Bytewise = Text().with_variant(Text(collation="C"), "postgresql")


def only_where(condition: str) -> dict[str, Any]:
    """Options of a partial index."""
    return {f"{dialect}_where": text(condition) for dialect in ("sqlite", "postgresql")}


RowId = BigInteger().with_variant(Integer(), "sqlite")

cluster = Table(
    "cluster",
    metadata,
    Column("one", Integer, primary_key=True),
    Column("id", Id, nullable=False),
    Column("generation", Id, nullable=False),
    Column("created_at", Double, nullable=False),
    CheckConstraint("one = 1", name="one"),
)

# A deleted bucket keeps its row while versions of it are being cleaned up; its name is free at once.
buckets = Table(
    "buckets",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Bytewise, unique=True),
    Column("copies", Integer, nullable=False),
    Column("write_copies", Integer, nullable=False),
    Column("quota", BigInteger),
    Column("created_at", Double, nullable=False),
    Column("deleted_at", Double),
)

versions = Table(
    "versions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("bucket_id", Id, ForeignKey("buckets.id"), nullable=False),
    Column("key", Bytewise, nullable=False),
    Column("state", String(9), nullable=False),
    Column("wanted", Integer, nullable=False),
    Column("size", BigInteger),
    Column("blob_count", Integer),
    Column("kek_id", String(64)),
    Column("wrapped_dek", LargeBinary),
    Column("sha256", LargeBinary),
    Column("content_type", Text),
    Column("content_encoding", Text),
    Column("content_language", Text),
    Column("content_disposition", Text),
    Column("cache_control", Text),
    Column("metadata", JSON),
    Column("created_at", Double),
    Column("active_until", Double),
    Column("doomed_at", Double),
    CheckConstraint("state IN ('uploading', 'current', 'doomed')", name="state"),
    Index("ix_versions_uploading", "active_until", **only_where("state = 'uploading'")),
    Index("ix_versions_doomed", "doomed_at", **only_where("state = 'doomed'")),
    sqlite_with_rowid=False,
)

# The current version of each name.
objects = Table(
    "objects",
    metadata,
    Column("bucket_id", Id, ForeignKey("buckets.id"), primary_key=True),
    Column("key", Bytewise, primary_key=True),
    Column("version_id", Id, ForeignKey("versions.id"), nullable=False),
    Index("ix_objects_version", "version_id"),  # for the foreign key: a version's deletion looks here
    sqlite_with_rowid=False,
)

# A row without a version is a tombstone: reclaim removed the name, and a late commit must not take the id.
blobs = Table(
    "blobs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("version_id", Id, ForeignKey("versions.id")),
    Column("number", Integer),
    Column("offset", BigInteger),
    Column("length", BigInteger),
    Column("cipher_length", BigInteger),
    Column("digest", LargeBinary),
    Column("salt", LargeBinary),
    Column("tombstone_at", Double),
    Index("ix_blobs_version", "version_id", "number", unique=True),
    sqlite_with_rowid=False,
)

nodes = Table(
    "nodes",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Bytewise, unique=True, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("bucket", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("zone", Text, nullable=False),
    Column("weight", Double, nullable=False),
    Column("credentials", Text, nullable=False),
    Column("mode", String(8), nullable=False),
    Column("mode_until", Double),
    Column("writable", Boolean, nullable=False),
    Column("writable_checked_at", Double),
    Column("identity", String(8), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    CheckConstraint("mode IN ('active', 'draining', 'paused', 'retired')", name="mode"),
    CheckConstraint("identity IN ('new', 'known', 'foreign')", name="identity"),
    Index("uq_nodes_place", "endpoint", "bucket", unique=True),
)

# Nodes that were removed, until somebody adds one of the name again: BOVEDA_NODES_FILE is read at each start.
removed_nodes = Table(
    "removed_nodes",
    metadata,
    Column("name", Bytewise, primary_key=True),
    Column("endpoint", Text, nullable=False),
    Column("removed_at", Double, nullable=False),
)

# Apart from `nodes`, so that the health writer and the commits' locks do not meet.
node_health = Table(
    "node_health",
    metadata,
    Column("node_id", Id, ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True),
    Column("health", String(8), nullable=False),
    Column("since", Double, nullable=False),
    Column("last_seen", Double),
    Column("last_error", Text),
    Column("woken_since", Double),
    Column("unreachable_since", Double),
    CheckConstraint("health IN ('up', 'suspect', 'down', 'foreign')", name="health"),
)

copies = Table(
    "copies",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("blob_id", Id, ForeignKey("blobs.id"), nullable=False),
    Column("node_id", Id, ForeignKey("nodes.id")),
    Column("state", String(7), nullable=False),
    Column("fence", Integer, nullable=False, server_default=text("0")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("failures", JSON(none_as_null=True)),
    Column("next_attempt_at", Double),
    Column("enqueued_at", Double),
    Column("lease_owner", String(64)),
    Column("lease_until", Double),
    Column("stored_at", Double),
    Column("verified_at", Double),
    Column("first_error", Text),
    Column("first_error_kind", String(16)),
    Column("first_error_at", Double),
    Column("last_error", Text),
    Column("last_error_kind", String(16)),
    Column("last_error_at", Double),
    Column("dead_at", Double),
    Column("acknowledged_at", Double),
    Column("alias", String(8)),
    CheckConstraint("state IN ('missing', 'stored', 'suspect', 'doomed')", name="state"),
    Index("uq_copies_place", "blob_id", "node_id", unique=True),
    Index("ix_copies_work", "node_id", "state", "next_attempt_at"),
    Index("ix_copies_node", "node_id", "id"),
    Index("ix_copies_waiting", "state", "id", **only_where("state <> 'stored'")),
    Index("ix_copies_leased", "lease_until", **only_where("lease_until IS NOT NULL")),
    Index("ix_copies_dead", "dead_at", **only_where("dead_at IS NOT NULL")),
)

# Names at which a node fails whatever is asked of it. No row of a copy refers to them any more.
locked_names = Table(
    "locked_names",
    metadata,
    Column("node_id", Id, ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True),
    Column("blob_id", Id, primary_key=True),
    Column("alias", String(8), primary_key=True),  # "" for the plain name
    Column("since", Double, nullable=False),
    Column("error", Text, nullable=False),
    sqlite_with_rowid=False,
)

keks = Table(
    "keks",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("state", String(8), nullable=False),
    Column("created_at", Double, nullable=False),
    CheckConstraint("state IN ('active', 'readable', 'retired')", name="state"),
)

# What tus has to remember between two requests; the version row says the rest.
uploads = Table(
    "uploads",
    metadata,
    Column("id", Id, primary_key=True),
    Column("version_id", Id, ForeignKey("versions.id"), nullable=False, unique=True),
    Column("length", BigInteger),
    Column("offset", BigInteger, nullable=False),
    Column("kek_id", String(64), nullable=False),
    Column("wrapped_dek", LargeBinary, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("digest_state", LargeBinary),
    Column("lease_owner", String(64)),
    Column("lease_until", Double),
    Column("created_at", Double, nullable=False),
    Column("finished_at", Double),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("scope", JSON, nullable=False),
    Column("dry_run", Boolean, nullable=False),
    Column("force", Boolean, nullable=False),
    Column("state", String(9), nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("report", JSON, nullable=False),
    Column("cursor", JSON(none_as_null=True)),
    Column("error", Text),
    Column("created_at", Double, nullable=False, index=True),
    Column("started_at", Double),
    Column("finished_at", Double),
)

# Of those who heal. See `common.model.actors`.
last_ends = Table(
    "last_ends",
    metadata,
    Column("actor", String(16), primary_key=True),
    Column("ended_at", Double),
    Column("awaited_since", Double),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("until", Double, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Bytewise, unique=True, nullable=False),
    Column("digest", String(64), unique=True, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("buckets", JSON(none_as_null=True)),
    Column("expires_at", Double),
    Column("created_at", Double, nullable=False),
)

scrubs = Table(
    "scrubs",
    metadata,
    Column("node_id", Id, ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True),
    Column("cursor", Text, nullable=False),
    Column("pass_started_at", Double),
    Column("pass_finished_at", Double),
    Column("passes", Integer, nullable=False),
    Column("blobs", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("found", JSON, nullable=False),
    Column("updated_at", Double, nullable=False),
)

# Kept by triggers, summed over the slots: see `totals`.
node_totals = Table(
    "node_totals",
    metadata,
    Column("node_id", Id, primary_key=True),
    Column("slot", BigInteger, primary_key=True),
    Column("copies", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("missing", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

bucket_totals = Table(
    "bucket_totals",
    metadata,
    Column("bucket_id", Id, primary_key=True),
    Column("slot", BigInteger, primary_key=True),
    Column("objects", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)


# Written as literals, so that both databases see that the partial indexes apply.
IS_WAITING = copies.c.state != literal_column("'stored'")
IS_UPLOADING = versions.c.state == literal_column("'uploading'")
IS_DOOMED_VERSION = versions.c.state == literal_column("'doomed'")
