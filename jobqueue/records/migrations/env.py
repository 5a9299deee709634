"""Run by Alembic for every command; the connection, with its transaction, is handed in by `schema.upgrade`."""

from __future__ import annotations

from alembic import context

from jobqueue.records.models import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes a column by copying the table
)
with context.begin_transaction():
    context.run_migrations()
