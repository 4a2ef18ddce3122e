"""Totals of nodes and buckets, kept by triggers beside the rows that they count (`common/catalogue/sql/totals.py`)"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TABLES = {"node_totals": ("node_id", "copies", "bytes", "missing"), "bucket_totals": ("bucket_id", "objects", "bytes")}
_COUNTED = (
    """
    INSERT INTO node_totals (node_id, slot, copies, bytes, missing)
    SELECT copies.node_id, 0,
        sum(CASE WHEN copies.state IN ('stored', 'suspect') THEN 1 ELSE 0 END),
        sum(CASE WHEN copies.state IN ('stored', 'suspect') THEN blobs.cipher_length ELSE 0 END),
        sum(CASE WHEN copies.state = 'missing' THEN 1 ELSE 0 END)
    FROM copies JOIN blobs ON blobs.id = copies.blob_id
    WHERE copies.node_id IS NOT NULL GROUP BY copies.node_id
    """,
    """
    INSERT INTO bucket_totals (bucket_id, slot, objects, bytes)
    SELECT objects.bucket_id, 0, count(*), sum(versions.size)
    FROM objects JOIN versions ON versions.id = objects.version_id GROUP BY objects.bucket_id
    """,
)


def _sqlite_copy(row: str, sign: str) -> str:
    held = f"({row}.state IN ('stored', 'suspect'))"
    return f"""
    INSERT INTO node_totals (node_id, slot, copies, bytes, missing)
    SELECT {row}.node_id, 0, {sign}{held},
        {sign}{held} * (SELECT cipher_length FROM blobs WHERE id = {row}.blob_id), {sign}({row}.state = 'missing')
    WHERE {row}.node_id IS NOT NULL
    ON CONFLICT (node_id, slot) DO UPDATE SET
        copies = copies + excluded.copies, bytes = bytes + excluded.bytes, missing = missing + excluded.missing;
    """  # noqa: S608 - `row` is OLD or NEW


def _sqlite_object(row: str, sign: str) -> str:
    return f"""
    INSERT INTO bucket_totals (bucket_id, slot, objects, bytes)
    SELECT {row}.bucket_id, 0, {sign}1, {sign}(SELECT size FROM versions WHERE id = {row}.version_id)
    WHERE true
    ON CONFLICT (bucket_id, slot) DO UPDATE SET objects = objects + excluded.objects, bytes = bytes + excluded.bytes;
    """  # noqa: S608 - `row` is OLD or NEW


_MOVED = "OLD.state IS NOT NEW.state OR OLD.node_id IS NOT NEW.node_id"
_SQLITE = (
    f"CREATE TRIGGER copies_come AFTER INSERT ON copies BEGIN {_sqlite_copy('NEW', '')} END",
    f"CREATE TRIGGER copies_go AFTER DELETE ON copies BEGIN {_sqlite_copy('OLD', '-')} END",
    f"CREATE TRIGGER copies_change AFTER UPDATE OF state, node_id ON copies WHEN {_MOVED} "
    f"BEGIN {_sqlite_copy('OLD', '-')} {_sqlite_copy('NEW', '')} END",
    f"CREATE TRIGGER objects_come AFTER INSERT ON objects BEGIN {_sqlite_object('NEW', '')} END",
    f"CREATE TRIGGER objects_go AFTER DELETE ON objects BEGIN {_sqlite_object('OLD', '-')} END",
    "CREATE TRIGGER objects_change AFTER UPDATE OF version_id ON objects "
    f"BEGIN {_sqlite_object('OLD', '-')} {_sqlite_object('NEW', '')} END",
)
# OLD is null in an insert, NEW in a delete.
_POSTGRES = (
    "CREATE SEQUENCE totals_slot",
    """
    CREATE FUNCTION count_copy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO node_totals (node_id, slot, copies, bytes, missing)
        SELECT side.node_id, nextval('totals_slot'), sum(side.held),
            sum(side.held) * (SELECT cipher_length FROM blobs WHERE id = coalesce(NEW.blob_id, OLD.blob_id)),
            sum(side.missing)
        FROM (VALUES
            (NEW.node_id, (NEW.state IN ('stored', 'suspect'))::int, (NEW.state = 'missing')::int),
            (OLD.node_id, -(OLD.state IN ('stored', 'suspect'))::int, -(OLD.state = 'missing')::int)
        ) AS side (node_id, held, missing)
        WHERE side.node_id IS NOT NULL
        GROUP BY side.node_id HAVING sum(side.held) <> 0 OR sum(side.missing) <> 0;
        RETURN NULL;
    END $$
    """,
    """
    CREATE FUNCTION count_object() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO bucket_totals (bucket_id, slot, objects, bytes)
        SELECT side.bucket_id, nextval('totals_slot'), sum(side.sign), sum(side.sign * versions.size)
        FROM (VALUES (NEW.bucket_id, NEW.version_id, 1), (OLD.bucket_id, OLD.version_id, -1))
            AS side (bucket_id, version_id, sign)
        JOIN versions ON versions.id = side.version_id
        GROUP BY side.bucket_id HAVING sum(side.sign) <> 0 OR sum(side.sign * versions.size) <> 0;
        RETURN NULL;
    END $$
    """,
    "CREATE TRIGGER copies_come_and_go AFTER INSERT OR DELETE ON copies FOR EACH ROW EXECUTE FUNCTION count_copy()",
    "CREATE TRIGGER copies_change AFTER UPDATE OF state, node_id ON copies FOR EACH ROW "
    "WHEN (OLD.state IS DISTINCT FROM NEW.state OR OLD.node_id IS DISTINCT FROM NEW.node_id) "
    "EXECUTE FUNCTION count_copy()",
    "CREATE TRIGGER objects_come_and_go AFTER INSERT OR DELETE OR UPDATE OF version_id ON objects FOR EACH ROW "
    "EXECUTE FUNCTION count_object()",
)


def upgrade() -> None:
    for table, (owner, *counts) in _TABLES.items():
        op.create_table(
            table,
            sa.Column(owner, sa.String(length=32), nullable=False),
            sa.Column("slot", sa.BigInteger(), nullable=False),
            *(sa.Column(count, sa.BigInteger(), nullable=False) for count in counts),
            sa.PrimaryKeyConstraint(owner, "slot", name=op.f(f"pk_{table}")),
            sqlite_with_rowid=False,
        )
    # Triggers first: they lock the tables against writers, so that nothing comes between them and the count.
    postgres = op.get_bind().dialect.name == "postgresql"
    if postgres:
        op.execute("SET LOCAL statement_timeout = 0")
    for statement in (*(_POSTGRES if postgres else _SQLITE), *_COUNTED):
        op.execute(statement)


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for function in ("count_copy", "count_object"):
            op.execute(f"DROP FUNCTION {function}() CASCADE")
        op.execute("DROP SEQUENCE totals_slot")
    else:
        for table in ("copies", "objects"):
            for what in ("come", "go", "change"):
                op.execute(f"DROP TRIGGER {table}_{what}")
    for table in _TABLES:
        op.drop_table(table)
