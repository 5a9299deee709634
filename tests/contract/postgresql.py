"""A private PostgreSQL server for the tests: its own cluster in a temporary directory, a socket there, no port."""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_OPTIONS = "-c listen_addresses= -c fsync=off -c full_page_writes=off -c max_connections=60"


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer:
    """A running server; each test gets a database of its own."""

    programs: Path
    directory: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def fresh_database(self) -> str:
        """Make an empty database; its SQLAlchemy URL."""
        name = f"test_{next(self._numbers)}"
        call(self.programs / "createdb", "-h", str(self.directory), "-U", "postgres", name)
        return f"postgresql+asyncpg://postgres@/{name}?host={self.directory}"


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """Start a server and stop it at the end; without PostgreSQL fails in CI, and skips elsewhere."""
    programs = _programs()
    directory = Path(tempfile.mkdtemp(prefix="jobqueue-pg-"))
    if os.geteuid() == 0:
        shutil.chown(directory, "postgres")  # the server refuses to run as root
    data = directory / "data"
    try:
        call(programs / "initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        server = (programs / "pg_ctl", "-D", str(data), "-w", "-l", str(directory / "log"))
        call(*server, "-o", f"-k {directory} {_OPTIONS}", "start")
        try:
            yield PostgresServer(programs=programs, directory=directory)
        finally:
            call(*server, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(directory)


def call(program: Path, *arguments: str) -> None:
    """Run one of PostgreSQL's programs, as user postgres when we are root."""
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    # DEVNULL: the server that pg_ctl leaves behind would hold a pipe open.
    subprocess.run([*user, str(program), *arguments], check=True, stdout=subprocess.DEVNULL, cwd="/", timeout=60)


def _programs() -> Path:
    found = shutil.which("initdb") or next(iter(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None)
    if found is not None and importlib.util.find_spec("asyncpg") is not None:
        return Path(found).resolve().parent
    reason = "PostgreSQL (Debian: postgresql) and the extra 'postgresql' are needed for these tests"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
