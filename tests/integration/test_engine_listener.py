"""The listener of an idle worker: its job comes with the token, and nothing it claims is kept from others."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis

from jobqueue.broker.connection import socket_url
from jobqueue.engine.slots import Slots
from jobqueue.job import decode, encode
from tests.chaos.proxy import proxied
from tests.engine_support import (
    INGEST,
    OCR,
    calls,
    left,
    pool_of,
    running,
    running_worker,
    wait_until,
    worker_of,
)


async def listening(pool: Any, workers: int = 1) -> None:
    async def blocked() -> bool:
        return bool((await pool.info("clients"))["blocked_clients"] == workers)

    await wait_until(blocked, what="the wait at the wake list")


async def at_rest(pool: Any, job_id: str) -> bool:
    """Whether a job waits as if nobody had ever claimed it."""
    attempts = int(await pool.get(INGEST.retry(job_id)) or 0)
    return (
        not attempts and not await pool.exists(INGEST.in_progress(job_id)) and await pool.zscore(INGEST.queue, job_id)
    )


def plain(pool: Any) -> ArqRedis:
    """A client that leaves no tokens."""
    return ArqRedis(
        pool.connection_pool, job_serializer=encode, job_deserializer=decode, default_queue_name=INGEST.name
    )


async def test_a_lone_job_costs_one_claim(redis_url: str, pool: Any) -> None:
    async def f(ctx: object) -> None: ...

    async with running_worker(redis_url, f) as worker:
        await listening(pool)
        scripts, waits = await calls(pool, "evalsha"), await calls(pool, "blpop")
        await pool.enqueue_job("f")
        await wait_until(lambda: worker.jobs_complete == 1 and not worker.held)
        await listening(pool)
        assert await calls(pool, "evalsha") - scripts <= 4  # enqueue, claim, record; and a heartbeat's
        assert await calls(pool, "blpop") - waits == 1


async def test_many_jobs_at_once_are_all_found_by_the_first_token(redis_url: str, pool: Any) -> None:
    async def f(ctx: object) -> None:
        await asyncio.sleep(0)

    async with running_worker(redis_url, f) as worker:
        await listening(pool)
        await asyncio.gather(*(pool.enqueue_job("f") for _ in range(50)))
        await wait_until(lambda: worker.jobs_complete == 50, within_s=1)


async def test_a_script_that_the_server_has_forgotten_costs_the_job_a_moment(redis_url: str, pool: Any) -> None:
    ran = asyncio.Event()

    async def f(ctx: object) -> None:
        ran.set()

    async with running_worker(redis_url, f):
        for _ in range(2):
            await listening(pool)
            await pool.script_flush()
            await pool.enqueue_job("f")
            await wait_until(ran.is_set, within_s=1)
            ran.clear()


async def test_a_job_beyond_the_slots_goes_to_another_worker_with_no_attempt_spent(redis_url: str, pool: Any) -> None:
    go, started = asyncio.Event(), list[tuple[str, str, int]]()

    def named(name: str) -> Any:
        async def f(ctx: dict[str, Any]) -> None:
            started.append((name, ctx["job_id"], ctx["job_try"]))
            await go.wait()

        return f

    async with running_worker(redis_url, named("first"), max_jobs=1) as first:
        await listening(pool)
        await plain(pool).enqueue_job("f", _job_id="ingest-quiet")
        await wait_until(lambda: started, what="the job without a token, found by a peek")
        await pool.enqueue_job("f", _job_id="ingest-loud")
        await wait_until(lambda: pool.llen(INGEST.own("wake")), what="the token, handed on")
        assert await at_rest(pool, "ingest-loud")
        async with running_worker(redis_url, named("second"), max_jobs=1):
            await wait_until(lambda: len(started) == 2, within_s=1)
            go.set()
        await wait_until(lambda: first.jobs_complete == 1)
    assert started == [("first", "ingest-quiet", 1), ("second", "ingest-loud", 1)]


async def test_a_job_beyond_the_slots_runs_as_soon_as_one_is_free(redis_url: str, pool: Any) -> None:
    go, started = asyncio.Event(), list[tuple[str, int]]()

    async def f(ctx: dict[str, Any]) -> None:
        started.append((ctx["job_id"], ctx["job_try"]))
        await go.wait()

    async with running_worker(redis_url, f, max_jobs=1):
        await listening(pool)
        await plain(pool).enqueue_job("f", _job_id="ingest-quiet")
        await wait_until(lambda: started)
        await pool.enqueue_job("f", _job_id="ingest-loud")
        await wait_until(lambda: pool.llen(INGEST.own("wake")), what="the token, handed on")
        go.set()
        await wait_until(lambda: len(started) == 2, within_s=0.5)
    assert started == [("ingest-quiet", 1), ("ingest-loud", 1)]


async def test_workers_that_share_slots_never_exceed_them(redis_url: str, pool: Any) -> None:
    go, started = asyncio.Event(), list[str]()

    async def f(ctx: dict[str, Any]) -> None:
        started.append(ctx["job_id"])
        await go.wait()

    slots = Slots(1, {keys.name: (1.0, 1) for keys in (INGEST, OCR)})
    ocr, ingest = (worker_of(redis_url, [f], queue=queue, slots=slots, max_jobs=1) for queue in ("ocr", "ingest"))
    other: Any = pool_of(redis_url, "ocr")
    async with running(ocr), running(ingest), other:
        await listening(pool, 2)
        await other.enqueue_job("f", _job_id="ocr-1")
        await wait_until(lambda: started)
        await pool.enqueue_job("f", _job_id="ingest-1")
        await wait_until(lambda: pool.llen(INGEST.own("wake")), what="the token, handed on")
        assert started == ["ocr-1"]
        assert await at_rest(pool, "ingest-1")
        go.set()
        await wait_until(lambda: started == ["ocr-1", "ingest-1"], within_s=0.5)


@pytest.mark.parametrize("turns", range(4))
async def test_a_job_enqueued_at_the_moment_of_a_stop_has_run_or_waits_untouched(
    redis_url: str, pool: Any, turns: int
) -> None:
    """``turns``: of the loop between the enqueue's start and the stop's."""
    ran: set[str] = set()

    async def f(ctx: dict[str, Any]) -> None:
        ran.add(ctx["job_id"])

    for n in range(10):
        async with running_worker(redis_url, f):
            await listening(pool)
            enqueue = asyncio.create_task(pool.enqueue_job("f", _job_id=f"ingest-{n}"))
            for _ in range(turns * 3):
                await asyncio.sleep(0)
        await enqueue
        assert f"ingest-{n}" in ran or await at_rest(pool, f"ingest-{n}")
        ends = [key for key in await left(pool) if ":wake:" in key]
        assert all([await pool.pttl(key) > 0 for key in ends]), "what may be left of a stop expires"
        await pool.flushdb()


async def test_a_stop_that_comes_while_a_job_is_handed_back_waits_for_that(
    redis_url: str, pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def f(ctx: object) -> None: ...

    async with running_worker(redis_url, f) as worker:
        hand_back = worker.hand_back

        def noticed(jobs: Any, why: str) -> Any:
            begun.set()
            return hand_back(jobs, why)

        monkeypatch.setattr(worker, "hand_back", noticed)
        await listening(pool)
        worker.allow_pick_jobs = False
        await pool.enqueue_job("f", _job_id="ingest-1")
        await begun.wait()
    assert await at_rest(pool, "ingest-1")


async def test_a_stopping_worker_hands_on_the_token_of_a_job_that_it_no_longer_starts(
    redis_url: str, pool: Any
) -> None:
    ran = asyncio.Event()

    async def f(ctx: dict[str, Any]) -> None:
        assert ctx["job_try"] == 1
        ran.set()

    async with running_worker(redis_url, f) as stopping:
        await listening(pool)
        stopping.allow_pick_jobs = False  # as a first SIGTERM has it
        async with running_worker(redis_url, f) as other:
            await listening(pool, 2)
            await pool.enqueue_job("f")
            await wait_until(ran.is_set, within_s=0.5)
            assert other.jobs_complete + len(other.held) >= 1
    assert stopping.jobs_complete == 0


async def test_a_stopped_worker_claims_nothing_more_however_late_the_server_hears_of_its_end(
    redis_url: str, redis_server: Any, pool: Any, tmp_path: Path
) -> None:
    async def f(ctx: object) -> None: ...

    way = tmp_path / "way.sock"
    async with proxied(redis_server.socket, way, seed=1) as proxy:
        proxy.linger_s = 0.2
        async with running_worker(socket_url(way, redis_server.password), f):
            await listening(pool)
        await pool.enqueue_job("f", _job_id="ingest-1")
        assert await at_rest(pool, "ingest-1")
        await wait_until(lambda: proxy.wires == 0)
        assert await at_rest(pool, "ingest-1")
