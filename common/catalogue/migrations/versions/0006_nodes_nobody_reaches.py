"""Since when a node does not show itself, beside the verdict that guards the healing"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("node_health", sa.Column("unreachable_since", sa.Double()))


def downgrade() -> None:
    op.drop_column("node_health", "unreachable_since")
