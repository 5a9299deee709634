"""What SQLite needs to be a database that several processes write to and that loses nothing."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, event

from jobqueue.errors import ConfigError, Unavailable

BUSY_S: Final = 30.0
"""How long one process waits for another's transaction before the database counts as locked."""
_PRAGMAS: Final = (
    # FULL, not NORMAL: in write-ahead mode NORMAL may forget the last commits when the power fails, and what has
    # been accepted is never lost. It costs one fsync a commit.
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    f"PRAGMA busy_timeout = {int(BUSY_S * 1000)}",
)


def database_file(url: URL) -> Path:
    """The file a SQLite URL names.

    Raises:
        ConfigError: it names none: a database in memory would be another one for every process.
    """
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise ConfigError(
            "JOBQUEUE_DATABASE_URL: SQLite needs a file, as in sqlite+aiosqlite:////var/lib/jobqueue/jobqueue.db; "
            "a database in memory can't be shared by the processes"
        )
    return Path(url.database).absolute()


def make_private(file: Path) -> None:
    """Make file and directory, readable by their owner alone, unless they exist.

    Left to SQLite, the file would get the umask's mode; its ``-wal`` and ``-shm`` companions inherit this one's.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def prepare(engine: Engine, file: Path) -> None:
    """Hang the settings above on every connection of ``engine``, and begin its transactions with BEGIN IMMEDIATE."""

    @event.listens_for(engine, "do_connect")
    def make_file(*_: Any) -> None:
        make_private(file)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        # The driver begins no transactions of its own; `begin_immediate` does.
        # docs.sqlalchemy.org/en/20/dialects/sqlite.html, "Enabling Non-Legacy SQLite Transactional Modes"
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in _PRAGMAS:
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin_immediate(connection: Connection) -> None:
        # A transaction that reads first and then wants to write fails at once, whatever the busy timeout, when
        # another process wrote in between. Taking the write lock at the start turns that failure into a queue.
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def use_write_ahead_log(file: Path) -> None:
    """Switch the file to write-ahead logging, which it then keeps.

    Only while no other process migrates: the switch needs the file for itself and doesn't wait for it.
    """
    with closing(sqlite3.connect(file, timeout=BUSY_S)) as connection:
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise ConfigError(
            f"JOBQUEUE_DATABASE_URL: SQLite can't keep a write-ahead log beside {file} (answered {mode!r}); "
            "put the file on a local disk"
        )


@asynccontextmanager
async def migration_lock(file: Path, *, wait_s: float = 60.0) -> AsyncIterator[None]:
    """Hold ``<file>.migrate``, a lock between processes that the kernel drops when its holder dies.

    Raises:
        Unavailable: another process has held it for ``wait_s``.
    """
    deadline = time.monotonic() + wait_s
    descriptor = os.open(f"{file}.migrate", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not _lock(descriptor):
            if time.monotonic() > deadline:
                raise Unavailable(f"another process has been migrating {file} for {wait_s:.0f} s; look for a stuck one")
            await asyncio.sleep(0.02)  # asked again rather than waited for in a thread: that couldn't be cancelled
        yield
    finally:
        os.close(descriptor)  # and so unlock


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
