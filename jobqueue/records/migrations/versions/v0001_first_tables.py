"""The first tables: files, contracts, tasks, the audit log and API keys.

Column types are spelled out and not taken from ``models.py``, which moves on.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    ForeignKeyConstraint,
    Integer,
    PrimaryKeyConstraint,
    Text,
)

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

_TIME = DateTime(timezone=True)
_REFUSAL = "the audit log is append-only"


def upgrade() -> None:
    _create_files_and_contracts()
    _create_tasks()
    _create_audit_log()
    _create_api_keys()


def downgrade() -> None:
    for table in ("api_keys", "audit_log", "tasks", "contracts", "files"):
        op.drop_table(table)
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_audit_change()")


def _create_files_and_contracts() -> None:
    op.create_table(
        "files",
        Column("tenant_id", Text, nullable=False),
        Column("id", Text, nullable=False),
        Column("name", Text, nullable=False),
        Column("blob_key", Text, nullable=False),
        Column("size_bytes", BigInteger, nullable=False),
        Column("sha256", Text, nullable=False),
        Column("state", Text, nullable=False),
        Column("created_at", _TIME, nullable=False),
        Column("info", JSON),
        Column("reason", Text),
        PrimaryKeyConstraint("tenant_id", "id", name="pk_files"),
    )
    op.create_table(
        "contracts",
        Column("tenant_id", Text, nullable=False),
        Column("id", Text, nullable=False),
        Column("file_id", Text, nullable=False),
        Column("created_at", _TIME, nullable=False),
        Column("text_key", Text),
        Column("extraction", JSON),
        Column("summary", JSON),
        Column("analysis", JSON),
        Column("usage", JSON, nullable=False),
        Column("reports", JSON, nullable=False),
        PrimaryKeyConstraint("tenant_id", "id", name="pk_contracts"),
        ForeignKeyConstraint(["tenant_id", "file_id"], ["files.tenant_id", "files.id"], name="fk_contracts_files"),
    )
    op.create_index("ix_contracts_tenant_id_file_id", "contracts", ["tenant_id", "file_id"])


def _create_tasks() -> None:
    op.create_table(
        "tasks",
        Column("tenant_id", Text, nullable=False),
        Column("id", Text, nullable=False),
        Column("kind", Text, nullable=False),
        Column("state", Text, nullable=False),
        Column("created_at", _TIME, nullable=False),
        Column("finished_at", _TIME),
        Column("file_id", Text),
        Column("contract_id", Text),
        Column("error", Text),
        Column("spec", JSON, nullable=False),
        PrimaryKeyConstraint("tenant_id", "id", name="pk_tasks"),
    )
    op.create_index("ix_tasks_tenant_id_created_at_id", "tasks", ["tenant_id", "created_at", "id"])
    op.create_index("ix_tasks_finished_at", "tasks", ["finished_at"])


def _create_audit_log() -> None:
    op.create_table(
        "audit_log",
        Column("number", BigInteger().with_variant(Integer, "sqlite"), nullable=False, autoincrement=True),
        Column("tenant_id", Text, nullable=False),
        Column("actor", Text, nullable=False),
        Column("action", Text, nullable=False),
        Column("subject", Text, nullable=False),
        Column("at", _TIME, nullable=False),
        Column("detail", JSON, nullable=False),
        PrimaryKeyConstraint("number", name="pk_audit_log"),
    )
    op.create_index("ix_audit_log_tenant_id_at_number", "audit_log", ["tenant_id", "at", "number"])
    if op.get_context().dialect.name == "sqlite":
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER audit_log_refuses_{change.lower()} BEFORE {change} ON audit_log "
                f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}' USING ERRCODE = 'restrict_violation'; END $$"
    )
    # TRUNCATE fires no row triggers, hence one per statement.
    op.execute(
        "CREATE TRIGGER audit_log_refuses_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()"
    )


def _create_api_keys() -> None:
    op.create_table(
        "api_keys",
        Column("tenant_id", Text, nullable=False),
        Column("id", Text, nullable=False),
        Column("name", Text, nullable=False),
        Column("sha256", Text, nullable=False),
        Column("created_at", _TIME, nullable=False),
        Column("revoked_at", _TIME),
        PrimaryKeyConstraint("tenant_id", "id", name="pk_api_keys"),
    )
    op.create_index("ix_api_keys_sha256", "api_keys", ["sha256"], unique=True)
