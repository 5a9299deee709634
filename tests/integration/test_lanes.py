"""Limits, priorities, fair sharing and pauses, as claims give them out."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from jobqueue.broker.control import QueueControl
from jobqueue.broker.enqueue import NewJob
from jobqueue.broker.options import Options
from jobqueue.broker.scripts import Claim, ClaimedJob, Scripts
from jobqueue.errors import InvalidInput
from jobqueue.limits import Limit
from tests.engine_support import INGEST


class Lanes:
    """One queue, claimed from and recorded to by hand."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self.scripts = Scripts(pool, INGEST)

    async def put(self, count: int = 1, *, function: str = "f", defer_s: float = 0.0, **options: Any) -> list[str]:
        job = NewJob(function=function, defer_s=defer_s, options=Options(**options))
        return [enqueued.id for enqueued in await self.pool.enqueue_many([job] * count)]

    async def claim(self, free: int, lease_ms: int = 10_000) -> list[ClaimedJob]:
        return (await self.look(free, lease_ms)).jobs

    async def look(self, free: int, lease_ms: int = 10_000) -> Claim:
        return await self.scripts.claim(free, lease_ms=lease_ms, worker="w")

    async def ids(self, free: int) -> list[str]:
        return [job.id for job in await self.claim(free)]

    async def end(self, jobs: Sequence[ClaimedJob], **op: Any) -> None:
        ops = [{"id": j.id, "token": j.token, "attempt": j.attempt, "finish": True} | op for j in jobs]
        assert await self.scripts.record(ops) == set()

    async def retry(self, jobs: Sequence[ClaimedJob], delay_ms: int) -> None:
        ops = [{"id": j.id, "token": j.token, "attempt": j.attempt, "delay": delay_ms} for j in jobs]
        assert await self.scripts.record(ops) == set()

    def control(self) -> QueueControl:
        async def cancel(job_id: str) -> str:
            return await self.scripts.cancel(job_id, result=b"", keep_ms=0, count="f:cancelled")

        return QueueControl(self.pool, INGEST, cancel=cancel)

    async def drained(self) -> None:
        """Run everything that is left, and see that nothing stays behind."""
        while jobs := await self.claim(100):
            await self.end(jobs)
        left = {key.decode() for key in await self.pool.keys("jobqueue:ingest*")}
        kept = {"fence", "events", "counters", "turn", "rules", "once"}
        assert {key for key in left if key.split(":")[2:3] and key.split(":")[2] not in kept} == set()


@pytest.fixture
def lanes(pool: Any) -> Lanes:
    return Lanes(pool)


async def test_higher_priorities_go_first_and_equal_ones_in_order(lanes: Lanes) -> None:
    low = await lanes.put(2, priority=1)
    plain = await lanes.put(2)
    high = await lanes.put(2, priority=9)
    assert await lanes.ids(10) == high + low + plain


async def test_a_priority_is_a_head_start_so_that_no_job_waits_for_ever(lanes: Lanes) -> None:
    old, new = await lanes.put(1), await lanes.put(1, priority=1)
    await lanes.pool.zadd(INGEST.queue, {old[0]: time.time() * 1000 - 11 * 60_000})  # eleven minutes ago
    assert await lanes.ids(2) == old + new


async def test_a_deferred_job_keeps_its_priority_but_starts_no_sooner_than_due(lanes: Lanes) -> None:
    later = await lanes.put(1, priority=9, defer_s=0.15)
    plain = await lanes.put(2)
    assert await lanes.ids(1) < plain
    await asyncio.sleep(0.16)
    assert await lanes.ids(1) == later


async def test_tenants_take_turns_whatever_their_backlogs(lanes: Lanes) -> None:
    whose = {}
    for tenant, count in (("big", 900), ("small", 60), ("tiny", 40)):
        for job_id in await lanes.put(count, tenant=tenant):
            whose[job_id] = tenant
    served = Counter(whose[job_id] for job_id in await lanes.ids(90))
    assert served == {"big": 30, "small": 30, "tiny": 30}


async def test_jobs_without_a_tenant_take_turns_with_tenants(lanes: Lanes) -> None:
    await lanes.put(100, tenant="acme")
    plain = set(await lanes.put(100))
    got = await lanes.ids(20)
    assert len(plain & set(got)) == 10


async def test_a_tenants_weight_is_its_share(lanes: Lanes) -> None:
    await lanes.control().limit("tenant:big", Limit(weight=3))
    big, small = set(await lanes.put(100, tenant="big")), set(await lanes.put(100, tenant="small"))
    got = set(await lanes.ids(40))
    assert (len(got & big), len(got & small)) == (30, 10)


@pytest.mark.parametrize(
    ("scope", "options"),
    [
        ("type:f", {}),
        ("type:*", {}),
        ("tenant:acme", {"tenant": "acme"}),
        ("tenant:*", {"tenant": "acme"}),
        ("provider:openai", {"keys": {"provider": "openai"}}),
        ("queue", {}),
        ("queue", {"tenant": "acme"}),
    ],
)
async def test_no_more_than_the_limit_run_at_once(lanes: Lanes, scope: str, options: dict[str, Any]) -> None:
    await lanes.control().limit(scope, Limit(concurrency=3))
    await lanes.put(10, **options)
    first = await lanes.claim(10)
    assert len(first) == 3
    assert await lanes.claim(10) == []
    await lanes.end(first[:2])
    second = await lanes.claim(10)
    assert len(second) == 2
    await lanes.retry(second, 50)
    assert len(await lanes.claim(1)) == 1
    (rule,) = await lanes.control().rules()
    assert rule.running == (0 if scope.endswith("*") else 2)


async def test_a_limit_that_comes_late_counts_the_jobs_that_run(lanes: Lanes) -> None:
    await lanes.put(10, tenant="acme")
    first = await lanes.claim(4)
    await lanes.control().limit("tenant:acme", Limit(concurrency=5))
    assert len(await lanes.claim(10)) == 1
    await lanes.control().limit("tenant:acme", Limit(concurrency=7))
    assert len(await lanes.claim(10)) == 2
    await lanes.control().unlimit("tenant:acme")
    assert len(await lanes.claim(10)) == 3
    await lanes.end(first)


async def test_a_dead_workers_jobs_hold_a_limit_no_longer_than_their_lease(lanes: Lanes) -> None:
    for scope in ("type:f", "queue"):
        await lanes.control().limit(scope, Limit(concurrency=2))
        await lanes.put(200)
        assert len(await lanes.claim(10, lease_ms=30)) == 2
        await asyncio.sleep(0.04)
        assert len(await lanes.claim(10)) == 2
        await lanes.control().unlimit(scope)
        await lanes.pool.flushdb()


async def test_a_rate_lets_a_burst_go_and_then_one_at_a_time(lanes: Lanes) -> None:
    await lanes.control().limit("type:f", Limit(rate_per_s=20, burst=2))
    await lanes.put(10)
    first = await lanes.look(10)
    assert len(first.jobs) == 2
    assert first.again_ms is not None
    assert first.now_ms < first.again_ms <= first.now_ms + 50
    got, started = 0, time.monotonic()
    while got < 4:
        got += len(await lanes.claim(10))
        await asyncio.sleep(0.005)
    assert 0.15 <= time.monotonic() - started < 0.5


async def test_what_a_rate_holds_back_holds_back_no_other(lanes: Lanes) -> None:
    await lanes.control().limit("provider:slow", Limit(rate_per_s=0.01))
    await lanes.put(500, keys={"provider": "slow"}, tenant="a")
    fast = await lanes.put(5, keys={"provider": "fast"}, tenant="a")
    assert len(await lanes.ids(1)) == 1
    assert set(await lanes.ids(5)) == set(fast)


async def test_a_pause_stops_a_queue_a_type_or_a_tenant(lanes: Lanes) -> None:
    control = lanes.control()
    for scope in ("queue", "type:f", "tenant:acme"):
        await control.pause(scope)
        ids = await lanes.put(3, tenant="acme")
        assert await lanes.claim(5) == []
        await control.resume(scope)
        jobs = await lanes.claim(5)
        assert {job.id for job in jobs} == set(ids)
        await lanes.end(jobs)


async def test_freed_capacity_reaches_the_lane_that_can_use_it(lanes: Lanes) -> None:
    # Both limits hold some lanes back; whatever frees one of them must find the lane that waits for it alone.
    control = lanes.control()
    await control.limit("provider:p", Limit(concurrency=2))
    await control.limit("tenant:*", Limit(concurrency=1))
    for tenant in "abcdef":
        await lanes.put(3, tenant=tenant, keys={"provider": "p"})
    done = 0
    while jobs := await lanes.claim(10):
        assert len(jobs) == 2
        await lanes.end(jobs)
        done += len(jobs)
    assert done == 18
    await control.unlimit("provider:p")
    await control.unlimit("tenant:*")
    await lanes.drained()


async def test_an_aborted_job_is_handed_out_whatever_holds_it_back(lanes: Lanes) -> None:
    await lanes.control().pause("tenant:acme")
    (job_id,) = await lanes.put(1, tenant="acme")
    assert await lanes.claim(1) == []
    await lanes.pool.zadd(INGEST.abort, {job_id: 1})
    await lanes.pool.zadd(INGEST.queue, {job_id: 1})  # as arq's Job.abort() does
    (job,) = await lanes.claim(1)
    assert (job.id, job.aborted) == (job_id, True)
    await lanes.end([job])
    await lanes.control().unlimit("tenant:acme")
    await lanes.drained()


async def test_a_job_that_plain_arq_took_off_the_queue_is_forgotten(lanes: Lanes) -> None:
    gone, stays = await lanes.put(2, tenant="acme", priority=3)
    await lanes.pool.zrem(INGEST.queue, gone)
    await lanes.pool.delete(INGEST.job(gone))
    assert await lanes.ids(5) == [stays]
    assert not await lanes.pool.hexists(INGEST.own("traits"), gone)


async def test_cancelling_waiting_jobs_leaves_nothing_behind(lanes: Lanes) -> None:
    control = lanes.control()
    await control.limit("tenant:*", Limit(concurrency=1))
    ids = [job_id for tenant in "ab" for job_id in await lanes.put(5, tenant=tenant)]
    (first, *_) = await lanes.claim(1)
    assert await control.purge(expected=await control.waiting()) == 9
    await lanes.end([first])
    await control.unlimit("tenant:*")
    assert len(ids) == 10
    await lanes.drained()


async def test_a_purge_of_another_number_than_expected_is_refused(lanes: Lanes) -> None:
    await lanes.put(30)
    with pytest.raises(InvalidInput, match="30 waiting jobs, not 7"):
        await lanes.control().purge(expected=7)
    assert await lanes.control().waiting() == 30


async def test_draining_waits_for_what_runs_and_starts_nothing_more(lanes: Lanes) -> None:
    await lanes.put(3)
    running = await lanes.claim(1)
    with pytest.raises(TimeoutError):
        await lanes.control().drain(timeout_s=0.15)
    await lanes.end(running)
    await lanes.control().drain(timeout_s=5)
    assert await lanes.claim(5) == []


async def test_an_operators_limit_outlives_the_configuration(lanes: Lanes) -> None:
    control = lanes.control()
    await control.configure({"type:f": Limit(concurrency=5), "type:g": Limit(concurrency=5)})
    await control.limit("type:f", Limit(concurrency=1))
    await control.configure({"type:f": Limit(concurrency=6)})
    assert {rule.scope: (rule.limit.concurrency, rule.source) for rule in await control.rules()} == {
        "type:f": (1, "operator")
    }


async def test_a_claim_over_many_limited_jobs_looks_at_few_of_them(lanes: Lanes) -> None:
    # What bounds the time of a claim is the number of commands it runs, which no busy machine changes.
    control = lanes.control()
    await control.limit("tenant:*", Limit(concurrency=1))
    await control.limit("provider:p", Limit(concurrency=1))
    options = [Options(tenant=f"t{n}", keys={"provider": "p"}) for n in range(2_000)]
    await lanes.pool.enqueue_many(NewJob(function="f", options=one) for one in options for _ in range(20))
    assert await lanes.control().waiting() == 40_000
    assert len(await lanes.claim(10)) == 1
    before = await lanes.pool.info("commandstats")
    calls = sum(stat["calls"] for stat in before.values())
    assert await lanes.claim(10) == []
    after = await lanes.pool.info("commandstats")
    assert sum(stat["calls"] for stat in after.values()) - calls < 5_000
