"""Living together with plain arq: its clients' jobs under our worker, ours under its, and both beside each other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from arq import Retry
from arq.connections import ArqRedis, create_pool
from arq.jobs import Job, JobStatus

from jobqueue.broker.connection import arq_settings, parse
from jobqueue.job import decode, encode
from tests.engine_support import INGEST, bare_worker_of, left, running_worker, wait_until
from tests.integration.stock_worker import RAN, long, short, stock_worker

JOBS = 2000

HELD = """
local held = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, 99)) do
  if redis.call('GET', ARGV[1] .. id) == '1' then held[#held + 1] = {id, redis.call('ZSCORE', KEYS[1], id)} end
end
return held
"""
"""The jobs that plain arq workers hold, each with its score, in one step. A held job stays at the head of its queue."""


async def divide(ctx: dict[str, Any], a: int, *, by: int) -> dict[str, Any]:
    return {"quotient": a / by, "pickled": {1, 2}}  # a set can't be packed, only pickled


async def second_time(ctx: dict[str, Any]) -> int:
    if ctx["job_try"] == 1:
        raise Retry(defer=0.01)
    return int(ctx["job_try"])


@asynccontextmanager
async def plain_pool(url: str, **arguments: Any) -> AsyncIterator[ArqRedis]:
    """A pool as a service with plain arq makes it."""
    pool = await create_pool(arq_settings(parse(url)), **arguments)
    try:
        yield pool
    finally:
        await pool.aclose(close_connection_pool=True)


@pytest_asyncio.fixture
async def plain(redis_url: str) -> AsyncIterator[ArqRedis]:
    """A plain pool on arq's own queue, pickling."""
    async with plain_pool(redis_url) as pool:
        yield pool


@pytest_asyncio.fixture
async def packing(redis_url: str) -> AsyncIterator[ArqRedis]:
    """A plain pool on one of our queues, with our serialisers."""
    async with plain_pool(
        redis_url, job_serializer=encode, job_deserializer=decode, default_queue_name=INGEST.name
    ) as pool:
        yield pool


async def enqueue(pool: ArqRedis, function: str, *args: Any, **kwargs: Any) -> Job:
    job = await pool.enqueue_job(function, *args, **kwargs)
    assert job is not None
    return job


async def test_jobs_of_plain_arq_run_under_our_bare_worker_and_plain_arq_reads_their_results(
    redis_url: str, plain: ArqRedis
) -> None:
    good = await enqueue(plain, "divide", 6, by=4)
    bad = await enqueue(plain, "divide", 6, by=0)
    retried = await enqueue(plain, "second_time")
    later = await enqueue(plain, "divide", 9, by=3, _defer_by=0.05)
    assert [await job.status() for job in (good, later)] == [JobStatus.queued, JobStatus.deferred]

    worker = bare_worker_of(redis_url, [divide, second_time], burst=True)
    await worker.main()
    await worker.close()

    assert await good.result(timeout=1) == {"quotient": 1.5, "pickled": {1, 2}}
    with pytest.raises(ZeroDivisionError):
        await bad.result(timeout=1)
    assert await retried.result(timeout=1) == 2
    assert await later.result(timeout=1) == {"quotient": 3.0, "pickled": {1, 2}}
    info = await later.result_info()
    assert info is not None
    assert (info.function, info.args, info.kwargs, info.success) == ("divide", (9,), {"by": 3}, True)
    assert await left(plain) == {f"arq:result:{job.job_id}" for job in (good, bad, retried, later)}


async def test_jobs_of_our_pool_run_under_a_plain_worker(redis_url: str, pool: Any, packing: ArqRedis) -> None:
    """The way back: who leaves us leaves nothing behind."""
    job = await pool.enqueue_job("short", 12)
    async with stock_worker(redis_url):
        assert await job.result(timeout=20, poll_delay=0.02) == 144
    assert await Job(job.job_id, packing, INGEST.name, decode).result(timeout=1) == 144
    assert await pool.lrange(RAN, 0, -1) == [f"stock:{job.job_id}".encode()]


async def test_a_plain_worker_and_ours_share_a_queue_without_getting_into_each_others_way(
    redis_url: str, pool: Any, packing: ArqRedis
) -> None:
    jobs = [await enqueue(packing, "short", n) for n in range(JOBS)]
    scores = dict(await pool.zrange(INGEST.queue, 0, -1, withscores=True))
    held: set[bytes] = set()
    rescored: dict[bytes, tuple[float, float]] = {}

    async def look() -> bool:
        for job_id, score in await pool.eval(HELD, 1, INGEST.queue, INGEST.in_progress_prefix):
            held.add(job_id)
            if float(score) != scores[job_id]:
                rescored[job_id] = (scores[job_id], float(score))
        return int(await pool.zcard(INGEST.queue)) == 0

    async with stock_worker(redis_url):
        # The plain one takes longer to start, so that it is at work when ours, which is faster, comes.
        await wait_until(lambda: pool.exists(RAN), within_s=20, what="the plain worker's start")
        async with running_worker(redis_url, short, max_jobs=4) as ours:
            await wait_until(look, within_s=60, what="the end of the queue")
            assert not ours.jobs_failed
        results = await asyncio.gather(*(job.result(timeout=5) for job in jobs))

    assert results == [n * n for n in range(JOBS)]
    ran = [entry.decode().split(":") for entry in await pool.lrange(RAN, 0, -1)]
    assert sorted(job_id for _, job_id in ran) == sorted(job.job_id for job in jobs)
    by = Counter(who for who, _ in ran)
    assert by["ours"] >= JOBS / 20
    assert by["stock"] >= JOBS / 20
    assert len(held) >= 20, "too few looks at what the plain worker held"
    assert rescored == {}
    assert not [key for key in await left(pool) if key.startswith(("arq:job:", "arq:in-progress:", "arq:retry:"))]


async def test_a_job_of_a_killed_plain_worker_is_taken_up_when_its_in_progress_key_has_expired(
    redis_url: str, pool: Any, packing: ArqRedis
) -> None:
    async with stock_worker(redis_url) as stock:
        job = await enqueue(packing, "long")
        await wait_until(lambda: pool.exists(RAN), within_s=20, what="the start of the job")
        stock.kill()
        await stock.wait()
    key = INGEST.in_progress(job.job_id)
    assert await pool.get(key) == b"1"
    assert await pool.pttl(key) > 60_000  # arq's job timeout and ten seconds

    async with running_worker(redis_url, long, short):
        beside = await enqueue(packing, "short", 3)
        assert await beside.result(timeout=5, poll_delay=0.01) == 9
        assert await job.status() == JobStatus.in_progress  # not ours to take, though due and at the head
        await pool.pexpire(key, 1)  # the six minutes pass
        assert await job.result(timeout=2, poll_delay=0.01) == "done by ours, attempt 2"
    assert [entry.decode().partition(":")[0] for entry in await pool.lrange(RAN, 0, -1)] == ["stock", "ours", "ours"]
