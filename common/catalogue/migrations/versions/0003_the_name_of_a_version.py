"""The name of a version: whoever deletes a version's row has the database look whether a name still points to it"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_objects_version", "objects", ["version_id"])


def downgrade() -> None:
    op.drop_index("ix_objects_version", "objects")
