"""A flow whose carrier dies just before, or just after, any one of its calls to Redis."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import pytest

from jobqueue.broker.deadletter import DeadLetters
from jobqueue.broker.keys import QueueKeys
from jobqueue.broker.scripts import Scripts
from jobqueue.client import Client
from jobqueue.engine.flowcontext import passed_on
from jobqueue.engine.life import _fill
from jobqueue.engine.outcomes import Buried, Held, Outcome, Succeeded, record_of
from jobqueue.engine.relay import Relay
from jobqueue.errors import Conflict, InvalidInput
from jobqueue.flows import Flow, FlowState, Step
from jobqueue.job import decode
from tests.engine_support import INGEST, OCR, QUEUES, flow_of, left, per_job, pool_of

FLOW: Final = flow_of(
    "task-1",
    Step(name="split", queue="ingest", function="split"),
    Step(name="pages", queue="ocr", function="page", each="split"),
    Step(name="join", queue="ingest", function="join", reads=("pages",)),
)
JOBS: Final = {"ingest-1-split": 1, "ocr-1-pages.0": 1, "ocr-1-pages.1": 1, "ocr-1-pages.2": 1, "ingest-1-join": 1}


class Died(BaseException):
    """The process is gone: nothing of it catches this."""


class Mortal:
    """Counts the calls of a pool; beside the one numbered ``at`` its process dies."""

    def __init__(self, pool: Any, at: int, *, after: bool) -> None:
        self.calls = 0
        self.dead = False
        self._at, self._after = at, after
        execute, pipeline = pool.execute_command, pool.pipeline

        async def execute_command(*args: Any, **options: Any) -> Any:
            return await self._around(lambda: execute(*args, **options))

        def mortal_pipeline(*args: Any, **options: Any) -> Any:
            pipe = pipeline(*args, **options)
            run = pipe.execute
            pipe.execute = lambda *a, **o: self._around(lambda: run(*a, **o))
            return pipe

        pool.execute_command, pool.pipeline = execute_command, mortal_pipeline
        self.pool = pool

    async def _around(self, call: Callable[[], Awaitable[Any]]) -> Any:
        self.calls += 1
        here = self.calls == self._at
        self.dead = self.dead or here
        if self.dead and not (here and self._after):
            raise Died
        answer = await call()
        if self.dead:
            raise Died
        return answer


class Site:
    """Workers that do as they are told, and relays that live on."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self.ran: Counter[str] = Counter()
        self.ended: list[FlowState] = []
        self.failing: set[str] = set()
        self.client = Client(pool, QUEUES)

    async def on_ended(self, flow: Flow, state: FlowState, error: str | None) -> None:
        self.ended.append(state)

    def relays(self, pool: Any) -> list[Relay]:
        return [Relay(pool, keys, on_ended=self.on_ended) for keys in (INGEST, OCR)]

    async def work(self) -> bool:
        """Run what is due; whether anything was."""
        worked = False
        for keys in (INGEST, OCR):
            scripts = Scripts(self.pool, keys)
            claim = await scripts.claim(10, lease_ms=60_000, worker="w")
            for job in claim.jobs:
                await scripts.record([self._run(Held.of(job, claim.fence), keys)])
                worked = True
        return worked

    def _run(self, held: Held, keys: QueueKeys) -> dict[str, Any]:
        assert held.payload is not None
        _fill(held, decode(held.payload))
        self.ran[held.id] += 1
        value: Any = [{"n": n} for n in range(3)] if held.function == "split" else held.kwargs.get("n")
        outcome: Outcome = Succeeded(value)
        if held.id in self.failing:
            outcome = Buried(InvalidInput("bad"), "permanent")
        else:
            held.passed_on = passed_on(held.meta, value)
        return record_of(held, outcome, queue=keys.name, result=b"", ttl_ms=60_000)

    async def settle(self, *relays: Relay) -> None:
        """Work and relay, until nothing is left to do."""
        while True:
            for relay in relays:
                await relay.sweep(older_than_ms=0)
            if not await self.work() and not await self._entries():
                return

    async def _entries(self) -> int:
        return sum([await self.pool.xlen(keys.own("outbox")) for keys in (INGEST, OCR)])

    async def survived(self, jobs: dict[str, int], state: FlowState = FlowState.SUCCEEDED) -> None:
        """What must hold in the end, wherever somebody died."""
        await self.settle(*self.relays(self.pool))
        assert self.ran == jobs
        assert self.ended[-1] is state
        assert (await self.client.view("task-1")).state == state.value
        keys = await left(self.pool)
        assert per_job(keys) == set()
        assert all([await self.pool.pttl(key) > 0 for key in keys if key.startswith("arq:flow:") or ":once:" in key])


@asynccontextmanager
async def doomed(url: str, at: int, *, after: bool) -> AsyncIterator[Mortal]:
    pool: Any = pool_of(url)
    try:
        yield Mortal(pool, at, after=after)
    finally:
        await pool.aclose(close_connection_pool=True)


async def at_every_call(url: str, pool: Any, life: Callable[[Site, Mortal], Awaitable[None]]) -> int:
    """Act a life once for each call and side, until nobody dies any more; how many calls there were."""
    for after in (False, True):
        at, died = 0, True
        while died:
            at += 1
            await pool.flushdb()
            async with doomed(url, at, after=after) as mortal:
                await life(Site(pool), mortal)
                died = mortal.dead
    return at - 1


async def test_submitting(redis_url: str, pool: Any) -> None:
    async def life(site: Site, mortal: Mortal) -> None:
        with suppress(Died):
            await Client(mortal.pool, QUEUES).submit(FLOW)
        await site.client.submit(FLOW)
        await site.survived(JOBS)

    assert await at_every_call(redis_url, pool, life) >= 4


async def test_relaying(redis_url: str, pool: Any) -> None:
    """Advance, expand, enqueue, end, tell, and the removal of the entry."""

    async def life(site: Site, mortal: Mortal) -> None:
        await site.client.submit(FLOW)
        with suppress(Died):
            await site.settle(*site.relays(mortal.pool))
        await site.survived(JOBS)

    assert await at_every_call(redis_url, pool, life) >= 25


async def test_failing_and_being_withdrawn_and_going_on_after_a_replay(redis_url: str, pool: Any) -> None:
    async def life(site: Site, mortal: Mortal) -> None:
        site.failing = {"ocr-1-pages.1"}
        await site.client.submit(FLOW)
        with suppress(Died):
            await site.settle(*site.relays(mortal.pool))
        await site.settle(*site.relays(pool))
        assert site.ended[-1] is FlowState.FAILED
        site.failing = set()
        letters = DeadLetters(pool, OCR)
        (letter,) = await letters.list()
        await letters.replay(letter)
        await site.survived(JOBS | {"ocr-1-pages.1": 2})

    assert await at_every_call(redis_url, pool, life) >= 20


async def test_cancelling(redis_url: str, pool: Any) -> None:
    async def life(site: Site, mortal: Mortal) -> None:
        await site.client.submit(FLOW)
        await site.work()
        for relay in site.relays(pool):
            await relay.sweep(older_than_ms=0)
        with suppress(Died):
            await Client(mortal.pool, QUEUES).cancel("task-1")
        await site.client.cancel("task-1")
        await site.survived({"ingest-1-split": 1}, FlowState.CANCELLED)

    assert await at_every_call(redis_url, pool, life) >= 5


async def test_replaying(redis_url: str, pool: Any) -> None:
    async def life(site: Site, mortal: Mortal) -> None:
        await site.client.submit(FLOW)
        await site.settle(*site.relays(pool))
        with suppress(Died):
            await Client(mortal.pool, QUEUES).replay_flow("task-1", "pages")
        with suppress(Conflict):  # it runs already; what was cut off is completed all the same
            await site.client.replay_flow("task-1", "pages")
        again = {f"ocr-1-pages.{n}.r1": 1 for n in range(3)} | {"ingest-1-join.r1": 1}
        await site.survived(JOBS | again)

    assert await at_every_call(redis_url, pool, life) >= 5


async def test_a_child_enqueued_into_a_flow_that_failed_meanwhile_is_withdrawn_again(redis_url: str, pool: Any) -> None:
    """A relay stops between two chunks of children while another one ends the flow; it goes on, and leaves nothing."""
    site = Site(pool)
    await site.client.submit(FLOW)
    await site.work()
    stopped, go_on = asyncio.Event(), asyncio.Event()

    class Slow:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        async def evalsha(self, sha: str, count: int, *rest: Any) -> Any:
            if rest[0] == OCR.queue and not stopped.is_set():
                stopped.set()
                await go_on.wait()
            return await self._inner.evalsha(sha, count, *rest)

    slow = asyncio.create_task(Relay(Slow(pool), INGEST, on_ended=site.on_ended).sweep(older_than_ms=0))
    await stopped.wait()
    assert await site.client.cancel("task-1") == "cancelled"
    go_on.set()
    await slow
    assert await pool.zcard(OCR.queue) == 0
    await site.survived({"ingest-1-split": 1}, FlowState.CANCELLED)


@pytest.mark.parametrize(
    "entry", [{"child": "100000"}, {"child": "-1"}, {"child": "x"}, {"gen": "x"}, {"state": "waiting"}]
)
async def test_an_entry_that_says_nonsense_changes_no_flow(redis_url: str, pool: Any, entry: dict[str, str]) -> None:
    site = Site(pool)
    await site.client.submit(FLOW)
    fields = {"flow": "task-1", "step": "split", "state": "succeeded", "message": ""} | entry
    before = await pool.hgetall("arq:flow:task-1")
    await pool.xadd(INGEST.own("outbox"), fields)
    await site.relays(pool)[0].sweep(older_than_ms=0)
    assert await pool.hgetall("arq:flow:task-1") == before
