"""Adapters of `ports.Records`: ``records`` runs a test on each of them, ``database_url`` names its database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from jobqueue.records.database import Database
from tests.contract.postgresql import PostgresServer, running_server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with running_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/data/jobqueue.db"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return await asyncio.to_thread(server.fresh_database)


@pytest.fixture
async def records(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    await database.migrate()
    yield database
    await database.close()
