"""Half-open connections: nobody answers, and nobody says so. What waits for an answer gives up, and asks anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from jobqueue.broker import scripts
from jobqueue.broker.connection import socket_url
from jobqueue.broker.flowstore import FlowStore
from jobqueue.broker.storedflow import step_entry
from jobqueue.engine import progress
from jobqueue.engine.progress import Progress
from jobqueue.engine.relay import Relay
from jobqueue.flows import Step, StepState
from tests.chaos.proxy import Proxy, proxied
from tests.engine_support import INGEST, connected, flow_of


@pytest_asyncio.fixture
async def way(redis_url: str, redis_server: Any, tmp_path: Path) -> AsyncIterator[tuple[Proxy, Any]]:
    """A pool whose connections can fall silent."""
    path = tmp_path / "way.sock"
    async with (
        proxied(redis_server.socket, path, seed=1) as proxy,
        connected(socket_url(path, redis_server.password)) as pool,
    ):
        await pool.ping()
        yield proxy, pool


async def test_the_relay_goes_on_after_a_connection_that_fell_silent(
    way: tuple[Proxy, Any], pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "ANSWER_TIMEOUT_S", 0.2)
    proxy, behind = way
    flow = flow_of("task-1", Step(name="a", queue="ingest", function="f"))
    await FlowStore(pool, cluster=False).create(flow)
    entry = step_entry({"flow": "task-1", "step": "a"}, StepState.SUCCEEDED, "")
    await pool.xadd(INGEST.own("outbox"), dict(zip(entry[::2], entry[1::2], strict=True)))
    relaying = Relay(behind, INGEST, on_ended=None)
    proxy.silence()
    async with asyncio.timeout(2):
        with pytest.raises(TimeoutError):
            await relaying.sweep(older_than_ms=0)
    await relaying.sweep(older_than_ms=0)
    assert await pool.xlen(INGEST.own("outbox")) == 0


async def test_a_progress_report_into_the_silence_costs_its_job_a_moment_and_no_more(
    way: tuple[Proxy, Any], pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "ANSWER_TIMEOUT_S", 0.2)
    proxy, behind = way
    report = Progress(behind, INGEST, "ingest-1")
    proxy.silence()
    async with asyncio.timeout(2):
        await report(1, 2)
    await report(2, 2)
    assert await pool.exists(INGEST.progress("ingest-1"))
