"""What is particular to SQLite and PostgreSQL behind `Database`: places, modes, failures, crashes."""

from __future__ import annotations

import asyncio
import re
import signal
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from jobqueue.errors import ConfigError, Unavailable
from jobqueue.ports import TaskRecord
from jobqueue.records import database as database_module
from jobqueue.records import sqlite
from jobqueue.records.database import Database
from tests.contract.postgresql import PostgresServer

ROOT = Path(__file__).parents[2]
TASK = TaskRecord(id="task-1", tenant_id="t", kind="k", state="queued", created_at=datetime.now(UTC))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "made" / "here" / "jobqueue.db"


@pytest.fixture
async def database(file: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite:///{file}")
    await database.migrate()
    yield database
    await database.close()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_only_the_owner_can_read_the_file_its_companions_and_their_directory(
    file: Path, database: Database
) -> None:
    async with database.unit() as unit:
        await unit.add_task(TASK)
    assert {path.name: mode(path) for path in file.parent.iterdir()} == {
        "jobqueue.db": 0o600,
        "jobqueue.db-wal": 0o600,
        "jobqueue.db-shm": 0o600,
        "jobqueue.db.migrate": 0o600,
    }
    assert mode(file.parent) == 0o700


async def test_every_connection_is_set_up_to_lose_nothing(database: Database) -> None:
    pragmas = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}
    async with database._engine.connect() as connection:
        for pragma, expected in pragmas.items():
            assert (await connection.execute(text(f"PRAGMA {pragma}"))).scalar() == expected


async def test_what_was_committed_before_a_kill_is_there_after_it(file: Path, database: Database) -> None:
    code = (
        "import asyncio, sys\n"
        "from datetime import UTC, datetime\n"
        "from jobqueue.ports import TaskRecord\n"
        "from jobqueue.records.database import Database\n"
        "async def main(database):\n"
        "    for i in range(100_000):\n"
        "        async with database.unit() as unit:\n"
        "            await unit.add_task(TaskRecord(id=str(i), tenant_id='t', kind='k', state='queued',\n"
        "                                           created_at=datetime.now(UTC)))\n"
        "        print(i, flush=True)\n"
        "asyncio.run(main(Database(sys.argv[1])))\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, f"sqlite:///{file}", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    told = [int(await process.stdout.readline()) for _ in range(30)]
    process.send_signal(signal.SIGKILL)
    told += [int(line) for line in (await process.stdout.read()).split(b"\n")[:-1]]
    await process.wait()
    async with database.unit() as unit:
        kept = {int(task.id) for task in await unit.list_tasks("t", limit=1000)}
    assert kept >= set(told)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_database_that_stays_locked_is_unavailable_and_named(
    file: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_PRAGMAS", ("PRAGMA busy_timeout = 20",))
    impatient = Database(f"sqlite:///{file}")
    with closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match=rf"SQLite database {file} .*locked.*JOBQUEUE_DATABASE_URL"):
            await impatient.ping()
        other.rollback()
    await impatient.ping()
    await impatient.close()


async def test_a_stuck_migration_elsewhere_is_reported(file: Path) -> None:
    sqlite.make_private(file)
    async with sqlite.migration_lock(file):
        with pytest.raises(Unavailable, match="another process has been migrating"):
            async with sqlite.migration_lock(file, wait_s=0.03):
                pytest.fail("two hold the lock")


async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "letter.db").write_text("Dear Sir or Madam, " * 100)
    database = Database(f"sqlite:///{tmp_path}/letter.db")
    with pytest.raises(Unavailable, match="not a database"):
        await database.migrate()
    with pytest.raises(Unavailable, match="not a database"):
        await database.ping()
    await database.close()


async def test_a_directory_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    database = Database(f"sqlite:///{tmp_path}/file/jobqueue.db")
    with pytest.raises(Unavailable, match=r"File exists|Not a directory"):
        await database.ping()
    with pytest.raises(Unavailable, match=r"File exists|Not a directory"):
        await database.migrate()


async def test_an_unreachable_server_is_named_without_its_password() -> None:
    pytest.importorskip("asyncpg")
    database = Database("postgresql://me:geheim@127.0.0.1:1/jobs?application_name=geheim")
    with pytest.raises(Unavailable) as caught:
        await database.ping()
    assert "PostgreSQL database jobs at 127.0.0.1:1 can't be used" in str(caught.value)
    assert "JOBQUEUE_DATABASE_URL" in str(caught.value)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mysql://me:geheim@db/jobs", "mysql is not supported"),
        ("postgresql+psycopg2://me:geheim@db/jobs", "postgresql\\+psycopg2 is not supported"),
        ("me:geheim@nothing", "is not a URL"),
        ("", "is not a URL"),
        ("sqlite://", "SQLite needs a file"),
        ("sqlite:///:memory:", "SQLite needs a file"),
        ("sqlite:///file:x?mode=memory&uri=true", "SQLite needs a file"),
    ],
)
def test_a_url_of_no_use_is_a_configuration_error(url: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"JOBQUEUE_DATABASE_URL.*{reason}") as caught:
        Database(url)
    assert "geheim" not in str(caught.value)


def test_only_records_imports_the_database_libraries() -> None:
    imported = re.compile(r"^\s*(?:from|import) (?:sqlalchemy|alembic|aiosqlite|asyncpg)\b", re.MULTILINE)
    sources = [*(ROOT / "jobqueue").rglob("*.py"), *(ROOT / "handlers").rglob("*.py")]
    importers = {path.relative_to(ROOT).parts[:2] for path in sources if imported.search(path.read_text())}
    assert importers == {("jobqueue", "records")}


async def test_a_unit_inside_a_unit_ends_in_an_error_and_not_in_a_standstill(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(database_module._SQLITE_POOL, "pool_timeout", 0.02)
    database = Database(f"sqlite:///{file}")
    async with database.unit():
        with pytest.raises(Unavailable, match="all connections stayed busy"):
            await database.ping()
    await database.ping()
    await database.close()


async def test_a_server_that_drops_its_connections_is_unavailable_once(postgres_server: PostgresServer) -> None:
    url = await asyncio.to_thread(postgres_server.fresh_database)
    database, operator = Database(url), Database(url)
    await database.migrate()
    mine = "datname = current_database() AND pid <> pg_backend_pid()"
    drop = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {mine}"
    with pytest.raises(Unavailable, match="PostgreSQL database test_"):  # noqa: PT012  # the unit as a whole must fail
        async with database.unit() as unit:
            await unit.add_task(TASK)
            async with operator._engine.begin() as connection:
                await connection.execute(text(drop))
            await unit.list_tasks("t")
    async with database.unit() as unit:
        assert await unit.list_tasks("t") == []
    await database.close()
    await operator.close()
