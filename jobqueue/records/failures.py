"""Database errors, as the caller sees them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL
from sqlalchemy import exc as sa

from jobqueue.errors import Unavailable

# ProgrammingError too: our statements are fixed, so one that is refused has met a schema not yet migrated.
# A driver's errors without a category of their own (a deadlock, a server shutting down) arrive as the base classes.
_TRANSIENT = (sa.OperationalError, sa.InterfaceError, sa.InternalError, sa.ProgrammingError)
_UNCATEGORISED = (sa.DBAPIError, sa.DatabaseError)


def describe(url: URL) -> str:
    """A database by kind and place, without user, password or options.

    >>> from sqlalchemy import make_url
    >>> describe(make_url("postgresql+asyncpg://me:secret@db.example/jobs?password=secret"))
    'PostgreSQL database jobs at db.example'
    """
    if url.get_backend_name() == "sqlite":
        return f"SQLite database {url.database}"
    host = url.host or url.query.get("host", "localhost")  # a directory, when the server listens on a socket there
    return f"PostgreSQL database {url.database} at {host}{f':{url.port}' if url.port else ''}"


def unavailable(database: str, exc: Exception) -> Unavailable:
    """The error for a database that can't be used now.

    Of ``exc`` only the driver's message is handed on: SQLAlchemy's own holds the statement.
    """
    match exc:
        case sa.TimeoutError():
            reason = "all connections stayed busy (is a unit opened inside another?)"
        case sa.DBAPIError():
            reason = str(exc.orig)
        case _:
            reason = str(exc) or type(exc).__name__
    return Unavailable(f"{database} can't be used: {reason}; see JOBQUEUE_DATABASE_URL")


@contextmanager
def translated(database: str) -> Iterator[None]:
    """Raise `Unavailable` for what a later attempt may mend; integrity and data errors pass."""
    try:
        yield
    except sa.DBAPIError as exc:
        if isinstance(exc, _TRANSIENT) or type(exc) in _UNCATEGORISED:
            raise unavailable(database, exc) from exc
        raise
