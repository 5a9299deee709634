"""Fixtures of the tests that run against a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from tests.engine_support import pool_of


@pytest_asyncio.fixture
async def pool(redis_url: str) -> AsyncIterator[Any]:
    """A pool of the run's server, which enqueues to ``ingest``; untyped, since redis-py's answers are."""
    pool = pool_of(redis_url)
    yield pool
    await pool.aclose(close_connection_pool=True)
