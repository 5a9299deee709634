"""Fixtures of the tests that run against a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import structlog

from tests.engine_support import connected


@pytest_asyncio.fixture
async def pool(redis_url: str) -> AsyncIterator[Any]:
    """A pool of the run's server, which enqueues to ``ingest``."""
    async with connected(redis_url) as pool:
        yield pool


@pytest.fixture(autouse=True, scope="session")
def plain_logs() -> None:
    """Log lines as production writes them: structlog's default for consoles takes seconds to draw one traceback."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=str),
        ]
    )
