"""Names that a node can do nothing with any more: the copy's row says under which other one it lies"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("copies", sa.Column("alias", sa.String(8)))
    op.create_table(
        "locked_names",
        sa.Column("node_id", sa.String(32), sa.ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("blob_id", sa.String(32), primary_key=True),
        sa.Column("alias", sa.String(8), primary_key=True),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("locked_names")
    op.drop_column("copies", "alias")
