"""Files get what a virus scanner made of them, and are found by their bytes. Nobody has looked at those there are."""

from __future__ import annotations

from alembic import op
from sqlalchemy import JSON, Column

revision = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.add_column("files", Column("scan", JSON))
    op.create_index("ix_files_tenant_id_sha256", "files", ["tenant_id", "sha256"])


def downgrade() -> None:
    op.drop_index("ix_files_tenant_id_sha256", "files")
    op.drop_column("files", "scan")
