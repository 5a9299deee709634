"""Every adapter of `ports.Records` passes this suite: transactions, writers at the same time, the schema."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from jobqueue.errors import ConfigError, NotFound, Unavailable
from jobqueue.ports import AuditEntry
from jobqueue.records.database import Database
from jobqueue.records.models import metadata
from jobqueue.tasks import Usage
from tests.contract.records_samples import (
    ANALYSIS,
    CONTRACT,
    EXTRACTION,
    FILE,
    NOW,
    SUMMARY,
    TASK,
    TENANT,
    add_contract,
)


async def in_processes(url: str, body: str, *, processes: int) -> None:
    """Run the coroutine body ``body`` in several real processes at once; each must succeed in silence."""
    code = (
        "import asyncio, sys\n"
        "from jobqueue.records.database import Database\n"
        "from jobqueue.ports import *\n"
        "from datetime import UTC, datetime\n"
        "async def main(database, number):\n"
        f"    {body}\n"
        "    await database.close()\n"
        "asyncio.run(main(Database(sys.argv[1]), int(sys.argv[2])))\n"
    )
    started = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-c", code, url, str(number)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        for number in range(processes)
    ]
    for output, _ in await asyncio.gather(*(process.communicate() for process in started)):
        assert output.decode() == ""
    assert [process.returncode for process in started] == [0] * processes


# ── transactions ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_unit_that_raises_leaves_nothing(records: Database) -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  # the unit as a whole is what must fail
        async with records.unit() as unit:
            await unit.add_file(FILE)
            await unit.audit(AuditEntry(tenant_id=TENANT, actor="a", action="b", subject="c", at=NOW))
            raise ZeroDivisionError
    async with records.unit() as unit:
        assert await unit.audit_trail(TENANT) == []
        with pytest.raises(NotFound):
            await unit.get_file(TENANT, FILE.id)


async def test_a_cancelled_unit_leaves_nothing_and_blocks_nobody(records: Database) -> None:
    added = asyncio.Event()

    async def never_ends() -> None:
        async with records.unit() as unit:
            await unit.add_file(FILE)
            added.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(never_ends())
    await added.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5), records.unit() as unit:
        with pytest.raises(NotFound):
            await unit.get_file(TENANT, FILE.id)


async def test_many_units_of_one_process_wait_for_each_other(records: Database) -> None:
    async def one(number: int) -> None:
        async with records.unit() as unit:
            await unit.add_task(replace(TASK, id=f"task-{number}"))

    await asyncio.gather(*(one(number) for number in range(40)))
    async with records.unit() as unit:
        assert len(await unit.list_tasks(TENANT)) == 40


async def test_four_processes_write_fifty_units_each_and_none_is_refused(database_url: str, records: Database) -> None:
    body = """
    for i in range(50):
        async with database.unit() as unit:
            before = await unit.list_tasks("t", limit=5)  # reads before it writes: what deadlocks on an upgrade
            await unit.add_task(TaskRecord(
                id=f"{number}-{i}", tenant_id="t", kind="k", state="queued", created_at=datetime.now(UTC)))
            await unit.finish_task("t", f"{number}-{i}", state="succeeded", error=None, at=datetime.now(UTC))
    """.strip()
    await in_processes(database_url, body, processes=4)
    async with records.unit() as unit:
        tasks = await unit.list_tasks("t", limit=1000)
    assert {task.id for task in tasks} == {f"{number}-{i}" for number in range(4) for i in range(50)}
    assert {task.state for task in tasks} == {"succeeded"}


# ── writers at the same time ─────────────────────────────────────────────────────────────────────────────────────────


async def test_three_steps_write_to_one_contract_at_a_time_and_nothing_is_lost(
    database_url: str, records: Database
) -> None:
    await add_contract(records)
    others = [Database(database_url), Database(database_url)]  # as other processes have them: connections of their own
    parts = {"extraction": EXTRACTION, "summary": SUMMARY, "analysis": ANALYSIS}

    async def step(database: Database, name: str, round_: int) -> None:
        usage = Usage(provider="offline", model="rules-1", input_tokens=round_)
        async with database.unit() as unit:
            await unit.save_contract_part(
                TENANT,
                CONTRACT.id,
                **{name: parts[name], "usage": {f"{name}-{round_}": usage}, "reports": {f"{name}-{round_}": "key"}},
            )

    databases = [records, *others]
    await asyncio.gather(
        *(step(database, name, i) for database, name in zip(databases, parts, strict=True) for i in range(10))
    )
    for database in others:
        await database.close()
    async with records.unit() as unit:
        contract = await unit.get_contract(TENANT, CONTRACT.id)
    assert (contract.extraction, contract.summary, contract.analysis) == (EXTRACTION, SUMMARY, ANALYSIS)
    everything = {f"{name}-{i}" for name in parts for i in range(10)}
    assert contract.usage.keys() == everything
    assert contract.reports.keys() == everything
    assert contract.usage["summary-7"] == Usage(provider="offline", model="rules-1", input_tokens=7)


# ── schema ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_five_processes_migrate_at_once_and_all_can_work(database_url: str) -> None:
    body = "await database.migrate(); await database.ping(); await database.migrate()"
    await in_processes(database_url, body, processes=5)
    database = Database(database_url)
    async with database.unit() as unit:
        assert await unit.list_tasks(TENANT) == []
    await database.close()


async def test_a_schema_newer_than_the_program_is_refused(database_url: str, records: Database) -> None:
    async with records._engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match="schema version 9999, which is newer than this program"):
        await records.migrate()


async def test_the_migrations_make_the_tables_of_the_models(records: Database) -> None:

    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, metadata))

    async with records._engine.begin() as connection:
        assert await connection.run_sync(differences) == []


def down(connection: Connection, version: str = "base") -> None:
    config = Config()
    config.set_main_option("script_location", "jobqueue.records:migrations")
    config.attributes["connection"] = connection
    command.downgrade(config, version)


async def test_the_schema_can_be_taken_down_and_built_again(records: Database) -> None:
    async with records._engine.begin() as connection:
        await connection.run_sync(down)
    await records.migrate()
    await add_contract(records)


async def test_a_key_from_before_there_were_roles_is_a_members_and_so_is_one_of_a_program_from_then(
    records: Database,
) -> None:
    insert = (
        "INSERT INTO api_keys (tenant_id, id, name, sha256, created_at)"
        " VALUES ('acme', '{0}', 'ci', '{0}', '2026-03-01 12:00:00')"
    )
    async with records._engine.begin() as connection:
        await connection.run_sync(down, "0001")
        await connection.execute(text(insert.format("before")))
    await records.migrate()
    async with records._engine.begin() as connection:
        await connection.execute(text(insert.format("later")))
    async with records.unit() as unit:
        keys = [await unit.find_api_key(name) for name in ("before", "later")]
    assert [key and (key.id, key.role) for key in keys] == [("before", "member"), ("later", "member")]


async def test_ping_and_close_can_be_repeated(records: Database) -> None:
    await records.ping()
    await records.close()
    await records.ping()


async def test_a_database_without_tables_says_so(database_url: str) -> None:
    database = Database(database_url)
    with pytest.raises(Unavailable, match=r"tasks.*JOBQUEUE_DATABASE_URL"):
        async with database.unit() as unit:
            await unit.list_tasks(TENANT)
    await database.close()
