"""What an idle worker costs Redis beside a plain arq worker, and that it still finds its jobs at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from tests.engine_support import INGEST, calls, running_worker, wait_until

WATCHED_S = 2.0


@pytest_asyncio.fixture
async def foreign(pool: Any) -> AsyncIterator[str]:
    """A job that a plain arq worker runs: still due, with arq's bare lease."""
    job_id = "ingest-foreign"
    await pool.zadd(INGEST.queue, {job_id: 1000})
    await pool.set(INGEST.in_progress(job_id), "1", px=60_000)
    yield job_id


async def commands(pool: Any) -> int:
    """Commands in all, those inside of scripts included."""
    return sum(stat["calls"] for stat in (await pool.info("commandstats")).values())


async def passed(seconds: float) -> None:
    until = time.monotonic() + seconds
    await wait_until(lambda: time.monotonic() >= until)


async def test_a_job_of_a_plain_arq_worker_brings_few_claims(redis_url: str, pool: Any, foreign: str) -> None:
    async def f(ctx: object) -> None: ...

    async with running_worker(redis_url, f):
        await wait_until(lambda: calls(pool, "evalsha"))
        claims, all_ = await calls(pool, "evalsha"), await commands(pool)
        await passed(WATCHED_S)
        assert await calls(pool, "evalsha") - claims <= 4 * WATCHED_S + 2  # and a heartbeat's
        assert await commands(pool) - all_ <= 50 * WATCHED_S


async def test_many_jobs_of_plain_arq_workers_bring_no_more_claims_than_pages(redis_url: str, pool: Any) -> None:
    for n in range(16):  # two whole pages of one slot's half: four ids a claim, none on the last
        await pool.zadd(INGEST.queue, {f"ingest-foreign{n}": 1000 + n})
        await pool.set(INGEST.in_progress(f"ingest-foreign{n}"), "1", px=60_000)

    async def f(ctx: object) -> None: ...

    async with running_worker(redis_url, f, max_jobs=2):
        await wait_until(lambda: calls(pool, "evalsha"))
        claims = await calls(pool, "evalsha")
        await passed(WATCHED_S)
        assert await calls(pool, "evalsha") - claims <= 5 * (4 * WATCHED_S + 2)


async def test_new_and_deferred_jobs_start_at_once_all_the_same(redis_url: str, pool: Any, foreign: str) -> None:
    late_ms: list[float] = []

    async def f(ctx: object, due: float) -> None:
        late_ms.append((time.time() - due) * 1000)

    async with running_worker(redis_url, f):
        await wait_until(lambda: calls(pool, "evalsha"))
        for n in range(10):
            await passed(0.05)
            await pool.enqueue_job("f", time.time())
            await wait_until(lambda n=n: len(late_ms) == 2 * n + 1)  # type: ignore[misc]  # mypy can't type the default
            due = time.time() + 0.12
            await pool.enqueue_job("f", due, _defer_by=0.12)
            await wait_until(lambda n=n: len(late_ms) == 2 * n + 2)  # type: ignore[misc]  # as above
    assert sorted(late_ms)[len(late_ms) // 2] < 60


async def test_a_job_whose_plain_arq_worker_has_died_is_still_found(redis_url: str, pool: Any, foreign: str) -> None:
    ran = asyncio.Event()

    async def f(ctx: object) -> None:
        ran.set()

    async with running_worker(redis_url, f):
        await wait_until(lambda: calls(pool, "evalsha"))
        await pool.enqueue_job("f", _job_id="ingest-other")
        await wait_until(ran.is_set)
        ran.clear()
        payload = await pool.enqueue_job("f", _job_id="ingest-third", _defer_by=60)
        assert payload is not None
        await pool.rename(INGEST.job("ingest-third"), INGEST.job(foreign))
        await pool.delete(INGEST.in_progress(foreign))
        await wait_until(ran.is_set, within_s=1.0, what="the orphan's start")
