"""Redis away for a while: outcomes land when it is back, and the worker goes on by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import RedisError

from jobqueue.broker.embedded import EmbeddedRedis
from tests.engine_support import INGEST, connected, counters, running_worker, wait_until
from tests.integration.cluster_support import server


class Gate:
    """A job that ends when told to."""

    def __init__(self) -> None:
        self.started = 0
        self.open = asyncio.Event()

    async def __call__(self, ctx: dict[str, Any]) -> str:
        self.started += 1
        await self.open.wait()
        return "done"


async def test_an_outcome_survives_a_restart_of_redis(tmp_path: Path, unused_tcp_port: int) -> None:
    gate = Gate()

    async def f(ctx: dict[str, Any]) -> str:
        return await gate(ctx)

    async def g(ctx: dict[str, Any]) -> str:
        return "quick"

    url = f"redis://127.0.0.1:{unused_tcp_port}"
    async with AsyncExitStack() as stack:
        async with server(tmp_path, unused_tcp_port):
            worker = await stack.enter_async_context(running_worker(url, f, g))
            pool = await stack.enter_async_context(connected(url))
            job = await pool.enqueue_job("f")
            await wait_until(lambda: gate.started == 1)
        gate.open.set()
        await wait_until(lambda: worker.held[job.job_id].recording, what="the record under way")
        await stack.enter_async_context(server(tmp_path, unused_tcp_port))
        back_at = time.monotonic()
        assert await job.result(timeout=3, poll_delay=0.05) == "done"
        quick = await pool.enqueue_job("g")
        assert await quick.result(timeout=3, poll_delay=0.05) == "quick"
        assert time.monotonic() - back_at < 3
        await wait_until(lambda: not worker.held)
        assert await counters(pool, INGEST) == {"f:succeeded": 1, "g:succeeded": 1}
        assert gate.started == 1


@pytest.mark.parametrize("how", ["killed connections", "a paused server"])
async def test_an_outcome_survives_a_moment_without_redis(tmp_path: Path, how: str) -> None:
    gate = Gate()

    async def f(ctx: dict[str, Any]) -> str:
        return await gate(ctx)

    async with (
        EmbeddedRedis(tmp_path) as endpoint,
        connected(endpoint.url) as pool,
        running_worker(endpoint.url, f, max_jobs=50) as worker,
    ):
        jobs = [await pool.enqueue_job("f") for _ in range(20)]
        await wait_until(lambda: gate.started == 20)
        if how == "killed connections":
            gate.open.set()
            for _ in range(5):
                await asyncio.gather(pool.client_kill_filter(skipme=True, _type="normal"), asyncio.sleep(0))
        else:
            os.kill(endpoint.pid, signal.SIGSTOP)
            try:
                gate.open.set()
                await wait_until(lambda: all(held.recording for held in worker.held.values()))
            finally:
                os.kill(endpoint.pid, signal.SIGCONT)
        for job in jobs:
            assert await job.result(timeout=3, poll_delay=0.02) == "done"
        await wait_until(lambda: not worker.held)
        assert await counters(pool, INGEST) == {"f:succeeded": 20}
        assert gate.started == 20


async def test_a_worker_that_meets_an_error_of_redis_goes_on(redis_url: str, pool: Any) -> None:
    """Out of memory, for example: jobs wait until there is room again."""

    async def f(ctx: dict[str, Any]) -> str:
        return "done"

    async with running_worker(redis_url, f):
        job = await pool.enqueue_job("f", _defer_by=0.2)
        await pool.config_set("maxmemory", 1)
        try:
            away = time.monotonic() + 1
            await wait_until(lambda: time.monotonic() > away)
            with pytest.raises(RedisError):
                await pool.set("x", "y")
        finally:
            await pool.config_set("maxmemory", 0)
        assert await job.result(timeout=3, poll_delay=0.02) == "done"
