"""Cancelling: waiting jobs at once, running ones within a second, and nothing left behind by asking."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

import pytest
from arq.jobs import Job

from jobqueue.broker.scripts import Scripts
from jobqueue.errors import NotFound
from jobqueue.job import State, decode
from tests.engine_support import INGEST, client_of, counters, left, per_job, running_worker, wait_until


class Endless:
    """A job that runs until it is stopped."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.stopped_at: float | None = None

    async def __call__(self, ctx: dict[str, Any]) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped_at = time.monotonic()


async def test_a_waiting_job_is_cancelled_at_once(redis_url: str, pool: Any) -> None:
    job = await pool.enqueue_job("f")
    async with client_of(redis_url) as client:
        assert await client.cancel_job(job.job_id) == "cancelled"
        assert await client.state(job.job_id) is State.CANCELLED
        with pytest.raises(asyncio.CancelledError):
            await client.result(job.job_id, timeout_s=1)
    assert per_job(await left(pool)) == set()
    assert await pool.zcard(INGEST.queue) == 0


async def test_a_deferred_job_is_cancelled_at_once(redis_url: str, pool: Any) -> None:
    job = await pool.enqueue_job("f", _defer_by=3600)
    async with client_of(redis_url) as client:
        assert await client.state(job.job_id) is State.DEFERRED
        assert await client.cancel_job(job.job_id) == "cancelled"
    assert await pool.zcard(INGEST.queue) == 0


async def test_a_running_job_is_stopped_within_a_second(redis_url: str, pool: Any) -> None:
    endless = Endless()

    async def f(ctx: dict[str, Any]) -> None:
        await endless(ctx)

    async with running_worker(redis_url, f) as worker, client_of(redis_url) as client:
        job = await pool.enqueue_job("f")
        await endless.started.wait()
        asked_at = time.monotonic()
        assert await client.cancel_job(job.job_id) == "cancelling"
        with pytest.raises(asyncio.CancelledError):
            await client.result(job.job_id, timeout_s=2)
        assert endless.stopped_at is not None
        assert endless.stopped_at - asked_at < 1
        assert await client.state(job.job_id) is State.CANCELLED
        await wait_until(lambda: not worker.held)
        assert await counters(pool, INGEST) == {"f:cancelled": 1}
    assert await pool.zcard(INGEST.abort) == 0
    assert await pool.xlen(INGEST.own("dead")) == 0, "a cancelled job is no dead letter"
    assert per_job(await left(pool)) == set()


async def test_a_finished_or_unknown_job_is_told_so_and_asking_leaves_no_key(redis_url: str, pool: Any) -> None:
    async def f(ctx: dict[str, Any]) -> str:
        return "done"

    job = await pool.enqueue_job("f")
    async with running_worker(redis_url, f):
        assert await job.result(timeout=1, poll_delay=0.01) == "done"
    before = await left(pool)
    async with client_of(redis_url) as client:
        assert await client.cancel_job(job.job_id) == "finished"
        for unknown in ("ingest-unknown", "nosuchqueue-1", ""):
            with pytest.raises(NotFound):
                await client.cancel_job(unknown)
        assert await client.result(job.job_id) == "done"
    assert await left(pool) <= before


@pytest.mark.parametrize("defer_s", [0, 3600])
async def test_arqs_own_abort_stops_a_waiting_job(redis_url: str, pool: Any, defer_s: int) -> None:
    async def f(ctx: dict[str, Any]) -> str:
        return "done"

    job = await pool.enqueue_job("f", _defer_by=defer_s)
    abort = asyncio.create_task(Job(job.job_id, pool, INGEST.name, decode).abort(timeout=3, poll_delay=0.01))
    await wait_until(lambda: pool.zcard(INGEST.abort))
    async with running_worker(redis_url, f):
        assert await abort is True
    assert per_job(await left(pool)) == set()
    assert await pool.zcard(INGEST.abort) == 0


async def test_arqs_own_abort_stops_a_running_job(redis_url: str, pool: Any) -> None:
    endless = Endless()

    async def f(ctx: dict[str, Any]) -> None:
        await endless(ctx)

    async with running_worker(redis_url, f):
        job = await pool.enqueue_job("f")
        await endless.started.wait()
        assert await Job(job.job_id, pool, INGEST.name, decode).abort(timeout=2, poll_delay=0.01) is True
    assert per_job(await left(pool)) == set()
    assert await pool.zcard(INGEST.abort) == 0


async def test_a_cancelled_job_whose_worker_died_is_not_run_again(redis_url: str, pool: Any) -> None:
    ran = False

    async def f(ctx: dict[str, Any]) -> None:
        nonlocal ran
        ran = True

    job = await pool.enqueue_job("f")
    await Scripts(pool, INGEST).claim(1, lease_ms=300, worker="dead")
    async with client_of(redis_url) as client:
        assert await client.cancel_job(job.job_id) == "cancelling"
        async with running_worker(redis_url, f):
            with pytest.raises(asyncio.CancelledError):
                await client.result(job.job_id, timeout_s=2)
    assert not ran


async def test_a_job_that_finishes_in_spite_of_its_cancellation_has_finished(redis_url: str, pool: Any) -> None:
    started = asyncio.Event()

    async def f(ctx: dict[str, Any]) -> str:
        started.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return "done anyway"

    async with running_worker(redis_url, f), client_of(redis_url) as client:
        job = await pool.enqueue_job("f")
        await started.wait()
        assert await client.cancel_job(job.job_id) == "cancelling"
        assert await client.result(job.job_id, timeout_s=2) == "done anyway"
    assert await pool.zcard(INGEST.abort) == 0
