"""Cancelling what burns a processor in a child process; and marks of a cancel that must hurt no later job."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import psutil
import pytest
from arq.jobs import Job

from jobqueue.client import NewJob
from jobqueue.errors import NotFound, RejectedFile
from jobqueue.job import State, decode
from jobqueue.services.sandbox import ProcessSandbox
from tests.engine_support import INGEST, client_of, left, per_job, running_worker, wait_until

VICTIMS = "tests.contract.sandbox_victims"


def burning(pid: int) -> bool:
    """Whether the process lives and has burned some processor time by now."""
    try:
        return psutil.Process(pid).cpu_times().user > 0.05
    except psutil.NoSuchProcess:
        return False


async def test_a_cancelled_job_s_child_is_gone_within_a_second_and_its_slot_is_free(redis_url: str, pool: Any) -> None:
    async with ProcessSandbox(processes=1, packages=(VICTIMS,)) as sandbox:
        started = asyncio.Event()

        async def f(ctx: dict[str, Any]) -> None:
            started.set()
            await sandbox.run(f"{VICTIMS}:spin")

        async def small(ctx: dict[str, Any]) -> int:
            return int(await sandbox.run(f"{VICTIMS}:pid"))

        warm = int(await sandbox.run(f"{VICTIMS}:pid"))
        async with running_worker(redis_url, f, small, max_jobs=1) as worker, client_of(redis_url) as client:
            job = await pool.enqueue_job("f")
            await started.wait()
            await wait_until(lambda: burning(warm), what="a busy child")
            began = time.monotonic()
            assert await client.cancel_job(job.job_id) == "cancelling"
            await wait_until(lambda: not psutil.pid_exists(warm), within_s=1.0, what="the child's end")
            with pytest.raises(asyncio.CancelledError):
                await client.result(job.job_id, timeout_s=1)
            assert time.monotonic() - began < 1.0
            assert await client.state(job.job_id) is State.CANCELLED
            next_ = await pool.enqueue_job("small")
            assert await client.result(next_.job_id, timeout_s=5) not in {None, warm}, "slot and sandbox are free"
            await wait_until(lambda: not worker.held)
    assert per_job(await left(pool)) == set()
    assert await pool.zcard(INGEST.abort) == 0


async def test_a_job_that_answers_its_cancellation_with_an_error_was_cancelled(redis_url: str, pool: Any) -> None:
    started = asyncio.Event()

    async def f(ctx: dict[str, Any]) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise RejectedFile("closed in the middle") from None

    async with running_worker(redis_url, f), client_of(redis_url) as client:
        job = await pool.enqueue_job("f")
        await started.wait()
        assert await client.cancel_job(job.job_id) == "cancelling"
        with pytest.raises(asyncio.CancelledError):
            await client.result(job.job_id, timeout_s=2)
        assert await client.dead_letters("ingest").count() == 0
    assert await pool.zcard(INGEST.abort) == 0


# ── marks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("before", ["never there", "finished", "dead letter replayed"])
async def test_a_plain_abort_of_a_job_that_is_not_there_hurts_no_later_one_of_that_id(
    redis_url: str, pool: Any, before: str, many: bool
) -> None:
    async def f(ctx: dict[str, Any]) -> str:
        if before == "dead letter replayed" and not ctx["meta"].get("history"):
            raise RejectedFile("no")
        return "ran"

    job_id = "ingest-1"
    async with running_worker(redis_url, f) as worker, client_of(redis_url) as client:
        if before != "never there":
            await pool.enqueue_job("f", _job_id=job_id)
            await wait_until(lambda: worker.jobs_complete + worker.jobs_failed == 1)
            await wait_until(lambda: not worker.held)
        await pool.zadd(INGEST.abort, {job_id: time.time_ns() // 10**6})  # what is left of arq's Job.abort()
        if before == "dead letter replayed":
            letters = client.dead_letters("ingest")
            await letters.replay(await letters.get(job_id))
        else:
            await pool.delete(INGEST.result(job_id))
            if many:
                await pool.enqueue_many([NewJob(id=job_id, function="f")])
            else:
                await pool.enqueue_job("f", _job_id=job_id)
        assert await client.result(job_id, timeout_s=5) == "ran"
    assert await pool.zcard(INGEST.abort) == 0


async def test_arqs_abort_of_an_unknown_job_gives_up_and_the_job_enqueued_then_runs(redis_url: str, pool: Any) -> None:
    async def f(ctx: dict[str, Any]) -> str:
        return "ran"

    async with running_worker(redis_url, f), client_of(redis_url) as client:
        assert await Job("ingest-1", pool, INGEST.name, decode).abort(timeout=1, poll_delay=0.01) is False
        await pool.enqueue_job("f", _job_id="ingest-1")
        assert await client.result("ingest-1", timeout_s=5) == "ran"


async def test_our_cancel_of_a_job_that_is_not_there_leaves_no_mark(redis_url: str, pool: Any) -> None:
    async def f(ctx: dict[str, Any]) -> str:
        return "ran"

    async with client_of(redis_url) as client:
        with pytest.raises(NotFound):
            await client.cancel_job("ingest-1")
        assert await left(pool) == set()
        async with running_worker(redis_url, f):
            await pool.enqueue_job("f", _job_id="ingest-1")
            assert await client.result("ingest-1", timeout_s=5) == "ran"
            assert await client.cancel_job("ingest-1") == "finished"
            assert await pool.zcard(INGEST.abort) == 0
