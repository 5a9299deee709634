"""Fixtures that every kind of test may use."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
import structlog
from redis.asyncio import Redis

from jobqueue.broker.embedded import EmbeddedRedis, Endpoint

# Ctrl-C is part of what is tested, and a suite that was started in the background inherits an ignored SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)

_configure = structlog.configure


def _configure_without_cache(*args: Any, **kwargs: Any) -> None:
    """A logger that a configuration has bound for good could not be captured by any later test."""
    _configure(*args, **kwargs | {"cache_logger_on_first_use": False})


structlog.configure = _configure_without_cache


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
