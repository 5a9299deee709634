"""Claims whose answers get lost: what they took is told again, and costs no job an attempt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
from arq.worker import func

from jobqueue.broker.connection import socket_url
from jobqueue.broker.keys import QueueKeys
from jobqueue.broker.scripts import Scripts
from jobqueue.client import NewJob
from jobqueue.engine.feed import Feed
from jobqueue.flows import FlowState, Step
from tests.chaos.proxy import Proxy, proxied
from tests.engine_support import (
    INGEST,
    client_of,
    connected,
    counters,
    flow_of,
    left,
    per_job,
    running_worker,
    wait_until,
)

LEASE_MS = 10_000


@pytest_asyncio.fixture
async def lossy(redis_url: str, redis_server: Any, tmp_path: Path) -> AsyncIterator[tuple[Proxy, str]]:
    """A way to the server that loses every reply once its ``reply_loss`` is 1."""
    way = tmp_path / "way.sock"
    async with proxied(redis_server.socket, way, seed=1, reply_loss=1e-12) as proxy:
        yield proxy, socket_url(way, redis_server.password)


async def claim_unheard(pool: Any, worker: str, count: int) -> None:
    """A claim of a worker that never gets its answer."""
    await Scripts(pool, INGEST).claim(count, lease_ms=LEASE_MS, worker=worker)


async def enqueued(pool: Any, count: int, function: str = "f") -> list[str]:
    return [job_id for job_id, *_ in await pool.enqueue_many([NewJob(function=function)] * count)]


async def test_a_recall_tells_what_an_unheard_claim_took_and_nothing_else(pool: Any) -> None:
    scripts = Scripts(pool, INGEST)
    ids = await enqueued(pool, 4)
    heard = await scripts.claim(1, lease_ms=LEASE_MS, worker="w1")
    await claim_unheard(pool, "w", 2)
    other = await scripts.claim(1, lease_ms=LEASE_MS, worker="w2")
    await pool.enqueue_job("f", _defer_by=5)

    told = await scripts.recall(lease_ms=LEASE_MS, worker="w")

    known = {job.id for job in heard.jobs + other.jobs}
    assert {job.id for job in told.jobs} == set(ids) - known
    assert {(job.attempt, job.aborted) for job in told.jobs} == {(1, False)}
    assert told.fence == heard.fence + 1
    assert all([job.payload == await pool.get(INGEST.job(job.id)) for job in told.jobs])
    assert all([job.token.encode() == await pool.get(INGEST.in_progress(job.id)) for job in told.jobs])


async def test_a_failover_that_takes_fences_back_hides_no_claim(pool: Any) -> None:
    scripts = Scripts(pool, INGEST)
    await enqueued(pool, 2)
    await scripts.claim(1, lease_ms=LEASE_MS, worker="w:1")
    await pool.set(INGEST.own("fence"), 0)
    await claim_unheard(pool, "w:2", 1)
    assert len((await scripts.recall(lease_ms=LEASE_MS, worker="w:2")).jobs) == 1


async def test_of_two_runs_recorded_at_once_one_counts(pool: Any) -> None:
    # A failover forgot the first claim, so the same worker ran the job again before it could record either run.
    scripts = Scripts(pool, INGEST)
    await enqueued(pool, 1)
    [job] = (await scripts.claim(1, lease_ms=LEASE_MS, worker="w")).jobs
    op = {"id": job.id, "token": job.token, "attempt": 1, "finish": True, "ttl": 60_000, "count": "f:succeeded"}
    assert await scripts.record([op | {"result": b"first"}, op | {"result": b"second"}]) == {job.id}
    assert await pool.get(INGEST.result(job.id)) == b"first"
    assert await pool.hget(INGEST.own("counters"), "f:succeeded") == b"1"


async def test_a_recalled_lease_begins_anew(pool: Any) -> None:
    (job_id,) = await enqueued(pool, 1)
    await claim_unheard(pool, "w", 1)
    await pool.pexpire(INGEST.in_progress(job_id), 500)
    told = await Scripts(pool, INGEST).recall(lease_ms=LEASE_MS, worker="w")
    assert await pool.pttl(INGEST.in_progress(job_id)) > LEASE_MS - 500
    assert await pool.zscore(INGEST.queue, job_id) == told.now_ms + LEASE_MS


async def test_a_name_that_only_begins_alike_is_another_worker(pool: Any) -> None:
    await enqueued(pool, 2)
    await claim_unheard(pool, "w:1", 1)
    await claim_unheard(pool, "w1", 1)
    assert (await Scripts(pool, INGEST).recall(lease_ms=LEASE_MS, worker="w")).jobs == []


async def test_a_cancel_asked_for_meanwhile_is_told_with_the_job(redis_url: str, pool: Any) -> None:
    (job_id,) = await enqueued(pool, 1)
    await claim_unheard(pool, "w", 1)
    async with client_of(redis_url) as client:
        assert await client.cancel_job(job_id) == "cancelling"
    told = await Scripts(pool, INGEST).recall(lease_ms=LEASE_MS, worker="w")
    assert [job.aborted for job in told.jobs] == [True]


async def test_a_feed_asks_again_for_nothing_that_it_was_told(pool: Any) -> None:
    feed, scripts = Feed(INGEST), Scripts(pool, INGEST)
    await enqueued(pool, 2)
    await feed.claim(scripts, 1, owner="w", lease_s=10)
    await claim_unheard(pool, "w", 1)
    assert await feed.recall(scripts, lease_s=10) is None


async def test_a_claim_under_way_is_not_taken_for_one_whose_answer_was_lost(pool: Any) -> None:
    feed, scripts = Feed(INGEST), Scripts(pool, INGEST)
    ids = await enqueued(pool, 3)
    claims = await asyncio.gather(*(feed.claim(scripts, 1, owner="w", lease_s=10) for _ in range(5)))
    assert sorted(job.id for claim in claims for job in claim.jobs) == sorted(ids)


async def _leased(pool: Any, ids: list[str]) -> bool:
    return bool(await pool.exists(*(INGEST.in_progress(job_id) for job_id in ids)) == len(ids))


async def test_jobs_with_a_single_attempt_survive_lost_answers_to_their_claims(
    lossy: tuple[Proxy, str], pool: Any
) -> None:
    proxy, url = lossy
    starts: list[tuple[str, int]] = []

    async def f(ctx: dict[str, Any]) -> str:
        starts.append((ctx["job_id"], ctx["job_try"]))
        return "done"

    async with running_worker(url, func(f, name="f", max_tries=1), max_jobs=10) as worker:
        await wait_until(lambda: pool.zcard(INGEST.own("workers")), what="the first heartbeat")
        proxy.reply_loss = 1.0
        proxy.doom()
        ids = await enqueued(pool, 5)
        await wait_until(lambda: _leased(pool, ids), what="the unheard claim")
        proxy.reply_loss = 1e-12
        await wait_until(lambda: worker.jobs_complete == 5 and not worker.held)
    assert sorted(starts) == sorted((job_id, 1) for job_id in ids)
    assert await counters(pool, INGEST) == {"f:succeeded": 5}
    assert per_job(await left(pool)) == set()


async def test_a_shutdown_returns_what_an_unheard_claim_took_with_no_attempt_spent(
    lossy: tuple[Proxy, str], pool: Any
) -> None:
    proxy, url = lossy

    async def f(ctx: dict[str, Any]) -> None:
        raise AssertionError("it was never heard of")

    async with running_worker(url, f):
        await wait_until(lambda: pool.zcard(INGEST.own("workers")), what="the first heartbeat")
        proxy.reply_loss = 1.0
        proxy.doom()
        ids = await enqueued(pool, 1)
        await wait_until(lambda: _leased(pool, ids), what="the unheard claim")
        proxy.reply_loss = 1e-12
    assert await pool.exists(INGEST.in_progress(ids[0])) == 0
    assert int(await pool.get(INGEST.retry(ids[0]))) == 0
    assert await pool.zcard(INGEST.queue) == 1


async def test_a_step_whose_record_got_no_answer_is_relayed_at_once(lossy: tuple[Proxy, str], redis_url: str) -> None:
    proxy, url = lossy
    go = asyncio.Event()

    async def first(ctx: dict[str, Any]) -> None:
        await go.wait()

    async def second(ctx: dict[str, Any]) -> None: ...

    flow = flow_of(
        "task-1",
        Step(name="a", queue="ingest", function="first"),
        Step(name="b", queue="ingest", function="second", needs=("a",)),
    )
    async with (
        client_of(redis_url) as client,
        running_worker(url, first, second) as worker,
        connected(redis_url) as pool,
    ):
        await client.submit(flow)
        await wait_until(lambda: worker.held, what="the first step's start")
        proxy.reply_loss = 1.0
        go.set()
        await wait_until(lambda: pool.xlen(INGEST.own("outbox")), what="the unheard record")
        proxy.reply_loss = 1e-12

        async def over() -> bool:
            return (await client.view("task-1")).state == FlowState.SUCCEEDED.value

        await wait_until(over, within_s=2.5, what="the flow's end, before anybody looks for what dead workers left")


async def test_a_cancel_survives_the_worker_that_first_heard_of_it(redis_url: str, pool: Any) -> None:
    ran = False

    async def f(ctx: dict[str, Any]) -> None:
        nonlocal ran
        ran = True

    (job_id,) = await enqueued(pool, 1)
    scripts = Scripts(pool, QueueKeys(INGEST.name))
    await scripts.claim(1, lease_ms=LEASE_MS, worker="first")
    async with client_of(redis_url) as client:
        assert await client.cancel_job(job_id) == "cancelling"
    for worker in ("second", "third"):  # each claims it when the lease before has run out, and dies
        await pool.delete(INGEST.in_progress(job_id))
        await pool.zadd(INGEST.queue, {job_id: 1})
        claim = await scripts.claim(1, lease_ms=LEASE_MS, worker=worker)
        assert [job.aborted for job in claim.jobs] == [True]
    await pool.delete(INGEST.in_progress(job_id))
    await pool.zadd(INGEST.queue, {job_id: 1})
    async with running_worker(redis_url, f) as worker_:
        await wait_until(lambda: worker_.jobs_failed == 1 and not worker_.held)
    assert not ran
    assert await counters(pool, INGEST) == {"f:cancelled": 1}
    assert await pool.zcard(INGEST.abort) == 0
