"""Checkpoints: a new attempt goes on where the last one saved, whatever ended that one; no other save counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis.exceptions import ConnectionError as RedisGoneError

from jobqueue.broker.scripts import ClaimedJob, Scripts
from jobqueue.engine.host import Host
from jobqueue.engine.outcomes import Held
from jobqueue.engine.saves import Saves
from jobqueue.errors import InvalidInput, LeaseLost, LimitExceeded, RejectedFile, Transient, Unavailable
from jobqueue.job import State
from jobqueue.retry import Backoff, RetryPolicy
from tests.engine_support import INGEST, client_of, left, per_job, running_worker, wait_until

PLAIN = {
    "page": 3,
    "sum": Decimal("2.50"),
    "at": datetime(2025, 1, 2, tzinfo=UTC),
    "raw": b"\0\xff",
    "list": [None, 1.5],
}


async def claimed(pool: Any, *, worker: str = "w", lease_ms: int = 10_000) -> tuple[ClaimedJob, Saves]:
    """A job as some worker holds it, and what its function would save by."""
    scripts = Scripts(pool, INGEST)
    claim = await scripts.claim(1, lease_ms=lease_ms, worker=worker)
    (job,) = claim.jobs
    host = SimpleNamespace(pool=pool, keys=INGEST, scripts=scripts)
    return job, Saves(cast("Host", host), Held.of(job, claim.fence))


async def expire_lease(pool: Any, job_id: str) -> None:
    """What a stalled worker's lease comes to."""
    await pool.delete(INGEST.in_progress(job_id))
    await pool.zadd(INGEST.queue, {job_id: 1}, xx=True)


async def test_an_attempt_goes_on_from_what_the_one_before_it_saved(redis_url: str, pool: Any) -> None:
    seen: list[Any] = []

    async def f(ctx: dict[str, Any]) -> str:
        checkpoint = ctx["checkpoint"]
        seen.append(await checkpoint.load())
        if ctx["job_try"] == 1:
            await checkpoint.save({"page": 1})
            await checkpoint.save(PLAIN)
            raise Transient("the network")
        return "done"

    async with running_worker(redis_url, f), client_of(redis_url) as client:
        job = await pool.enqueue_job("f")
        assert await client.result(job.job_id, timeout_s=5) == "done"
    assert seen == [None, PLAIN]
    assert per_job(await left(pool)) == set(), "a checkpoint is gone with its job"


async def test_a_job_of_a_dead_worker_and_one_that_a_shutdown_cut_off_go_on_too(redis_url: str, pool: Any) -> None:
    job = await pool.enqueue_job("f")
    _, saves = await claimed(pool, worker="dead")
    await saves.save("from the dead worker")
    await expire_lease(pool, job.job_id)
    seen: list[Any] = []
    started = asyncio.Event()

    async def f(ctx: dict[str, Any]) -> None:
        seen.append(await ctx["checkpoint"].load())
        await ctx["checkpoint"].save("before the shutdown")
        started.set()
        if len(seen) == 1:
            await asyncio.Event().wait()

    async with running_worker(redis_url, f):
        await started.wait()
    async with running_worker(redis_url, f), client_of(redis_url) as client:
        await client.result(job.job_id, timeout_s=5)
    assert seen == ["from the dead worker", "before the shutdown"]


async def test_a_replayed_dead_letter_goes_on_and_a_new_job_of_that_id_does_not(redis_url: str, pool: Any) -> None:
    seen: list[Any] = []

    async def f(ctx: dict[str, Any], *, good: bool = False) -> None:
        seen.append(await ctx["checkpoint"].load())
        if not good and len(seen) < 3:
            await ctx["checkpoint"].save(f"cursor {len(seen)}")
            raise RejectedFile("no")

    async with running_worker(redis_url, f), client_of(redis_url) as client:
        letters = client.dead_letters("ingest")
        await pool.enqueue_job("f", _job_id="ingest-1")
        await wait_until(letters.count)
        assert await client.state("ingest-1") is State.FAILED
        assert 0 < await pool.pttl(INGEST.buried("ingest-1")) <= 7 * 86_400_000
        await pool.delete(INGEST.result("ingest-1"))
        await pool.enqueue_job("f", good=True, _job_id="ingest-1")
        await client.result("ingest-1", timeout_s=5)
        assert seen == [None, None], "the dead letter's checkpoint isn't the new job's"
        await letters.replay(await letters.get("ingest-1"))
        await client.result("ingest-1", timeout_s=5)
        assert seen[2] == "cursor 1"
        assert await pool.pttl(INGEST.checkpoint("ingest-1")) == -2
    assert not await pool.exists(INGEST.buried("ingest-1"))


async def test_a_replayed_job_keeps_its_checkpoint_however_long_it_waits(redis_url: str, pool: Any) -> None:
    async def f(ctx: dict[str, Any]) -> None:
        await ctx["checkpoint"].save(7)
        raise RejectedFile("no")

    async with client_of(redis_url) as client:
        letters = client.dead_letters("ingest")
        async with running_worker(redis_url, f):
            await pool.enqueue_job("f", _job_id="ingest-1")
            await wait_until(letters.count)
        await letters.replay(await letters.get("ingest-1"))
        assert await pool.pttl(INGEST.checkpoint("ingest-1")) == -1, "it doesn't expire while the job lives"


@pytest.mark.parametrize("end", ["cancel waiting", "cancel running", "discard"])
async def test_a_cancelled_or_discarded_job_leaves_no_checkpoint(redis_url: str, pool: Any, end: str) -> None:
    saved = asyncio.Event()

    async def f(ctx: dict[str, Any]) -> None:
        await ctx["checkpoint"].save("here")
        saved.set()
        if end == "discard":
            raise RejectedFile("no")
        if end == "cancel running":
            await asyncio.Event().wait()
        raise Transient("later")

    rest = RetryPolicy(backoff=Backoff.FIXED, base_s=60, cap_s=60)
    async with running_worker(redis_url, f, extra={"default_policy": rest}), client_of(redis_url) as client:
        job = await pool.enqueue_job("f")
        await saved.wait()
        if end == "discard":
            letters = client.dead_letters("ingest")
            await wait_until(letters.count)
            assert await pool.exists(INGEST.buried(job.job_id))
            await letters.discard(await letters.get(job.job_id))
        else:
            if end == "cancel waiting":
                await wait_until(lambda: state_is(client, job.job_id, State.RETRYING))
            assert await client.cancel_job(job.job_id) == ("cancelled" if end == "cancel waiting" else "cancelling")
            with pytest.raises(asyncio.CancelledError):
                await client.result(job.job_id, timeout_s=5)
    keys = await left(pool)
    assert INGEST.checkpoint(job.job_id) not in keys
    assert INGEST.buried(job.job_id) not in keys


async def state_is(client: Any, job_id: str, state: State) -> bool:
    return bool(await client.state(job_id) is state)


# ── who may save ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_zombies_save_is_refused_and_its_job_is_left_to_the_newer_attempt(redis_url: str, pool: Any) -> None:
    job = await pool.enqueue_job("f")
    _, zombie = await claimed(pool, worker="zombie")
    await zombie.save("old")
    await expire_lease(pool, job.job_id)
    _, heir = await claimed(pool, worker="heir")
    assert await heir.load() == "old"
    await heir.save("new")
    for _ in range(2):
        with pytest.raises(LeaseLost, match="is another worker's now"):
            await zombie.save("older")
    with pytest.raises(LeaseLost):
        await zombie.append("a late piece")
    assert await heir.load() == "new"
    assert not await pool.exists(INGEST.partial(job.job_id))


async def test_a_lease_that_lapsed_while_nobody_claimed_the_job_is_still_good_for_a_save(pool: Any) -> None:
    job = await pool.enqueue_job("f")
    _, saves = await claimed(pool)
    await expire_lease(pool, job.job_id)
    await saves.save("after the outage")
    assert await saves.load() == "after the outage"


async def test_a_zombie_is_refused_after_the_newer_attempt_was_handed_back_uncounted(pool: Any) -> None:
    job = await pool.enqueue_job("f")
    _, zombie = await claimed(pool, worker="zombie")
    await expire_lease(pool, job.job_id)
    held, heir = await claimed(pool, worker="heir")
    await heir.save("new")
    op = {"id": held.id, "token": held.token, "attempt": held.attempt, "refund": True, "delay": 0}
    assert await Scripts(pool, INGEST).record([op]) == set()
    with pytest.raises(LeaseLost):
        await zombie.save("old")
    assert await heir.load() == "new"


async def test_a_job_that_learns_by_its_save_that_it_is_lost_is_recorded_by_its_heir_alone(
    redis_url: str, pool: Any
) -> None:
    stolen, lost = asyncio.Event(), asyncio.Event()
    ends: list[str] = []

    async def f(ctx: dict[str, Any]) -> str:
        if ctx["job_try"] > 1:
            return "the heir's"
        stolen.set()
        await lost.wait()
        try:
            await ctx["checkpoint"].save("late")
        except LeaseLost:
            ends.append("told")
            raise RuntimeError("whatever it makes of that") from None
        return "the zombie's"

    async with running_worker(redis_url, f) as worker, client_of(redis_url) as client:
        job = await pool.enqueue_job("f")
        await stolen.wait()
        await expire_lease(pool, job.job_id)
        await claimed(pool, worker="thief", lease_ms=300)
        lost.set()
        assert await client.result(job.job_id, timeout_s=5) == "the heir's"
        assert ends == ["told"]
        await wait_until(lambda: not worker.held, what="the lost job's end")
        assert (worker.jobs_complete, worker.jobs_retried) == (1, 0), "what the lost attempt raised is no outcome"
        assert await client.dead_letters("ingest").count() == 0
        assert await pool.xlen(INGEST.own("retries")) == 0


async def test_a_job_that_was_recorded_takes_no_save_any_more(redis_url: str, pool: Any) -> None:
    job = await pool.enqueue_job("f")
    held, saves = await claimed(pool)
    op = {"id": held.id, "token": held.token, "attempt": held.attempt, "finish": True, "result": b"x", "ttl": 1000}
    assert await Scripts(pool, INGEST).record([op]) == set()
    with pytest.raises(LeaseLost):
        await saves.save("late")
    assert per_job(await left(pool)) == set(), job.job_id


# ── what can be saved ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_too_large_or_no_plain_data_is_refused_and_the_last_save_stays(pool: Any) -> None:
    await pool.enqueue_job("f")
    _, saves = await claimed(pool)
    await saves.save("good")
    with pytest.raises(LimitExceeded, match=r"at most 1,000,000 fit: put large things into storage and save their key"):
        await saves.save("x" * 1_000_001)
    with pytest.raises(InvalidInput, match="a checkpoint must be plain data: a set"):
        await saves.save({1, 2})
    assert await saves.load() == "good"


@pytest.mark.parametrize("damage", [b"\x80\x04pickle", b"", b"\xc1", b"\x93\x01\x02\x03"])
async def test_a_damaged_checkpoint_is_as_good_as_none(pool: Any, damage: bytes) -> None:
    job = await pool.enqueue_job("f")
    _, saves = await claimed(pool)
    await pool.hset(INGEST.checkpoint(job.job_id), mapping={"fence": 1, "data": damage})
    assert await saves.load() is None
    await saves.save("mended")
    assert await saves.load() == "mended"


async def test_a_save_that_redis_does_not_answer_has_the_job_retried(
    redis_url: str, pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any, **__: Any) -> bool:
        raise RedisGoneError("gone")

    async def f(ctx: dict[str, Any]) -> Any:
        if ctx["job_try"] == 1:
            with monkeypatch.context() as patch:
                patch.setattr(Scripts, "save", away)
                with pytest.raises(Unavailable, match="the checkpoint may not be saved, since Redis doesn't answer"):
                    await ctx["checkpoint"].save(1)
                await ctx["checkpoint"].save(2)
        return await ctx["checkpoint"].load()

    async with running_worker(redis_url, f), client_of(redis_url) as client:
        job = await pool.enqueue_job("f")
        assert await client.result(job.job_id, timeout_s=5) is None
        found = await client.job(job.job_id)
        assert (found.state, found.attempt) == ("succeeded", 2)


# ── crash points ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Stopped(BaseException):
    """The process ends here."""


@asynccontextmanager
async def stopping(monkeypatch: pytest.MonkeyPatch, call: int, *, after: bool) -> AsyncIterator[None]:
    """Within the block, the process dies beside that call of the script."""
    save, calls = Scripts.save, 0

    async def stop(self: Scripts, *args: Any, **kwargs: Any) -> bool:
        nonlocal calls
        calls += 1
        if calls == call and not after:
            raise Stopped
        answer = await save(self, *args, **kwargs)
        if calls == call:
            raise Stopped
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(Scripts, "save", stop)
        yield


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", [1, 2, 3])
async def test_wherever_a_process_dies_its_heir_goes_on_from_the_last_save_that_landed(
    pool: Any, monkeypatch: pytest.MonkeyPatch, call: int, after: bool
) -> None:
    """Each save takes the pieces along that were told before it, so both are there or neither is."""

    async def work(saves: Saves) -> None:
        for page in range((await saves.load() or 0) + 1, 4):
            await saves.append(f"page {page}")
            await saves.save(page)

    job = await pool.enqueue_job("f")
    _, saves = await claimed(pool, worker="dead")
    async with stopping(monkeypatch, call, after=after):
        with suppress(Stopped):
            await work(saves)
            pytest.fail("it didn't die")
    await expire_lease(pool, job.job_id)
    _, heir = await claimed(pool, worker="heir")
    assert await heir.load() == ((call if after else call - 1) or None)
    await work(heir)
    async with client_of_pool(pool) as client:
        view = await client.wait_job(job.job_id)
    assert [piece["data"] for piece in view.partial] == ["page 1", "page 2", "page 3"], "none is missing, none twice"
    assert await heir.load() == 3


@asynccontextmanager
async def client_of_pool(pool: Any) -> AsyncIterator[Any]:
    path = pool.connection_pool.connection_kwargs["path"]
    password = pool.connection_pool.connection_kwargs.get("password")
    async with client_of(f"unix://:{password}@{path}" if password else f"unix://{path}") as client:
        yield client
