"""Leases: renewed while a job runs, lost to another worker, and taken up when their worker is gone."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from arq.jobs import serialize_result
from arq.utils import timestamp_ms

from jobqueue.broker.flowstore import FlowStore
from jobqueue.broker.scripts import Scripts
from jobqueue.flows import Flow, FlowState, Step
from jobqueue.job import decode, encode
from tests.engine_support import INGEST, counters, flow_of, running_worker, wait_until

QUICK = {"lease_s": 1.0}


async def taken_over(pool: Any, job_id: str, *, worker: str = "other") -> str:
    """Let another worker own a job, as happens when its first one was stalled for longer than the lease."""
    await pool.delete(INGEST.in_progress(job_id))
    await pool.zadd(INGEST.queue, {job_id: 1})
    claim = await Scripts(pool, INGEST).claim(1, lease_ms=10_000, worker=worker, wanted=[job_id])
    return claim.jobs[0].token


async def test_a_job_longer_than_its_lease_runs_once(redis_url: str, pool: Any) -> None:
    starts: list[int] = []

    async def f(ctx: dict[str, Any]) -> None:
        starts.append(ctx["job_try"])
        until = timestamp_ms() + 2500
        await wait_until(lambda: timestamp_ms() > until)

    async with running_worker(redis_url, f, extra=QUICK), running_worker(redis_url, f, extra=QUICK):
        job = await pool.enqueue_job("f")
        assert job is not None
        await job.result(timeout=5, poll_delay=0.05)
    assert starts == [1]


async def test_the_lease_and_its_alarm_are_renewed_together(redis_url: str, pool: Any) -> None:
    finish = asyncio.Event()

    async def f(ctx: dict[str, Any]) -> None:
        await finish.wait()

    async with running_worker(redis_url, f, extra=QUICK) as worker:
        job = await pool.enqueue_job("f")
        assert job is not None
        await wait_until(lambda: job.job_id in worker.held)
        first = await pool.zscore(INGEST.queue, job.job_id)

        async def renewed() -> bool:
            return bool(await pool.zscore(INGEST.queue, job.job_id) > first)

        await wait_until(renewed, within_s=1, what="a renewal within the lease")
        async with pool.pipeline(transaction=True) as pipe:
            pipe.zscore(INGEST.queue, job.job_id)
            pipe.pexpiretime(INGEST.in_progress(job.job_id))
            alarm, lease_end = await pipe.execute()
        assert lease_end >= alarm
        finish.set()


async def test_a_worker_that_lost_a_lease_stops_the_job_and_records_nothing(redis_url: str, pool: Any) -> None:
    stopped = asyncio.Event()

    async def f(ctx: dict[str, Any]) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return "never"

    async with running_worker(redis_url, f, extra=QUICK) as worker:
        job = await pool.enqueue_job("f")
        assert job is not None
        await wait_until(lambda: job.job_id in worker.held)
        token = await taken_over(pool, job.job_id)
        await wait_until(stopped.is_set, within_s=1.5, what="the cancellation of the lost job")
        await wait_until(lambda: not worker.held)
        assert await pool.get(INGEST.in_progress(job.job_id)) == token.encode()
        assert await pool.exists(INGEST.result(job.job_id)) == 0
        assert await counters(pool, INGEST) == {}


async def test_a_late_record_is_refused_and_the_new_owners_stands(redis_url: str, pool: Any) -> None:
    finish = asyncio.Event()

    async def f(ctx: dict[str, Any]) -> str:
        with suppress(asyncio.CancelledError):  # it doesn't even heed that its lease is lost
            await finish.wait()
        return "late"

    async with running_worker(redis_url, f, extra=QUICK) as worker:
        job = await pool.enqueue_job("f")
        assert job is not None
        await wait_until(lambda: job.job_id in worker.held)
        token = await taken_over(pool, job.job_id)
        theirs = serialize_result(
            "f", (), {}, 2, 0, True, "the owner's", 0, 0, "f", INGEST.name, job_id=job.job_id, serializer=encode
        )
        op = {"id": job.job_id, "token": token, "finish": True, "result": theirs, "ttl": 10_000}
        assert await Scripts(pool, INGEST).record([op]) == set()
        finish.set()
        await wait_until(lambda: not worker.held)
        assert decode(await pool.get(INGEST.result(job.job_id)))["r"] == "the owner's"
        assert await counters(pool, INGEST) == {}


async def test_a_worker_that_claims_its_own_lapsed_job_again_stops_the_first_run(redis_url: str, pool: Any) -> None:
    """After an outage longer than the lease the claim may come before the heartbeat that tells of the loss."""
    attempts: list[int] = []
    stopped: list[int] = []

    async def f(ctx: dict[str, Any]) -> None:
        attempts.append(ctx["job_try"])
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(ctx["job_try"])

    async with running_worker(redis_url, f) as worker:
        job = await pool.enqueue_job("f")
        assert job is not None
        await wait_until(lambda: job.job_id in worker.held)
        async with pool.pipeline(transaction=True) as pipe:
            pipe.delete(INGEST.in_progress(job.job_id))
            pipe.zadd(INGEST.queue, {job.job_id: 1})
            await pipe.execute()
        await wait_until(lambda: attempts == [1, 2])
        await wait_until(lambda: stopped == [1], what="the end of the first run")
        assert worker.held[job.job_id].attempt == 2
    assert stopped == [1, 2]


async def test_jobs_whose_lease_nobody_renews_are_taken_up_again(redis_url: str, pool: Any) -> None:
    attempts: list[int] = []

    async def f(ctx: dict[str, Any]) -> None:
        attempts.append(ctx["job_try"])

    jobs = [await pool.enqueue_job("f") for _ in range(3)]
    assert len((await Scripts(pool, INGEST).claim(3, lease_ms=500, worker="dead")).jobs) == 3
    async with running_worker(redis_url, f):
        for job in jobs:
            assert job is not None
            await job.result(timeout=2, poll_delay=0.05)
    assert attempts == [2, 2, 2]


async def test_a_job_that_kills_its_workers_ends_as_a_dead_letter(redis_url: str, pool: Any) -> None:
    """Attempts are counted at the claim, so a job that never reaches its record runs out of them too."""
    ran = False

    async def f(ctx: dict[str, Any]) -> None:
        nonlocal ran
        ran = True

    job = await pool.enqueue_job("f", _job_id="ingest-killer")
    assert job is not None
    await pool.set(INGEST.retry("ingest-killer"), 5)
    async with running_worker(redis_url, f):
        await wait_until(lambda: pool.xlen(INGEST.own("dead")))
    assert not ran


async def test_a_slow_flow_hook_costs_no_running_job_its_lease(redis_url: str, pool: Any) -> None:
    """The hook writes to a database; a database that hangs must not stop the heart."""
    finish, hanging = asyncio.Event(), asyncio.Event()
    starts: list[int] = []

    async def f(ctx: dict[str, Any]) -> None:
        starts.append(ctx["job_try"])
        await finish.wait()

    async def on_flow_ended(flow: Flow, state: FlowState, error: str | None) -> None:
        hanging.set()
        await finish.wait()

    async with running_worker(redis_url, f, extra=QUICK | {"on_flow_ended": on_flow_ended}) as worker:
        job = await pool.enqueue_job("f")
        assert job is not None
        await wait_until(lambda: bool(starts))
        await orphan(pool)
        await wait_until(hanging.is_set, within_s=8, what="the hook's call for the orphaned entry")
        since = timestamp_ms()
        await wait_until(lambda: timestamp_ms() > since + 1500)
        assert starts == [1]
        assert job.job_id in worker.held
        assert await pool.exists(INGEST.in_progress(job.job_id))
        finish.set()
        await job.result(timeout=3, poll_delay=0.05)


async def test_a_broken_flow_hook_costs_no_running_job_its_lease(redis_url: str, pool: Any) -> None:
    finish = asyncio.Event()
    starts: list[int] = []
    called = 0

    async def f(ctx: dict[str, Any]) -> None:
        starts.append(ctx["job_try"])
        await finish.wait()

    async def on_flow_ended(flow: Flow, state: FlowState, error: str | None) -> None:
        nonlocal called
        called += 1
        raise KeyError("a bug in the hook")

    async with running_worker(redis_url, f, extra=QUICK | {"on_flow_ended": on_flow_ended}) as worker:
        job = await pool.enqueue_job("f")
        assert job is not None
        await wait_until(lambda: bool(starts))
        await orphan(pool)
        await wait_until(lambda: called > 0, within_s=8, what="the hook's call for the orphaned entry")
        since = timestamp_ms()
        await wait_until(lambda: timestamp_ms() > since + 1500)
        assert starts == [1]
        assert job.job_id in worker.held
        assert await pool.exists(INGEST.in_progress(job.job_id))
        finish.set()
        await job.result(timeout=3, poll_delay=0.05)


async def orphan(pool: Any) -> None:
    """An outbox entry of a finished flow, left behind by a dead worker some time ago."""
    flow = flow_of("task-orphan", Step(name="only", queue="ingest", function="f"))
    await FlowStore(pool, cluster=False).create(flow)
    fields = {"flow": flow.id, "step": "only", "state": "succeeded", "message": ""}
    await pool.xadd(INGEST.own("outbox"), fields, id=f"{timestamp_ms() - 10_000}-0")
