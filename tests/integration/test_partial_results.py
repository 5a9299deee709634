"""Pieces of a result: sent in groups, lost by nobody, and followed by readers who come and go."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import Any

import pytest
from arq.worker import func
from redis.exceptions import ConnectionError as RedisGoneError

from jobqueue.broker.scripts import Scripts
from jobqueue.client import Client
from jobqueue.engine import saves as saves_module
from jobqueue.errors import InvalidInput, LimitExceeded, NotFound, RejectedFile, Transient
from jobqueue.views import JobEvent
from tests.engine_support import INGEST, calls, client_of, left, per_job, running_worker, wait_until
from tests.integration.test_checkpoints import claimed, expire_lease


async def events_of(client: Client, job_id: str, *, after: str | None = None) -> list[JobEvent]:
    async with asyncio.timeout(10):
        return [event async for event in client.job_events(job_id, after=after)]


def pieces(events: list[JobEvent]) -> list[Any]:
    return [event.data["data"] for event in events if event.kind == "partial"]


def states(events: list[JobEvent]) -> list[str]:
    return [event.data["state"] for event in events if event.kind == "state"]


async def test_pieces_are_followed_as_they_come_and_the_end_comes_after_the_last(redis_url: str, pool: Any) -> None:
    go = asyncio.Event()

    async def f(ctx: dict[str, Any]) -> str:
        await ctx["partial"]({"page": 1})
        await go.wait()
        await ctx["progress"](2, 2, "two pages")
        await ctx["partial"]({"page": 2})
        return "done"

    async with running_worker(redis_url, f), client_of(redis_url) as client:
        job = await pool.enqueue_job("f")
        events: list[JobEvent] = []
        async with asyncio.timeout(10), aclosing(client.job_events(job.job_id)) as stream:
            async for event in stream:
                events.append(event)
                if event.kind == "partial":
                    go.set()
    assert pieces(events) == [{"page": 1}, {"page": 2}]
    assert [(e.data["number"], e.data["attempt"]) for e in events if e.kind == "partial"] == [(1, 1), (2, 1)]
    assert events[-1].data["state"] == "succeeded"
    assert states(events).index("running") < len(states(events)) - 1
    assert 0 < await pool.pttl(INGEST.partial(job.job_id)) <= await pool.pttl(INGEST.result(job.job_id)) + 5
    assert per_job(await left(pool)) == set()


async def test_progress_is_told_by_itself_while_the_state_is_the_same(redis_url: str, pool: Any) -> None:
    steps: asyncio.Queue[int] = asyncio.Queue()

    async def f(ctx: dict[str, Any]) -> None:
        while (done := await steps.get()) < 3:
            await ctx["progress"](done, 2, f"page {done}")

    events: list[JobEvent] = []
    async with running_worker(redis_url, f), client_of(redis_url) as client:
        job = await pool.enqueue_job("f")
        async with asyncio.timeout(10):
            async for event in client.job_events(job.job_id):
                events.append(event)
                if event.data.get("state") == "running":
                    steps.put_nowait(2)
                if event.data["done"] == 2:
                    steps.put_nowait(3)
    assert [event.data for event in events if event.kind == "progress"] == [
        {"done": 2, "total": 2, "message": "page 2"}
    ]


async def test_a_reader_that_comes_back_misses_no_piece_and_sees_none_twice(redis_url: str, pool: Any) -> None:
    async def f(ctx: dict[str, Any]) -> None:
        for n in range(130):
            await ctx["partial"](n)
            if n % 10 == 0:
                await asyncio.sleep(0.01)

    async with running_worker(redis_url, f), client_of(redis_url) as client:
        job = await pool.enqueue_job("f")
        after: str | None = None
        seen: list[JobEvent] = []
        async with asyncio.timeout(10):
            while not seen or seen[-1].data.get("state") != "succeeded":
                count = 0
                async with aclosing(client.job_events(job.job_id, after=after)) as stream:
                    async for event in stream:  # cut off after some events, at any kind of one
                        seen.append(event)
                        after, count = event.id, count + 1
                        if count == 7:
                            break
        assert pieces(seen) == list(range(130))
        assert states(seen) == [state for n, state in enumerate(states(seen)) if n == 0 or states(seen)[n - 1] != state]
        assert await events_of(client, job.job_id, after=after) == [], "all of it was seen"
        everything = await events_of(client, job.job_id)
        assert pieces(everything) == list(range(130))
        assert everything[-1].id == after


async def test_ten_thousand_pieces_a_second_cost_a_few_commands_and_the_newest_thousand_stay(
    redis_url: str, pool: Any
) -> None:
    async def f(ctx: dict[str, Any]) -> float:
        began = time.monotonic()
        for n in range(10_000):
            await ctx["partial"](n)
        return time.monotonic() - began

    async with running_worker(redis_url, f), client_of(redis_url) as client:
        before = await calls(pool, "xadd")
        scripts_before = await calls(pool, "evalsha")
        job = await pool.enqueue_job("f")
        took_s = await client.result(job.job_id, timeout_s=20)
        assert await calls(pool, "xadd") - before >= 10_000
        heartbeats = 10 + 10 * took_s
        assert await calls(pool, "evalsha") - scripts_before <= 11 + 4 * took_s + heartbeats
        kept = pieces(await events_of(client, job.job_id))
    assert kept == list(range(9_000, 10_000))


async def test_pieces_wait_for_a_redis_that_is_away_and_none_is_lost_or_doubled(
    redis_url: str, pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the answers get lost, after the pieces have landed or before."""
    save, count = Scripts.save, 0

    async def shaky(self: Scripts, *args: Any, **kwargs: Any) -> bool:
        nonlocal count
        count += 1
        if count % 4 == 1:
            raise RedisGoneError("refused")
        answer = await save(self, *args, **kwargs)
        if count % 4 == 2:
            raise RedisGoneError("the answer got lost")
        return answer

    monkeypatch.setattr(Scripts, "save", shaky)
    monkeypatch.setattr(saves_module, "INTERVAL_S", 0.01)
    monkeypatch.setattr(saves_module, "MAX_PIECES", 20)

    async def f(ctx: dict[str, Any]) -> None:
        for n in range(200):
            await ctx["partial"](n)
            if n % 7 == 0:
                await asyncio.sleep(0.005)

    async with running_worker(redis_url, f), client_of(redis_url) as client:
        job = await pool.enqueue_job("f")
        await client.result(job.job_id, timeout_s=10)
        assert pieces(await events_of(client, job.job_id)) == list(range(200))
    assert count > 8


@pytest.mark.parametrize("after", [False, True])
async def test_a_process_that_dies_beside_its_record_or_flush_doubles_and_tears_nothing(
    redis_url: str, pool: Any, after: bool
) -> None:
    """What landed of the dead attempt stays, whole; the next one's pieces follow, and say whose they are."""
    job = await pool.enqueue_job("f")
    _, dead = await claimed(pool, worker="dead")
    await dead.append("a")
    await dead.append("b")
    if after:
        assert await dead._flush()
    await expire_lease(pool, job.job_id)

    async def f(ctx: dict[str, Any]) -> None:
        await ctx["partial"]("c")

    async with running_worker(redis_url, f), client_of(redis_url) as client:
        await client.result(job.job_id, timeout_s=5)
        assert await dead._flush(quietly=True), "its timer, late"
        events = await events_of(client, job.job_id)
    assert pieces(events) == (["a", "b", "c"] if after else ["c"])
    assert [e.data["attempt"] for e in events if e.kind == "partial"] == ([1, 1, 2] if after else [2])


async def test_the_record_of_every_attempt_brings_the_pieces_that_wait(redis_url: str, pool: Any) -> None:
    async def f(ctx: dict[str, Any]) -> None:
        await ctx["partial"](f"attempt {ctx['job_try']}")
        raise Transient("no") if ctx["job_try"] == 1 else RejectedFile("no")

    async with running_worker(redis_url, f, keep_result=60), client_of(redis_url) as client:
        job = await pool.enqueue_job("f")
        with pytest.raises(RejectedFile):
            await client.result(job.job_id, timeout_s=5)
        events = await events_of(client, job.job_id)
    assert pieces(events) == ["attempt 1", "attempt 2"]
    assert states(events) == ["failed"]


async def test_pieces_are_kept_as_long_as_the_result(redis_url: str, pool: Any) -> None:
    async def piece(ctx: dict[str, Any]) -> None:
        if ctx["job_try"] == 1:
            await ctx["partial"](1)
            raise Transient("once more")

    functions = [
        func(piece, name="forever", keep_result_forever=True), func(piece, name="minute", keep_result=60),
        func(piece, name="not", keep_result=0),
    ]  # fmt: skip
    async with running_worker(redis_url, *functions) as worker:
        jobs = {name: (await pool.enqueue_job(name)).job_id for name in ("forever", "minute", "not")}
        await wait_until(lambda: worker.jobs_complete == 3)
        await wait_until(lambda: not worker.held)
    kept = {name: await pool.pttl(INGEST.partial(job_id)) for name, job_id in jobs.items()}
    assert kept["forever"] == -1
    assert 0 < kept["minute"] <= 60_000
    assert kept["not"] == -2


async def test_a_cancelled_job_that_waited_keeps_its_pieces_with_its_result(redis_url: str, pool: Any) -> None:
    job = await pool.enqueue_job("f", tenant_id="acme")
    held, saves = await claimed(pool)
    await saves.append("half")
    saves._held.kwargs = {"tenant_id": "acme"}
    await saves.append("of it")
    assert await saves._flush()
    op = {"id": held.id, "token": held.token, "attempt": held.attempt, "delay": 60_000}
    await Scripts(pool, INGEST).record([op])
    async with client_of(redis_url) as client:
        assert await client.cancel_job(job.job_id) == "cancelled"
        view = await client.wait_job(job.job_id)
    assert (view.state, view.tenant_id) == ("cancelled", "acme")
    assert [piece["data"] for piece in view.partial] == ["of it"], "a piece of another tenant's job isn't shown"
    assert 0 < await pool.pttl(INGEST.partial(job.job_id)) <= 24 * 3_600_000


async def test_what_is_too_large_or_no_plain_data_is_no_piece(redis_url: str, pool: Any) -> None:
    await pool.enqueue_job("f")
    _, saves = await claimed(pool)
    with pytest.raises(LimitExceeded, match=r"a piece of a result takes [\d,]+ bytes; at most 64,000 fit"):
        await saves.append("x" * 64_000)
    with pytest.raises(InvalidInput, match="a piece of a result must be plain data: a object"):
        await saves.append(object())
    assert not saves._held.pieces


async def test_a_shutdown_brings_the_pieces_that_wait(redis_url: str, pool: Any) -> None:
    started = asyncio.Event()

    async def f(ctx: dict[str, Any]) -> None:
        await ctx["partial"]("before the shutdown")
        started.set()
        await asyncio.Event().wait()

    async with running_worker(redis_url, f):
        job = await pool.enqueue_job("f")
        await started.wait()
    async with client_of(redis_url) as client:
        view = await client.wait_job(job.job_id)
    assert [piece["data"] for piece in view.partial] == ["before the shutdown"]


# ── waiting ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_long_poll_returns_with_what_is_new_or_when_its_time_is_over(redis_url: str, pool: Any) -> None:
    steps: asyncio.Queue[str] = asyncio.Queue()

    async def f(ctx: dict[str, Any]) -> int:
        while (piece := await steps.get()) != "end":
            await ctx["partial"](piece)
        return 7

    async with client_of(redis_url) as client:
        job = await pool.enqueue_job("f")
        first = await client.wait_job(job.job_id, timeout_s=30)
        assert (first.state, first.partial) == ("queued", [])
        assert await client.wait_job(job.job_id, after=first.event_id, timeout_s=0) == first
        async with running_worker(redis_url, f):
            started = await client.wait_job(job.job_id, after=first.event_id, timeout_s=5)
            assert started.state == "running"
            steps.put_nowait("one")
            told = await client.wait_job(job.job_id, after=started.event_id, timeout_s=5)
            assert [piece["data"] for piece in told.partial] == ["one"]
            again = await client.wait_job(job.job_id, after=told.event_id, timeout_s=0.05)
            assert (again.partial, again.event_id) == ([], told.event_id)
            steps.put_nowait("end")
            ended = await client.wait_job(job.job_id, after=told.event_id, timeout_s=5)
            assert (ended.state, ended.result) == ("succeeded", 7)
            assert (await client.wait_job(job.job_id, after=ended.event_id, timeout_s=30)).state == "succeeded"


async def test_of_a_job_that_never_was_nothing_is_told_and_a_strange_id_of_an_event_is_refused(
    redis_url: str, pool: Any
) -> None:
    job = await pool.enqueue_job("f")
    async with client_of(redis_url) as client:
        for unknown in ("ingest-nothing", "nosuchqueue-1", ""):
            with pytest.raises(NotFound):
                await client.job(unknown)
            with pytest.raises(NotFound):
                await client.wait_job(unknown, timeout_s=0)
            with pytest.raises(NotFound):
                await anext(client.job_events(unknown))
        for strange in ("x", "1-1.xyz", "1-1.0badcafe9", "-", "+", "(1-1", "9" * 99):
            with pytest.raises(InvalidInput, match="is no event's id"):
                await client.wait_job(job.job_id, after=strange)
    assert INGEST.partial("ingest-nothing") not in await left(pool)


async def test_a_job_whose_result_is_not_kept_ends_its_events_as_unknown(redis_url: str, pool: Any) -> None:
    go = asyncio.Event()

    async def f(ctx: dict[str, Any]) -> None:
        await go.wait()

    async with running_worker(redis_url, f, keep_result=0), client_of(redis_url) as client:
        job = await pool.enqueue_job("f")
        events: list[JobEvent] = []
        async with asyncio.timeout(5):
            async for event in client.job_events(job.job_id):
                events.append(event)
                go.set()
    assert states(events)[-1] == "unknown"


async def test_pieces_that_are_damaged_are_passed_over(redis_url: str, pool: Any) -> None:
    job = await pool.enqueue_job("f")
    _, saves = await claimed(pool)
    await pool.xadd(INGEST.partial(job.job_id), {"p": b"\xc1"}, id="0-1")
    await pool.xadd(INGEST.partial(job.job_id), {"q": b"?"}, id="0-2")
    await saves.append("good")
    assert await saves._flush()
    async with client_of(redis_url) as client:
        view = await client.wait_job(job.job_id)
    assert [piece["data"] for piece in view.partial] == ["good"]
