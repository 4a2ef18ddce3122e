"""The rows of a node, in pages: draining and re-protection go through them"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_copies_node", "copies", ["node_id", "id"])


def downgrade() -> None:
    op.drop_index("ix_copies_node", "copies")
