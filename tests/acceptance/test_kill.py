"""Workers killed and stopped as machines do it: nothing is lost, nothing recorded twice, nothing waits for long."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import pytest_asyncio

from tests.engine_process import Effects, process
from tests.engine_support import INGEST, client_of, connected, counters, left, per_job, wait_until

RECOVERY_S = 12.0


@pytest_asyncio.fixture
async def pool(redis_url: str) -> AsyncIterator[Any]:
    async with connected(redis_url) as pool:
        yield pool


@pytest.fixture
def effects(tmp_path: Path) -> Effects:
    return Effects(tmp_path / "effects")


async def attempts(pool: Any, job_id: str) -> int:
    return int(await pool.get(INGEST.retry(job_id)) or 0)


async def test_a_killed_workers_jobs_are_started_again_within_twelve_seconds_and_recorded_once(
    redis_url: str, pool: Any, effects: Effects
) -> None:
    async with process(redis_url, effects) as victim:
        jobs = [await pool.enqueue_job("work", seconds=1.5) for _ in range(6)]
        await wait_until(lambda: len(effects.entries("start")) == 6, within_s=15, what="the first starts")
        victim.send_signal(signal.SIGKILL)
        await victim.wait()
        killed_at = time.time()
        assert effects.entries("end") == []
        async with process(redis_url, effects) as survivor, client_of(redis_url) as client:
            for job in jobs:
                assert await client.result(job.job_id, timeout_s=20) == "done"
            restarts = effects.entries("start", survivor.pid)
            assert await counters(pool, INGEST) == {"work:succeeded": 6}
    assert sorted(entry["id"] for entry in restarts) == sorted(job.job_id for job in jobs)
    assert {entry["attempt"] for entry in restarts} == {2}
    assert max(entry["at"] for entry in restarts) - killed_at < RECOVERY_S
    assert Counter(entry["id"] for entry in effects.entries("end")) == {job.job_id: 1 for job in jobs}
    events = [e for _, fields in await pool.xrange(INGEST.own("events")) for e in msgpack.unpackb(fields[b"e"])]
    assert Counter(i for kind, i, *_ in events if kind == "succeeded") == {job.job_id: 1 for job in jobs}
    assert per_job(await left(pool)) == set()


async def test_a_frozen_worker_that_thaws_after_its_lease_records_nothing(
    redis_url: str, pool: Any, effects: Effects
) -> None:
    async with process(redis_url, effects) as frozen:
        job = await pool.enqueue_job("work", seconds=0.5)
        await wait_until(lambda: bool(effects.entries("start")), within_s=15)
        frozen.send_signal(signal.SIGSTOP)
        await pool.delete(INGEST.in_progress(job.job_id))  # as when the lease had run out
        await pool.zadd(INGEST.queue, {job.job_id: 1})
        try:
            async with process(redis_url, effects) as other, client_of(redis_url) as client:
                assert await client.result(job.job_id, timeout_s=15) == "done"
                assert effects.entries("end", other.pid)
                frozen.send_signal(signal.SIGCONT)
                await wait_until(lambda: len(effects.entries("end")) == 2 or frozen.returncode is not None)
                late = await pool.enqueue_job("work", seconds=0)  # its record comes after the late one's
                assert await client.result(late.job_id, timeout_s=5) == "done"
        finally:
            frozen.send_signal(signal.SIGCONT)
        assert await counters(pool, INGEST) == {"work:succeeded": 2}


@pytest.mark.parametrize("function", ["work", "stubborn"])
async def test_what_a_shutdown_cuts_off_is_back_at_once_and_loses_no_attempt(
    redis_url: str, pool: Any, effects: Effects, function: str
) -> None:
    async with process(redis_url, effects, grace_s=1) as worker:
        job = await pool.enqueue_job(function, **({"seconds": 60} if function == "work" else {}))
        quick = await pool.enqueue_job("work", seconds=0.5)
        await wait_until(lambda: len(effects.entries("start")) == 2, within_s=15)
        worker.send_signal(signal.SIGTERM)
        grace_ends = time.monotonic() + 1
        await wait_until(lambda: time.monotonic() > grace_ends - 0.7, what="the signal's handling")
        late = await pool.enqueue_job("work", seconds=0)
        await wait_until(lambda: _back(pool, job.job_id), within_s=1.5, what="the job's return")
        assert time.monotonic() - grace_ends < 0.5
        assert await attempts(pool, job.job_id) == 0
        await worker.wait()
        assert await pool.get(INGEST.result(quick.job_id)), "a job that ends in the grace period is recorded"
        assert [entry["id"] for entry in effects.entries("start")].count(late.job_id) == 0
        assert await pool.zscore(INGEST.queue, job.job_id) <= time.time() * 1000


async def _back(pool: Any, job_id: str) -> bool:
    return bool(await pool.exists(INGEST.in_progress(job_id)) == 0)


async def test_a_second_signal_stops_at_once(redis_url: str, pool: Any, effects: Effects) -> None:
    async with process(redis_url, effects, grace_s=60) as worker:
        job = await pool.enqueue_job("work", seconds=60)
        await wait_until(lambda: bool(effects.entries("start")), within_s=15)
        worker.send_signal(signal.SIGTERM)
        worker.send_signal(signal.SIGINT)
        asked_at = time.monotonic()
        await worker.wait()
        assert time.monotonic() - asked_at < 2
        assert await _back(pool, job.job_id)
        assert await attempts(pool, job.job_id) == 0


async def test_an_idle_worker_stops_at_once(redis_url: str, pool: Any, effects: Effects) -> None:
    async with process(redis_url, effects, grace_s=60) as worker:
        await wait_until(lambda: pool.zcard(INGEST.own("workers")), within_s=15)
        worker.send_signal(signal.SIGTERM)
        asked_at = time.monotonic()
        await worker.wait()
        assert time.monotonic() - asked_at < 2
    assert await pool.zcard(INGEST.own("workers")) == 0


async def test_a_job_that_calls_exit_ends_itself_and_not_its_worker(
    redis_url: str, pool: Any, effects: Effects
) -> None:
    async with process(redis_url, effects) as worker, client_of(redis_url) as client:
        await pool.enqueue_job("leave")
        await wait_until(lambda: bool(effects.entries("start")), within_s=15)
        job = await pool.enqueue_job("work", seconds=0.1)
        assert await client.result(job.job_id, timeout_s=5) == "done"
        assert worker.returncode is None
        await wait_until(lambda: pool.xlen(INGEST.own("dead")), what="the dead letter of the job that left")
