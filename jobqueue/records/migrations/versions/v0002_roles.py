"""API keys get a role. Those that there are were made for one tenant's own work: they are members."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Text

revision = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    # With a default in the database, since a program of the version before may still be running, and make keys.
    op.add_column("api_keys", Column("role", Text, nullable=False, server_default="member"))


def downgrade() -> None:
    op.drop_column("api_keys", "role")
