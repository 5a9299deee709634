"""A job's life against a real Redis: found, started when due, retried, buried, and nothing left of it afterwards."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import msgpack
import pytest
from arq.connections import ArqRedis
from arq.worker import Retry, func

from jobqueue.broker.deadletter import DeadLetter, DeadLetters
from jobqueue.errors import InvalidInput, ProviderBusy, Transient
from jobqueue.job import State, decode, encode
from jobqueue.retry import Backoff, RetryPolicy
from tests.engine_support import (
    INGEST,
    bare_worker_of,
    calls,
    client_of,
    counters,
    left,
    per_job,
    running,
    running_worker,
    wait_until,
)


async def f(ctx: dict[str, Any]) -> str:
    return "done"


async def the_letter(pool: Any, job_id: str, *, within_s: float = 5) -> DeadLetter:
    await wait_until(lambda: pool.hexists(INGEST.own("dead:index"), job_id), within_s=within_s, what="the dead letter")
    return await DeadLetters(pool, INGEST).get(job_id)


# ── wake-up ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_idle_worker_starts_a_job_at_once(redis_url: str, pool: Any) -> None:
    async with running_worker(redis_url, f):
        await wait_until(lambda: pool.zcard(INGEST.own("workers")))
        job = await pool.enqueue_job("f")
        assert await job.result(timeout=1, poll_delay=0.01) == "done"


async def test_a_job_of_a_plain_arq_client_is_found(redis_url: str, pool: Any) -> None:
    plain = ArqRedis(
        pool.connection_pool, job_serializer=encode, job_deserializer=decode, default_queue_name=INGEST.name
    )
    async with running_worker(redis_url, f):
        await wait_until(lambda: pool.zcard(INGEST.own("workers")))
        job = await plain.enqueue_job("f")
        assert job is not None
        assert await job.result(timeout=1, poll_delay=0.01) == "done"


async def test_one_enqueue_wakes_one_of_several_idle_workers(redis_url: str, pool: Any) -> None:
    async with running_worker(redis_url, f) as a, running_worker(redis_url, f) as b, running_worker(redis_url, f) as c:
        workers = (a, b, c)
        await wait_until(lambda: pool.zcard(INGEST.own("workers")))
        await wait_until(lambda: all(worker.feed.wake.idle.is_set() for worker in workers))
        before = await calls(pool, "evalsha")
        for _ in range(10):
            job = await pool.enqueue_job("f")
            await job.result(timeout=1, poll_delay=0.01)
        claims = await calls(pool, "evalsha") - before - 20  # each job is enqueued and recorded, too
    # One claim finds the job; the peek of another may see it in the same millisecond, but not as a rule.
    assert 10 <= claims <= 20, "a herd would have made thirty"


async def test_an_idle_worker_costs_redis_at_most_twenty_commands_a_second(redis_url: str, pool: Any) -> None:
    async with running_worker(redis_url, f):
        await wait_until(lambda: pool.zcard(INGEST.own("workers")))
        await pool.config_resetstat()
        started = time.monotonic()
        await wait_until(lambda: time.monotonic() > started + 3)
        stats = await pool.info("commandstats")
        commands = sum(stat["calls"] for name, stat in stats.items() if name not in {"cmdstat_info", "cmdstat_config"})
    assert commands / (time.monotonic() - started) <= 20


async def test_a_deferred_job_starts_when_it_is_due_and_not_before(redis_url: str, pool: Any) -> None:
    started: list[float] = []

    async def at(ctx: dict[str, Any]) -> None:
        started.append(time.time())

    async with running_worker(redis_url, at):
        due = datetime.now(UTC) + timedelta(seconds=0.6)
        await pool.enqueue_job("at", _defer_until=due)
        before = time.time()
        await pool.enqueue_job("at", _defer_by=0.3)
        await wait_until(lambda: len(started) == 2, within_s=2)
    assert 0.299 <= started[0] - before < 0.8
    assert -0.001 <= started[1] - due.timestamp() < 0.5


# ── refused and buried ───────────────────────────────────────────────────────────────────────────────────────────


async def test_an_expired_job_is_a_dead_letter_and_never_runs(redis_url: str, pool: Any) -> None:
    ran = False

    async def late(ctx: dict[str, Any]) -> None:
        nonlocal ran
        ran = True

    job = await pool.enqueue_job("late", _expires=0.001)
    in_time = await pool.enqueue_job("f", _expires=60)
    expired = time.monotonic() + 0.01
    await wait_until(lambda: time.monotonic() > expired)
    async with running_worker(redis_url, f, late):
        letter = await the_letter(pool, job.job_id)
        assert await in_time.result(timeout=1, poll_delay=0.01) == "done"
    assert not ran
    assert (letter.reason, letter.error_class) == ("expired", "jobqueue.errors.Expired")
    assert letter.payload


async def test_a_job_of_unknown_function_waits_for_a_worker_that_knows_it(redis_url: str, pool: Any) -> None:
    attempts: list[int] = []

    async def new(ctx: dict[str, Any]) -> str:
        attempts.append(ctx["job_try"])
        return "new"

    job = await pool.enqueue_job("new")
    async with running_worker(redis_url, f, extra={"park_delay_s": 0.05}) as old, client_of(redis_url) as client:
        await wait_until(lambda: old.jobs_retried >= 3, what="three offers")
        assert await client.state(job.job_id) is State.RETRYING
        assert int(await pool.get(INGEST.retry(job.job_id))) <= 1
        async with running_worker(redis_url, f, new, extra={"park_delay_s": 0.05}):
            assert await job.result(timeout=3, poll_delay=0.01) == "new"
    assert attempts == [1], "parking spends no attempt"
    assert per_job(await left(pool)) == set()


async def test_a_job_that_nobody_knows_is_buried_after_a_while(redis_url: str, pool: Any) -> None:
    job = await pool.enqueue_job("nobody")
    async with running_worker(redis_url, f, extra={"park_delay_s": 0.05, "park_s": 0.2}):
        letter = await the_letter(pool, job.job_id)
    assert (letter.reason, letter.function) == ("unknown", "nobody")
    assert letter.error_class == "jobqueue.errors.UnknownFunction"
    assert "'nobody'" in letter.message
    assert per_job(await left(pool)) == set()


async def test_a_permanent_error_is_buried_at_once(redis_url: str, pool: Any) -> None:
    async def bad(ctx: dict[str, Any]) -> None:
        raise InvalidInput("this page number is not a number")

    job = await pool.enqueue_job("bad")
    async with running_worker(redis_url, bad):
        letter = await the_letter(pool, job.job_id)
        with pytest.raises(InvalidInput, match="page number"):
            await job.result(timeout=1, poll_delay=0.01)
    assert (letter.reason, letter.attempts) == ("permanent", 1)
    assert await pool.xlen(INGEST.own("retries")) == 0


# ── retries ──────────────────────────────────────────────────────────────────────────────────────────────────────

DELAYS = {  # ms after the first, second and third attempt, with random() at 0.5
    Backoff.EXPONENTIAL: [50, 100, 200],
    Backoff.LINEAR: [100, 200, 300],
    Backoff.FIBONACCI: [100, 100, 200],
    Backoff.FIXED: [100, 100, 100],
}


@pytest.mark.parametrize("backoff", Backoff)
async def test_a_transient_error_is_retried_as_its_policy_says(redis_url: str, pool: Any, backoff: Backoff) -> None:
    attempts: list[float] = []

    async def shaky(ctx: dict[str, Any]) -> str:
        attempts.append(time.time())
        if ctx["job_try"] < 4:
            raise Transient(f"down for the {ctx['job_try']}. time")
        return "up"

    policies = {"shaky": RetryPolicy(backoff=backoff, base_s=0.1, max_attempts=4)}
    job = await pool.enqueue_job("shaky")
    async with running_worker(redis_url, shaky, extra={"policies": policies, "random": lambda: 0.5}):
        assert await job.result(timeout=5, poll_delay=0.01) == "up"
    entries = [fields for _, fields in await pool.xrange(INGEST.own("retries"))]
    assert [int(entry[b"delay_ms"]) for entry in entries] == DELAYS[backoff]
    assert [entry[b"attempt"] for entry in entries] == [b"1", b"2", b"3"]
    assert {(e[b"job_id"].decode(), e[b"function"], e[b"error_class"]) for e in entries} == {
        (job.job_id, b"shaky", b"jobqueue.errors.Transient")
    }
    assert entries[1][b"message"] == b"down for the 2. time"
    waited = [later - earlier for earlier, later in pairwise(attempts)]
    assert all(w >= d / 1000 - 0.002 for w, d in zip(waited, DELAYS[backoff], strict=True))
    assert await counters(pool, INGEST) == {"shaky:retried": 3, "shaky:succeeded": 1}


async def test_a_job_out_of_attempts_is_a_dead_letter_that_says_everything(redis_url: str, pool: Any) -> None:
    async def down(ctx: dict[str, Any], page: int) -> None:
        raise OSError(f"page {page} is away")

    before = datetime.now(UTC) - timedelta(milliseconds=1)
    job = await pool.enqueue_job("down", page=7)
    async with running_worker(redis_url, down):
        letter = await the_letter(pool, job.job_id)
    assert (letter.job_id, letter.queue, letter.function) == (job.job_id, "jobqueue:ingest", "down")
    assert (letter.reason, letter.attempts) == ("exhausted", 3)
    assert (letter.error_class, letter.message) == ("builtins.OSError", "page 7 is away")
    assert 'raise OSError(f"page {page} is away")' in letter.traceback
    assert letter.started_at is not None
    assert before <= letter.enqueued_at <= letter.started_at <= letter.buried_at
    assert letter.detail()["kwargs"] == {"page": 7}
    assert await pool.xlen(INGEST.own("retries")) == 2
    assert per_job(await left(pool)) == set()


async def test_a_providers_retry_after_is_honoured(redis_url: str, pool: Any) -> None:
    async def busy(ctx: dict[str, Any]) -> str:
        if ctx["job_try"] == 1:
            raise ProviderBusy("wait", retry_after_s=0.4)
        return "served"

    job = await pool.enqueue_job("busy")
    async with running_worker(redis_url, busy, extra={"random": lambda: 0.5}):
        assert await job.result(timeout=2, poll_delay=0.01) == "served"
    ((_, entry),) = await pool.xrange(INGEST.own("retries"))
    assert int(entry[b"delay_ms"]) == 440


async def test_arqs_own_retry_is_counted_and_bounded(redis_url: str, pool: Any) -> None:
    async def again(ctx: dict[str, Any]) -> None:
        raise Retry(defer=0.01)

    job = await pool.enqueue_job("again")
    async with running_worker(redis_url, func(again, name="again", max_tries=3)):
        letter = await the_letter(pool, job.job_id)
    assert (letter.reason, letter.attempts) == ("exhausted", 3)


async def test_a_job_that_passes_its_timeout_is_retried(redis_url: str, pool: Any) -> None:
    async def slow(ctx: dict[str, Any]) -> None:
        await asyncio.Event().wait()

    job = await pool.enqueue_job("slow")
    async with running_worker(redis_url, func(slow, name="slow", timeout=0.05)):
        letter = await the_letter(pool, job.job_id)
    assert (letter.reason, letter.error_class) == ("exhausted", "builtins.TimeoutError")


async def test_a_job_type_in_trouble_rests_in_every_worker(redis_url: str, pool: Any) -> None:
    starts: list[str] = []

    async def down(ctx: dict[str, Any]) -> None:
        starts.append(ctx["job_id"])
        raise Transient("the provider is down")

    policy = RetryPolicy(backoff=Backoff.FIXED, base_s=0.01, max_attempts=9, cooldown_after=2, cooldown_s=60)
    extra = {"policies": {"down": policy}, "lease_s": 1.0}
    async with running_worker(redis_url, down, extra=extra) as first:
        await pool.enqueue_job("down")
        await wait_until(lambda: first.jobs_retried == 3 and not first.held, what="two failures and a rest")
        first.allow_pick_jobs = False
        async with running_worker(redis_url, down, f, extra=extra) as second:
            await wait_until(
                lambda: second.cooldowns is not None and second.cooldowns.left_s("down") > 0,
                what="the other worker's learning of the rest",
            )
            other = await pool.enqueue_job("down")
            await wait_until(lambda: second.jobs_retried == 1 and not second.held, what="the second job's rest")
            assert len(starts) == 2
            assert int(await pool.get(INGEST.retry(other.job_id))) == 0, "a rest spends no attempt"
            assert await pool.zscore(INGEST.queue, other.job_id) > (time.time() + 50) * 1000
            job = await pool.enqueue_job("f")
            assert await job.result(timeout=1, poll_delay=0.01) == "done", "other job types don't rest"


# ── what is left ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_only_what_is_meant_to_stay_is_left_of_finished_jobs(redis_url: str, pool: Any) -> None:
    async def shaky(ctx: dict[str, Any]) -> str:
        await ctx["progress"](1, 2, "half")
        if ctx["job_try"] == 1:
            raise Transient("once")
        return "up"

    async def bad(ctx: dict[str, Any]) -> None:
        await ctx["progress"](1, 2, "half")
        raise InvalidInput("no")

    jobs = [await pool.enqueue_job(name) for name in ("f", "shaky", "bad", "f", "shaky")]
    async with running_worker(redis_url, f, shaky, bad) as worker:
        await wait_until(lambda: worker.jobs_complete + worker.jobs_failed == 5 and not worker.held)
    kept = {INGEST.result(job.job_id) for job in jobs}
    shared = {INGEST.own(k) for k in ("fence", "events", "counters", "retries", "dead", "dead:index")}
    optional = {INGEST.health_check, INGEST.own("wake")}  # both expire within seconds
    assert await left(pool) - optional == kept | shared
    assert all([await pool.pttl(key) > 0 for key in kept | ((await left(pool)) & optional)])


async def test_a_result_that_is_not_kept_leaves_nothing_of_its_job(redis_url: str, pool: Any) -> None:
    async with running_worker(redis_url, func(f, name="f", keep_result=0)) as worker:
        job = await pool.enqueue_job("f")
        await wait_until(lambda: worker.jobs_complete == 1 and not worker.held)
    assert not any(job.job_id in key for key in await left(pool))


async def test_a_bare_worker_leaves_only_arqs_keys(redis_url: str, pool: Any) -> None:
    plain = ArqRedis(pool.connection_pool)
    async with running(bare_worker_of(redis_url, [f], poll_delay=0.01)):
        job = await plain.enqueue_job("f")
        assert job is not None
        assert await job.result(timeout=2, poll_delay=0.01) == "done"
        missing = await plain.enqueue_job("missing")
        assert missing is not None
        with pytest.raises(Exception, match="function 'missing' not found"):
            await missing.result(timeout=2, poll_delay=0.01)
        held = await left(pool)
    assert held == {"arq:queue:health-check", f"arq:result:{job.job_id}", f"arq:result:{missing.job_id}"}
    assert await left(pool) == held - {"arq:queue:health-check"}


async def test_a_job_that_finished_is_not_undone_by_a_late_plain_abort(redis_url: str, pool: Any) -> None:
    """A plain arq client's abort() reads first and writes then; the job may have finished between the two."""
    async with running_worker(redis_url, f) as worker:
        job = await pool.enqueue_job("f")
        assert await job.result(timeout=1, poll_delay=0.01) == "done"
        await pool.zadd("arq:abort", {job.job_id: time.time() * 1000})
        await pool.zadd(INGEST.queue, {job.job_id: 1})
        await wait_until(lambda: _gone(pool, job.job_id))
        await wait_until(lambda: not worker.held)
        assert await job.result(timeout=1, poll_delay=0.01) == "done"
    assert await pool.xlen(INGEST.own("dead")) == 0
    assert await counters(pool, INGEST) == {"f:succeeded": 1}


async def _gone(pool: Any, job_id: str) -> bool:
    return await pool.zscore(INGEST.queue, job_id) is None


# ── group commit ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_jobs_that_finish_together_are_recorded_together(redis_url: str, pool: Any) -> None:
    gate = asyncio.Event()
    waiting = 0

    async def g(ctx: dict[str, Any]) -> None:
        nonlocal waiting
        waiting += 1
        await gate.wait()

    async with running_worker(redis_url, g, max_jobs=50) as worker:
        for _ in range(50):
            await pool.enqueue_job("g")
        await wait_until(lambda: waiting == 50)
        before = await calls(pool, "evalsha") + await calls(pool, "eval")
        gate.set()
        await wait_until(lambda: worker.jobs_complete == 50 and not worker.held)
        scripts_run = await calls(pool, "evalsha") + await calls(pool, "eval") - before
    assert scripts_run <= 5, "one record for all, and the claims and heartbeats beside it"
    events = [e for _, fields in await pool.xrange(INGEST.own("events")) for e in msgpack.unpackb(fields[b"e"])]
    assert sum(kind == "succeeded" for kind, *_ in events) == 50
