"""A flow of which a failover took something back goes on when it is submitted again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from jobqueue.broker.keys import QueueKeys
from jobqueue.errors import InvalidInput
from jobqueue.flows import Flow, FlowState, Step
from tests.engine_support import INGEST, OCR, client_of, flow_of, running_worker, wait_until
from tests.integration.test_engine_flows import DIAMOND, Desk, state_of

GROUP = (
    Step(name="read", queue="ingest", function="step"),
    Step(name="page", queue="ocr", function="step", needs=("read",), items=({}, {}, {})),
    Step(name="join", queue="ocr", function="step", reads=("page",)),
)


async def lose(pool: Any, keys: QueueKeys, job_ids: Sequence[str]) -> None:
    """All that Redis knows of these jobs, as when their enqueue went to a primary that was taken back."""
    for job_id in job_ids:
        assert await pool.zrem(keys.queue, job_id) == 1
        assert await pool.delete(keys.job(job_id), keys.once(job_id)) == 2


async def ended(desk: Desk) -> None:
    await wait_until(lambda: bool(desk.ended), what="the end of the flow")


async def read_only(url: str, pool: Any, flow: Flow) -> None:
    """Submit the flow, run its first step, and have the jobs of the next one enqueued."""
    desk = Desk()
    async with client_of(url) as client, desk.worker(url, "ingest"):
        await client.submit(flow)
        await wait_until(lambda: _has(pool, OCR, 1), what="the second step's jobs")


async def _has(pool: Any, keys: QueueKeys, least: int) -> bool:
    return int(await pool.zcard(keys.queue)) >= least


async def test_a_job_that_the_flow_thinks_enqueued_is_enqueued_again(redis_url: str, pool: Any) -> None:
    desk, flow = Desk(), flow_of("task-1", *DIAMOND[:2])
    await read_only(redis_url, pool, flow)
    await lose(pool, OCR, [flow.job_id(flow.steps[1])])
    async with client_of(redis_url) as client, desk.worker(redis_url, "ocr"):
        assert await client.submit(flow) is False
        await ended(desk)
    assert (desk.ran, desk.ended[0]) == (["left"], (FlowState.SUCCEEDED, None))


async def test_lost_children_are_enqueued_again_and_the_others_are_left_alone(redis_url: str, pool: Any) -> None:
    desk, flow = Desk(), flow_of("task-1", *GROUP)
    await read_only(redis_url, pool, flow)
    await lose(pool, OCR, [flow.job_id(flow.steps[1], 0), flow.job_id(flow.steps[1], 2)])
    async with client_of(redis_url) as client:
        for _ in range(2):
            await client.submit(flow)
        assert await pool.zcard(OCR.queue) == 3
        async with desk.worker(redis_url, "ocr"):
            await ended(desk)
    assert desk.ran == ["page", "page", "page", "join"]


@pytest.mark.parametrize("steps", [DIAMOND[:2], GROUP], ids=["one job", "children"])
async def test_an_end_that_the_flow_never_heard_of_is_read_from_the_result(
    redis_url: str, pool: Any, steps: tuple[Step, ...]
) -> None:
    desk, flow = Desk(), flow_of("task-1", *steps)
    await read_only(redis_url, pool, flow)
    async with client_of(redis_url) as client:
        await run_unheard(redis_url, pool, flow, FlowState.SUCCEEDED)
        assert await state_of(pool, flow) is FlowState.RUNNING
        await client.submit(flow)
        async with desk.worker(redis_url, "ingest"), desk.worker(redis_url, "ocr"):
            await ended(desk)
    assert desk.ran == []
    assert desk.ended[0] == (FlowState.SUCCEEDED, None)


async def test_the_lost_end_of_a_failure_fails_the_flow_with_its_reason(redis_url: str, pool: Any) -> None:
    desk, flow = Desk(), flow_of("task-1", *DIAMOND[:2])
    await read_only(redis_url, pool, flow)
    async with client_of(redis_url) as client:
        await run_unheard(redis_url, pool, flow, FlowState.FAILED)
        await client.submit(flow)
        async with desk.worker(redis_url, "ingest"), desk.worker(redis_url, "ocr"):
            await ended(desk)
    assert (desk.ran, desk.ended[0]) == ([], (FlowState.FAILED, "left can't be done"))


async def test_a_running_job_is_not_started_again(redis_url: str, pool: Any) -> None:
    desk, flow = Desk(), flow_of("task-1", DIAMOND[0])
    async with client_of(redis_url) as client, desk.worker(redis_url, "ingest"):
        event = desk.blocked["read"] = asyncio.Event()
        await client.submit(flow)
        await wait_until(lambda: desk.ran == ["read"])
        await client.submit(flow)
        event.set()
        await ended(desk)
    assert desk.ran == ["read"]
    assert await pool.zcard(INGEST.queue) == 0


async def run_unheard(url: str, pool: Any, flow: Flow, end: FlowState) -> None:
    """Run the flow to its end, and take back what it heard of that."""
    before = {key: await pool.dump(key) for key in await _flow_keys(pool, flow)}

    async def step(ctx: dict[str, Any]) -> None:
        if end is FlowState.FAILED:
            raise InvalidInput(f"{ctx['meta']['step']} can't be done")

    async def over() -> bool:
        return await state_of(pool, flow) is end and await pool.xlen(OCR.own("outbox")) == 0

    async with running_worker(url, step, queue="ocr"):
        await wait_until(over, what="the end of the flow")
    await pool.delete(*await _flow_keys(pool, flow))
    for key, dumped in before.items():
        await pool.restore(key, 600_000, dumped)


async def _flow_keys(pool: Any, flow: Flow) -> list[str]:
    return [key.decode() async for key in pool.scan_iter(f"arq:flow:{flow.id}*")]
