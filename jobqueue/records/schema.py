"""The schema's version: Alembic run from within the program, so that there is no file to configure it."""

from __future__ import annotations

from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from jobqueue.errors import ConfigError

_LOCK_NUMBER: Final = 0x6A6F_6271_7565_7565  # "jobqueue": advisory locks share one number space per database


def upgrade(connection: Connection) -> None:
    """Bring the schema to this version inside the connection's transaction: wholly or not at all.

    Raises:
        ConfigError: the schema is of a version that this program doesn't know.
    """
    if connection.dialect.name == "postgresql":
        # Two processes that start together: the second waits here, and then finds nothing to do.
        connection.execute(text("SET LOCAL lock_timeout = '60s'"))
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK_NUMBER})
    config = _config()
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if newer := set(MigrationContext.configure(connection).get_current_heads()) - known:
        raise ConfigError(
            f"JOBQUEUE_DATABASE_URL: the database has schema version {', '.join(sorted(newer))}, which is newer than "
            "this program; install the jobqueue version that made it, or restore the backup from before the upgrade"
        )
    command.upgrade(config, "head")


def versions(connection: Connection) -> tuple[str, str]:
    """The schema's version in the database, empty where there is none yet, and that of this program."""
    heads = MigrationContext.configure(connection).get_current_heads()
    return ", ".join(sorted(heads)), str(ScriptDirectory.from_config(_config()).get_current_head())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "jobqueue.records:migrations")
    return config
