"""The tables. Each row belongs to a tenant, and the tenant leads every primary key: there is no look-up without it.

A change here needs a migration in ``migrations/versions``; the contract suite holds the two against each other.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.exc import DontWrapMixin


class NaiveTimestamp(DontWrapMixin, TypeError):
    """A datetime without a time zone was about to be stored: a mistake of the calling code."""


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetimes, stored in UTC; SQLite, which knows no time zones, gets them without and gives them back with."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise NaiveTimestamp(f"naive datetime {value!r}: give it a time zone")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  # SQLAlchemy's signature
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class SafeText(TypeDecorator[str]):
    """Text from strangers: NUL and lone surrogates, which a database refuses, become U+FFFD instead of an error.

    An error message or a file name with such a character must not keep a task's end from being recorded.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002  # SQLAlchemy's signature
        if value is None:
            return None
        return value.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


# Never searched, so JSON rather than JSONB: it keeps the order of keys and takes every string.
_Json = JSON(none_as_null=True)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

files = Table(
    "files",
    metadata,
    Column("tenant_id", SafeText, primary_key=True),
    Column("id", SafeText, primary_key=True),
    Column("name", SafeText, nullable=False),
    Column("blob_key", SafeText, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", SafeText, nullable=False),
    Column("state", SafeText, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("info", _Json),
    Column("reason", SafeText),
    Column("scan", _Json),
    Index(None, "tenant_id", "sha256"),  # find_files
)

contracts = Table(
    "contracts",
    metadata,
    Column("tenant_id", SafeText, primary_key=True),
    Column("id", SafeText, primary_key=True),
    Column("file_id", SafeText, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("text_key", SafeText),
    Column("extraction", _Json),
    Column("summary", _Json),
    Column("analysis", _Json),
    Column("usage", _Json, nullable=False),
    Column("reports", _Json, nullable=False),
    # With the tenant in it, so that a contract can't be made of another tenant's file.
    ForeignKeyConstraint(["tenant_id", "file_id"], ["files.tenant_id", "files.id"]),
    Index(None, "tenant_id", "file_id"),
)

# What was asked for, kept apart from what it was about: no foreign keys, so a task may name a contract yet to be made.
tasks = Table(
    "tasks",
    metadata,
    Column("tenant_id", SafeText, primary_key=True),
    Column("id", SafeText, primary_key=True),
    Column("kind", SafeText, nullable=False),
    Column("state", SafeText, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("file_id", SafeText),
    Column("contract_id", SafeText),
    Column("error", SafeText),
    Column("spec", _Json, nullable=False),
    Index(None, "tenant_id", "created_at", "id"),  # list_tasks
    Index(None, "finished_at"),  # prune
)

# Append-only: the first migration adds triggers that refuse UPDATE and DELETE.
audit_log = Table(
    "audit_log",
    metadata,
    # SQLite numbers rows by itself only when the column is called INTEGER.
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("tenant_id", SafeText, nullable=False),
    Column("actor", SafeText, nullable=False),
    Column("action", SafeText, nullable=False),
    Column("subject", SafeText, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("detail", _Json, nullable=False),
    Index(None, "tenant_id", "at", "number"),  # audit_trail
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("tenant_id", SafeText, primary_key=True),
    Column("id", SafeText, primary_key=True),
    Column("name", SafeText, nullable=False),
    Column("sha256", SafeText, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
    Column("role", SafeText, nullable=False, server_default="member"),
    Index(None, "sha256", unique=True),  # find_api_key
)
