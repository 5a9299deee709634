"""Fixtures that every kind of test may use."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from redis.asyncio import Redis

from jobqueue.broker.embedded import EmbeddedRedis, Endpoint


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def redis_server() -> AsyncIterator[Endpoint]:
    """One real server for the whole run, in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="jobqueue-tests-") as directory:
        async with EmbeddedRedis(Path(directory)) as endpoint:
            yield endpoint


@pytest_asyncio.fixture
async def redis_url(redis_server: Endpoint) -> str:
    """The URL of the run's server, emptied."""
    async with Redis.from_url(redis_server.url) as client:
        await client.flushall()
    return redis_server.url
