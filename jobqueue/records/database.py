"""The database: connections, transactions and the schema's version."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from sqlalchemy import URL, make_url, select
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from jobqueue.errors import ConfigError
from jobqueue.ports import UnitOfWork
from jobqueue.records import schema, sqlite
from jobqueue.records.failures import describe, translated, unavailable
from jobqueue.records.unit import SqlUnit

_DRIVERS: Final = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
# One connection a process: SQLite has one writer at a time anyway, and its own waiting is polling in no order, while
# the pool hands the connection on first come, first served.
_SQLITE_POOL: Final[dict[str, Any]] = {"pool_size": 1, "max_overflow": 0, "pool_timeout": sqlite.BUSY_S}
_POSTGRESQL_POOL: Final[dict[str, Any]] = {
    "pool_size": 8,
    "max_overflow": 0,
    "pool_pre_ping": True,  # a connection may have died with the server since it was last used
    "connect_args": {"timeout": 10, "server_settings": {"application_name": "jobqueue", "statement_timeout": "60000"}},
}


class Database:
    """Implements `jobqueue.ports.Records` on SQLite or PostgreSQL.

    Args:
        url: ``sqlite+aiosqlite:///path`` or ``postgresql+asyncpg://user:password@host/name``; the driver may be
            left out. Nothing is opened before the first call.

    Attributes:
        name: its kind and place, without user and password.
        file: of SQLite, where the data lies; else None.

    Raises:
        ConfigError: another kind of database, one in memory, or a driver that is not installed.

    >>> import tempfile
    >>> async def main(directory: str) -> None:
    ...     database = Database(f"sqlite:///{directory}/jobqueue.db")
    ...     await database.migrate()
    ...     async with database.unit() as unit:
    ...         print(await unit.list_tasks("tenant-1"))
    ...     await database.close()
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     asyncio.run(main(directory))
    []
    """

    def __init__(self, url: str) -> None:
        parsed = _parse(url)
        self.name = describe(parsed)
        self.file = sqlite.database_file(parsed) if parsed.get_backend_name() == "sqlite" else None
        self._engine = _engine(parsed)
        if self.file is not None:
            sqlite.prepare(self._engine.sync_engine, self.file)

    @asynccontextmanager
    async def unit(self) -> AsyncIterator[UnitOfWork]:
        """One transaction, as the port says.

        Keep it short, and never open one inside another: SQLite runs one unit at a time, and the inner would wait
        for the outer until it times out.
        """
        async with self._transaction() as connection:
            yield SqlUnit(connection, self.name)

    async def migrate(self) -> None:
        """Bring the schema to this version, as the port says.

        Raises:
            ConfigError: the schema is newer than this program, or the file can't be shared by several processes.
            Unavailable: also when another process has been migrating for a minute.
        """
        async with self._alone(), self._transaction() as connection:
            await connection.run_sync(schema.upgrade)

    async def versions(self) -> tuple[str, str]:
        """The schema's version in the database, empty where there is none yet, and that of this program.

        Raises:
            Unavailable: as the port says.
        """
        async with self._transaction() as connection:
            return await connection.run_sync(schema.versions)

    async def ping(self) -> None:
        """As the port says; on SQLite it takes the write lock, so it proves that the file can be written to."""
        async with self._transaction() as connection:
            await connection.execute(select(1))

    async def close(self) -> None:
        """Close every connection; a later call opens new ones."""
        await self._engine.dispose()

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        async with AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(self._engine.connect())
            except Exception as exc:  # drivers raise what they like here: OSError, socket and TLS errors, their own
                raise unavailable(self.name, exc) from exc
            with translated(self.name):
                async with connection.begin():
                    yield connection

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Hold the migration lock beside the SQLite file; PostgreSQL's own is taken by `schema.upgrade`."""
        if self.file is None:
            yield
            return
        async with AsyncExitStack() as stack:
            try:
                sqlite.make_private(self.file)
                await stack.enter_async_context(sqlite.migration_lock(self.file))
                await asyncio.to_thread(sqlite.use_write_ahead_log, self.file)
            except (OSError, sqlite3.Error) as exc:
                raise unavailable(self.name, exc) from exc
            yield


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        # Without the cause: its message may hold the URL, and the URL a password.
        raise ConfigError("JOBQUEUE_DATABASE_URL is not a URL such as sqlite:///path or postgresql://…") from None
    driver = _DRIVERS.get(parsed.get_backend_name())
    if driver is None or parsed.drivername not in {parsed.get_backend_name(), driver}:
        supported = " or ".join(sorted({*_DRIVERS.values()}))
        raise ConfigError(f"JOBQUEUE_DATABASE_URL: {parsed.drivername} is not supported; use {supported}")
    return parsed.set(drivername=driver)


def _engine(url: URL) -> AsyncEngine:
    pool = _SQLITE_POOL if url.get_backend_name() == "sqlite" else _POSTGRESQL_POOL
    try:
        return create_async_engine(url, hide_parameters=True, **pool)
    except ModuleNotFoundError as exc:
        raise ConfigError(
            f"JOBQUEUE_DATABASE_URL: the driver for {url.drivername} is not installed; pip install {exc.name}"
        ) from exc
