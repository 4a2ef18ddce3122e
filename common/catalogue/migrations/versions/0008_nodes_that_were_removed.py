"""Nodes that an operator removed, by name and endpoint: a list read again does not bring them back"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.create_table(
        "removed_nodes",
        sa.Column("name", name, primary_key=True),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("removed_at", sa.Double(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("removed_nodes")
