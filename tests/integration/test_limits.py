"""Limits, holds, fair shares, priorities and unique jobs, with workers that run."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis

from jobqueue.broker.connection import open_pool, parse
from jobqueue.broker.enqueue import NewJob
from jobqueue.broker.keys import QueueKeys, queue_name
from jobqueue.broker.options import Options, Unique
from jobqueue.client import Client
from jobqueue.errors import InvalidInput
from jobqueue.job import decode, encode
from jobqueue.limits import Limit, rate
from tests.engine_support import INGEST, client_of, left, per_job, running_worker, wait_until
from tests.integration.cluster_support import cluster


class Gauge:
    """A job that notes how many of its kind run at once, and in which order they start."""

    def __init__(self, seconds: float = 0.01) -> None:
        self.seconds = seconds
        self.now = self.most = 0
        self.started: list[Any] = []

    async def __call__(self, _ctx: dict[str, Any], what: Any = None, **_: Any) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        self.started.append(what)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.now -= 1

    def coroutine(self) -> Any:
        async def f(ctx: dict[str, Any], *args: Any, **kwargs: Any) -> None:
            await self(ctx, *args, **kwargs)

        return f


async def test_a_limit_holds_over_several_workers_and_nothing_is_left(redis_url: str, pool: Any) -> None:
    gauge = Gauge()
    async with client_of(redis_url) as client:
        await client.control("ingest").limit("provider:p", Limit(concurrency=3))
        await pool.enqueue_many(
            [NewJob(function="f", options=Options(tenant=t, keys={"provider": "p"})) for t in "abc" * 20]
        )
        async with running_worker(redis_url, gauge.coroutine()), running_worker(redis_url, gauge.coroutine()):
            await wait_until(lambda: len(gauge.started) == 60 and not gauge.now, within_s=20)
        assert gauge.most == 3
        await client.control("ingest").unlimit("provider:p")
    assert per_job(await left(pool)) == set()


async def test_a_limit_by_type_reaches_the_jobs_of_plain_arq_clients_too(redis_url: str, pool: Any) -> None:
    gauge = Gauge()
    plain = ArqRedis(pool.connection_pool, job_serializer=encode, job_deserializer=decode)
    async with client_of(redis_url) as client:
        await client.control("ingest").limit("type:f", Limit(concurrency=2))
        for number in range(20):
            assert await plain.enqueue_job("f", number, _queue_name=INGEST.name)
        async with running_worker(redis_url, gauge.coroutine()):
            await wait_until(lambda: len(gauge.started) == 20 and not gauge.now, within_s=20)
    assert gauge.most == 2
    assert sorted(gauge.started) == list(range(20))


async def test_a_hold_stops_the_jobs_it_names_and_no_others_until_it_is_lifted(redis_url: str, pool: Any) -> None:
    gauge = Gauge()
    async with client_of(redis_url) as client, running_worker(redis_url, gauge.coroutine()):
        control = client.control("ingest")
        await control.hold("bad-tenant", function="f", where={"tenant_id": "acme"}, reason="floods us")
        for tenant in ("acme", "other", "acme"):
            await pool.enqueue_job("f", tenant, tenant_id=tenant, _options=Options(tenant=tenant))
        await pool.enqueue_job("f", "last", tenant_id="x")
        await wait_until(lambda: set(gauge.started) >= {"other", "last"})
        (rule,) = await control.rules()
        assert (rule.scope, rule.reason, rule.paused) == ("hold:bad-tenant", "floods us", True)
        await wait_until(lambda: pool.exists(INGEST.own("blocked:hold:bad-tenant")))
        await control.lift("bad-tenant")
        await wait_until(lambda: Counter(gauge.started) == {"acme": 2, "other": 1, "last": 1})


async def test_a_tenant_with_nine_tenths_of_the_backlog_slows_no_other(redis_url: str, pool: Any) -> None:
    gauge = Gauge(0.002)
    tenants = ["big"] * 900 + [f"small{n}" for n in range(10)] * 10
    await pool.enqueue_many([NewJob(function="f", args=(t,), options=Options(tenant=t)) for t in tenants])
    async with running_worker(redis_url, gauge.coroutine(), max_jobs=8):
        await wait_until(lambda: len(gauge.started) >= 110, within_s=20)
    shares = list(Counter(gauge.started[:110]).values())  # as long as every tenant has something waiting
    jain = sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))
    assert len(shares) == 11
    assert jain >= 0.95


async def test_priorities_hold_under_load(redis_url: str, pool: Any) -> None:
    gauge = Gauge(0.001)
    await pool.enqueue_many([NewJob(function="f", args=(0,)) for _ in range(500)])
    async with running_worker(redis_url, gauge.coroutine(), max_jobs=5):
        await wait_until(lambda: len(gauge.started) > 20)
        mark = len(gauge.started)
        jobs = [NewJob(function="f", args=(p,), options=Options(priority=p)) for p in (1, 5, 9) * 10]
        await pool.enqueue_many(jobs)
        await wait_until(lambda: len(gauge.started) == 530, within_s=20)
    urgent = [priority for priority in gauge.started[mark:] if priority]
    last_urgent = max(index for index, priority in enumerate(gauge.started) if priority)
    assert sorted(urgent[:10]) == [9] * 10
    assert urgent == sorted(urgent, reverse=True)
    assert last_urgent - mark < 60  # thirty of them, and what was claimed before they came


async def test_a_changed_limit_holds_from_the_next_claim_on(redis_url: str, pool: Any) -> None:
    gauge = Gauge(0.02)
    async with client_of(redis_url) as client, running_worker(redis_url, gauge.coroutine(), max_jobs=10):
        control = client.control("ingest")
        await control.pause("type:f")
        await pool.enqueue_many([NewJob(function="f") for _ in range(60)])
        await asyncio.sleep(0.2)
        assert gauge.started == []
        await control.limit("type:f", Limit(concurrency=1))
        await control.resume("type:f")
        await wait_until(lambda: len(gauge.started) >= 3)
        assert gauge.most == 1
        await control.limit("type:f", Limit(concurrency=6))
        await wait_until(lambda: len(gauge.started) == 60, within_s=10)
    assert gauge.most == 6


# ── unique jobs ──────────────────────────────────────────────────────────────────────────────────────────────────


async def put(pool: Any, unique: Unique, *args: Any, defer_s: float = 0.0) -> Any:
    return await pool.enqueue(NewJob(function="f", args=args, defer_s=defer_s, options=Options(unique=unique)))


@pytest.mark.parametrize("until", ["start", "finish"])
async def test_a_second_job_of_a_key_is_told_which_one_stands_in_its_way(pool: Any, redis_url: str, until: Any) -> None:
    gauge = Gauge(0.2)
    unique = Unique(key="report:7", until=until)
    first = await put(pool, unique, 1)
    assert (await put(pool, unique, 2))[1:] == ("duplicate", first.id)
    async with running_worker(redis_url, gauge.coroutine()):
        await wait_until(lambda: gauge.now)
        while_running = await put(pool, unique, 3)
        assert while_running.answer == ("enqueued" if until == "start" else "duplicate")
        await wait_until(lambda: not gauge.now and not pool_busy(gauge, until))
        await wait_until(lambda: not_taken(pool, unique.key))
        assert (await put(pool, unique, 4)).answer == "enqueued"
        await wait_until(lambda: 4 in gauge.started and not gauge.now)
    await wait_until(lambda: not_taken(pool, unique.key))


def pool_busy(gauge: Gauge, until: str) -> bool:
    return until == "start" and 3 not in gauge.started


async def not_taken(pool: Any, key: str) -> bool:
    return not await pool.exists(INGEST.own(f"unique:{key}"))


async def test_a_throttled_job_runs_once_a_window_whatever_became_of_it(pool: Any, redis_url: str) -> None:
    gauge = Gauge(0)
    unique = Unique.throttle("sync", 0.4)
    first = await put(pool, unique)
    async with running_worker(redis_url, gauge.coroutine()):
        await wait_until(lambda: len(gauge.started) == 1)
        assert (await put(pool, unique)).in_the_way == first.id
        await wait_until(lambda: not_taken(pool, "sync"))
        assert (await put(pool, unique)).answer == "enqueued"


async def test_of_a_burst_of_debounced_jobs_the_last_one_runs_after_the_quiet_time(pool: Any, redis_url: str) -> None:
    gauge = Gauge(0)
    answers = [await put(pool, Unique.debounce("index"), number, defer_s=0.2) for number in range(5)]
    assert [answer.answer for answer in answers] == ["enqueued", *["replaced"] * 4]
    assert len({answer.id for answer in answers}) == 1
    async with running_worker(redis_url, gauge.coroutine()):
        await wait_until(lambda: gauge.started)
        await asyncio.sleep(0.3)
    assert gauge.started == [4]


async def test_replacing_keeps_the_place_in_the_queue(pool: Any, redis_url: str) -> None:
    gauge = Gauge(0)
    unique = Unique(key="k", on_conflict="replace")
    await put(pool, unique, "old")
    await asyncio.sleep(0.005)
    await pool.enqueue(NewJob(function="f", args=("other",)))
    await asyncio.sleep(0.005)
    assert (await put(pool, unique, "new")).answer == "replaced"
    async with running_worker(redis_url, gauge.coroutine(), max_jobs=1):
        await wait_until(lambda: len(gauge.started) == 2)
    assert gauge.started == ["new", "other"]


async def test_a_unique_job_that_is_cancelled_or_buried_frees_its_key(pool: Any, redis_url: str) -> None:
    async def f(_ctx: dict[str, Any]) -> None:
        raise InvalidInput("no")

    async with client_of(redis_url) as client:
        waiting = await put(pool, Unique(key="a"), defer_s=60)
        assert await client.cancel_job(waiting.id) == "cancelled"
        assert await not_taken(pool, "a")
        await put(pool, Unique(key="b"))
        async with running_worker(redis_url, f):
            await wait_until(lambda: client.dead_letters("ingest").count())
        assert await not_taken(pool, "b")
    assert per_job(await left(pool)) == set()


async def test_a_kept_result_that_stands_in_the_way_is_told(pool: Any, redis_url: str) -> None:
    gauge = Gauge(0)
    async with running_worker(redis_url, gauge.coroutine()):
        await pool.enqueue(NewJob(function="f", id="ingest-mine"))
        await wait_until(lambda: pool.exists(INGEST.result("ingest-mine")))
        assert await pool.enqueue(NewJob(function="f", id="ingest-mine")) == ("ingest-mine", "finished", "ingest-mine")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"priority": 10}, "from 0 to 9"),
        ({"tenant": "a\x1fb"}, "printable"),
        ({"keys": {"queue": "x"}}, "none of hold, queue, tenant, type"),
        ({"keys": {"provider": ""}}, "provider"),
    ],
)
def test_options_that_make_no_sense_are_refused_with_what_does(arguments: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        Options(**arguments)


@pytest.mark.parametrize("text", ["60", "60/w", "-1/s", "fast"])
def test_rates_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="such as 60/m"):
        rate(text)


async def test_limits_fair_shares_and_unique_jobs_work_on_a_cluster(
    tmp_path: Path, unused_tcp_port_factory: Any
) -> None:
    gauge = Gauge()
    async with cluster(tmp_path, unused_tcp_port_factory) as url:
        pool: Any = open_pool(parse(url), queue=queue_name("ingest"))
        async with Client(pool, ["ingest"]) as client:
            control = client.control("ingest")
            await control.limit("tenant:*", Limit(concurrency=1))
            await pool.enqueue_many([NewJob(function="f", args=(t,), options=Options(tenant=t)) for t in "ab" * 10])
            unique = Unique(key="u")
            first = await put(pool, unique, "u")
            assert (await put(pool, unique)).in_the_way == first.id

            async def connect() -> Any:
                return open_pool(parse(url), queue=queue_name("ingest"))

            async with running_worker(url, gauge.coroutine(), extra={"connect": connect, "cluster": True}):
                await wait_until(lambda: len(gauge.started) == 21 and not gauge.now, within_s=20)
            assert gauge.most <= 3  # one of each tenant, and the one without
            keys = QueueKeys(queue_name("ingest"), cluster=True)
            await wait_until(lambda: _gone(pool, keys.own("traits")))


async def _gone(pool: Any, key: str) -> bool:
    return not await pool.exists(key)
