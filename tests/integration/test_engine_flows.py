"""Flows over two queues: each step once, whoever dies, and the end told."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from arq.utils import timestamp_ms

from jobqueue.broker.deadletter import DeadLetters
from jobqueue.broker.flowscripts import StepEnd
from jobqueue.broker.flowstore import FlowStore
from jobqueue.errors import InvalidInput, NotFound, Unavailable
from jobqueue.flows import Flow, FlowState, Step, StepState
from tests.engine_support import INGEST, OCR, client_of, flow_of, left, per_job, running_worker, wait_until

DIAMOND = (
    Step(name="read", queue="ingest", function="step"),
    Step(name="left", queue="ocr", function="step", needs=("read",)),
    Step(name="right", queue="ingest", function="step", needs=("read",)),
    Step(name="join", queue="ocr", function="step", needs=("left", "right")),
)


class Desk:
    """Runs every step, notes which, and fails or blocks those it is told to."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.ended: list[tuple[FlowState, str | None]] = []
        self.failing: set[str] = set()
        self.blocked: dict[str, asyncio.Event] = {}
        self.stubborn = False
        self.away = 0

    async def step(self, ctx: dict[str, Any]) -> None:
        name = ctx["meta"]["step"]
        self.ran.append(name)
        if name in self.failing:
            raise InvalidInput(f"{name} can't be done")
        if name in self.blocked:
            with suppress(*[asyncio.CancelledError] * self.stubborn):
                await self.blocked[name].wait()

    async def on_flow_ended(self, flow: Flow, state: FlowState, error: str | None) -> None:
        if self.away:
            self.away -= 1
            raise Unavailable("the database is away")
        self.ended.append((state, error))

    def worker(self, url: str, queue: str) -> Any:
        async def step(ctx: dict[str, Any]) -> None:
            await self.step(ctx)

        return running_worker(url, step, queue=queue, extra={"on_flow_ended": self.on_flow_ended})


async def state_of(pool: Any, flow: Flow) -> FlowState:
    stored = await FlowStore(pool, cluster=False).read(flow.id)
    assert stored is not None
    return stored.state


async def test_a_diamond_over_two_queues_runs_each_step_once(redis_url: str, pool: Any) -> None:
    desk = Desk()
    flow = flow_of("task-1", *DIAMOND)
    async with client_of(redis_url) as client, desk.worker(redis_url, "ingest"), desk.worker(redis_url, "ocr"):
        assert await client.submit(flow) is True
        assert await client.submit(flow) is False
        await wait_until(lambda: bool(desk.ended), what="the end of the flow")
        view = await client.view("task-1")
        await wait_until(lambda: _empty(pool), what="the removal of the entries")
    assert sorted(desk.ran) == ["join", "left", "read", "right"]
    assert (desk.ran[0], desk.ran[-1]) == ("read", "join")
    assert set(desk.ended) == {(FlowState.SUCCEEDED, None)}
    assert (view.state, view.progress, view.finished_at is not None) == ("succeeded", 1.0, True)
    keys = await left(pool)
    assert per_job(keys) == set()
    markers = {key for key in keys if ":once:" in key}
    assert len(markers) == 4
    assert all([await pool.pttl(key) > 0 for key in [*markers, "arq:flow:task-1"]])


async def test_a_step_whose_worker_died_before_the_relay_is_relayed_by_another(redis_url: str, pool: Any) -> None:
    desk = Desk()
    flow = flow_of("task-1", *DIAMOND[:2])
    await FlowStore(pool, cluster=False).create(flow)
    fields = {"flow": flow.id, "step": "read", "state": "succeeded", "message": ""}
    await pool.xadd(INGEST.own("outbox"), fields, id=f"{timestamp_ms() - 10_000}-0")
    async with desk.worker(redis_url, "ingest"), desk.worker(redis_url, "ocr"):
        await wait_until(lambda: bool(desk.ended), within_s=8, what="the relay of the orphaned entry")
        await wait_until(lambda: _empty(pool), what="the removal of the entries")
    assert desk.ran == ["left"]


async def test_a_failing_step_fails_the_flow_and_starts_nothing_after_it(redis_url: str, pool: Any) -> None:
    desk = Desk()
    desk.failing = {"read"}
    flow = flow_of("task-1", *DIAMOND)
    async with client_of(redis_url) as client, desk.worker(redis_url, "ingest"), desk.worker(redis_url, "ocr"):
        await client.submit(flow)
        await wait_until(lambda: bool(desk.ended))
        view = await client.view("task-1")
    assert desk.ran == ["read"]
    assert desk.ended == [(FlowState.FAILED, "read can't be done")]
    assert (view.state, view.error) == ("failed", "read can't be done")
    assert (await DeadLetters(pool, INGEST).list())[0].flow_id == "task-1"


async def test_the_end_is_told_again_until_it_is_taken(redis_url: str, pool: Any) -> None:
    desk = Desk()
    desk.away = 1
    async with client_of(redis_url) as client, desk.worker(redis_url, "ingest"):
        await client.submit(flow_of("task-1", DIAMOND[0]))
        await wait_until(lambda: bool(desk.ended), within_s=8, what="the second telling")
        await wait_until(lambda: _empty(pool), what="the removal of the entry")
    assert desk.ended == [(FlowState.SUCCEEDED, None)]


async def test_the_replay_of_a_failed_step_lets_the_flow_finish(redis_url: str, pool: Any) -> None:
    desk = Desk()
    desk.failing = {"left"}
    flow = flow_of("task-1", *DIAMOND)
    letters = DeadLetters(pool, OCR)
    async with client_of(redis_url) as client, desk.worker(redis_url, "ingest"), desk.worker(redis_url, "ocr"):
        await client.submit(flow)
        await wait_until(lambda: (FlowState.FAILED, "left can't be done") in desk.ended)
        desk.failing = set()
        (letter,) = await letters.list()
        await letters.replay(letter)
        await wait_until(lambda: (FlowState.SUCCEEDED, None) in desk.ended, what="the flow's end after the replay")
        view = await client.view("task-1")
        assert (view.state, view.error) == ("succeeded", None)

        with pytest.raises(NotFound):
            await letters.replay(letter)  # a second click on a page that was loaded before
        assert await state_of(pool, flow) is FlowState.SUCCEEDED, "a stale replay changes nothing"
    assert sorted(desk.ran) == ["join", "left", "left", "read", "right"]


async def test_a_replayed_step_is_not_failed_again_by_the_old_entry(redis_url: str, pool: Any) -> None:
    """The database was away when the flow failed, so the entry that tells of it is still in the outbox."""
    desk = Desk()
    desk.failing, desk.away = {"read"}, 1
    flow = flow_of("task-1", *DIAMOND)
    letters = DeadLetters(pool, INGEST)
    gate = asyncio.Event()
    desk.blocked = {"left": gate}
    async with client_of(redis_url) as client, desk.worker(redis_url, "ingest"), desk.worker(redis_url, "ocr"):
        await client.submit(flow)
        await wait_until(lambda: desk.away == 0, what="the first, refused telling")
        desk.failing = set()
        await wait_until(letters.count)
        await letters.replay((await letters.list())[0])
        await wait_until(lambda: "left" in desk.ran)
        await wait_until(lambda: _empty(pool), within_s=8, what="the second telling")
        gate.set()
        await wait_until(lambda: "join" in desk.ran, what="the flow's last step")
        await wait_until(lambda: (FlowState.SUCCEEDED, None) in desk.ended)


async def _empty(pool: Any) -> bool:
    return bool(await pool.xlen(INGEST.own("outbox")) == await pool.xlen(OCR.own("outbox")) == 0)


async def test_a_flow_that_waits_is_cancelled_at_once_and_its_end_told(redis_url: str, pool: Any) -> None:
    desk = Desk()
    async with client_of(redis_url) as client:
        await client.submit(flow_of("task-1", *DIAMOND))
        assert await client.cancel("task-1") == "cancelled"
        assert (await client.view("task-1")).state == "cancelled"
        assert await client.cancel("task-1") == "finished"
        async with desk.worker(redis_url, "ingest"):
            await wait_until(lambda: bool(desk.ended), within_s=8)
    assert desk.ended == [(FlowState.CANCELLED, None)]
    assert desk.ran == []
    assert per_job(await left(pool)) == set()


@pytest.mark.parametrize("stubborn", [False, True])
async def test_a_running_flow_is_cancelled_even_when_its_step_finishes_anyway(
    redis_url: str, pool: Any, *, stubborn: bool
) -> None:
    desk = Desk()
    desk.blocked, desk.stubborn = {"read": asyncio.Event()}, stubborn
    async with client_of(redis_url) as client, desk.worker(redis_url, "ingest"), desk.worker(redis_url, "ocr"):
        await client.submit(flow_of("task-1", *DIAMOND))
        await wait_until(lambda: desk.ran == ["read"])
        assert await client.cancel("task-1") == "cancelling"
        await wait_until(lambda: bool(desk.ended), within_s=3)
        view = await client.view("task-1")
    assert view.state == "cancelled"
    assert desk.ran == ["read"]


async def test_a_flow_that_expired_meanwhile_is_not_half_revived(redis_url: str, pool: Any) -> None:
    flows = FlowStore(pool, cluster=False)
    assert await flows.advance("task-gone", [StepEnd(step="read", state=StepState.SUCCEEDED)]) is None
    assert await left(pool) == set()


@pytest.mark.parametrize(
    "entry",
    [
        {"flow": "task-1"},
        {"flow": "task-1", "step": "read", "state": "no state", "message": ""},
        {"other": b"\xff"},
    ],
)
async def test_a_malformed_outbox_entry_holds_up_no_flow(redis_url: str, pool: Any, entry: dict[str, Any]) -> None:
    desk = Desk()
    await pool.xadd(INGEST.own("outbox"), entry)
    async with client_of(redis_url) as client, desk.worker(redis_url, "ingest"):
        await client.submit(flow_of("task-1", DIAMOND[0]))
        await wait_until(lambda: bool(desk.ended), what="the flow behind the malformed entry")
