"""The API key that the server makes for the commands on its own machine: an operator's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobqueue import settings
from jobqueue.cli.local import TENANT, serving
from jobqueue.cli.local_files import key_file
from jobqueue.records.database import Database
from jobqueue.server.auth import Access, mint_api_key
from jobqueue.server.context import Caller
from jobqueue.settings import Settings


@pytest.fixture
def config(redis_url: str, tmp_path: Path) -> Settings:
    return settings.load(redis_url=redis_url, data_dir=tmp_path)


async def served_key(config: Settings) -> str:
    async with serving(config, ports=[0]) as served:
        return served.api_key


async def caller_of(config: Settings, key: str) -> Caller:
    records = Database(config.database_url)
    try:
        return await Access(records).by_key(key)
    finally:
        await records.close()


async def put_key(config: Settings, *role: Any) -> str:
    config.data_dir.mkdir(exist_ok=True)
    records = Database(config.database_url)
    await records.migrate()
    key = await mint_api_key(records, "acme", "made by hand", *role)
    await records.close()
    key_file(config).write_text(f"{key}\n")
    return key


async def test_it_is_an_operators_and_stays_the_same(config: Settings) -> None:
    key = await served_key(config)
    who = await caller_of(config, key)
    assert (who.tenant_id, who.role) == (TENANT, "operator")
    assert await served_key(config) == key == key_file(config).read_text().strip()


async def test_one_from_before_there_were_roles_gives_way_to_an_operators_of_the_same_tenant(config: Settings) -> None:
    old = await put_key(config)
    new = await served_key(config)
    who = await caller_of(config, new)
    assert (who.tenant_id, who.role) == ("acme", "operator")
    assert (await caller_of(config, old)).role == "member"  # whoever else has it goes on


async def test_an_operators_that_lies_there_is_used(config: Settings) -> None:
    key = await put_key(config, "operator")
    assert await served_key(config) == key
