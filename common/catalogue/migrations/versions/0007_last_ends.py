"""When those who heal last came to an end"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "last_ends",
        sa.Column("actor", sa.String(16), primary_key=True),
        sa.Column("ended_at", sa.Double()),
        sa.Column("awaited_since", sa.Double()),
    )


def downgrade() -> None:
    op.drop_table("last_ends")
