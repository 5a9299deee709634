"""The whole of the engine's doings on a real Cluster of three nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot

from jobqueue.broker.connection import ClusterPool, open_pool, parse
from jobqueue.broker.keys import QueueKeys, queue_name
from jobqueue.client import Client
from jobqueue.engine.worker import Worker
from jobqueue.errors import InvalidInput, NotFound, Transient
from jobqueue.flows import Flow, FlowState, Step
from jobqueue.job import State
from tests.engine_support import QUEUES, Handler, flow_of, running, wait_until, worker_of
from tests.integration.cluster_support import SLOTS, cluster


async def test_jobs_flows_dead_letters_and_cancelling_work_on_a_cluster(
    tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> None:
    async with cluster(tmp_path, unused_tcp_port_factory) as url, Client(pool_of(url), QUEUES) as client:
        assert isinstance(client.pool, ClusterPool)
        assert len({key_slot(f"{{jobqueue:{name}}}".encode()) * 3 // SLOTS for name in QUEUES}) > 1, "several nodes"
        desk = Desk()
        async with desk.worker(url, "ingest") as ingest, desk.worker(url, "ocr") as ocr:
            await jobs_run(client)
            await a_dead_letter_is_replayed(client, desk)
            await a_job_is_cancelled(client, desk)
            await a_flow_runs(client, desk)
            await wait_until(lambda: not ingest.held and not ocr.held)
        await nothing_is_left_of_the_jobs(client)


def pool_of(url: str, queue: str = "ingest") -> Any:
    return open_pool(parse(url), queue=queue_name(queue))


class Desk:
    """The job types of both queues."""

    def __init__(self) -> None:
        self.mended = False
        self.running = asyncio.Event()
        self.steps: list[str] = []
        self.ended: list[FlowState] = []

    async def on_flow_ended(self, flow: Flow, state: FlowState, error: str | None) -> None:
        self.ended.append(state)

    @asynccontextmanager
    async def worker(self, url: str, queue: str) -> AsyncIterator[Worker]:
        async def double(ctx: dict[str, Any], n: int) -> int:
            await ctx["progress"](n, 10)
            if ctx["job_try"] == 1 and n == 3:
                raise Transient("once")
            return 2 * n

        async def picky(ctx: dict[str, Any]) -> str:
            if not self.mended:
                await ctx["partial"]("half")
                await ctx["checkpoint"].save("mended")
                raise InvalidInput("not like this")
            await ctx["partial"]("whole")
            return str(await ctx["checkpoint"].load())

        async def endless(ctx: dict[str, Any]) -> None:
            self.running.set()
            await asyncio.Event().wait()

        async def step(ctx: dict[str, Any]) -> None:
            self.steps.append(ctx["meta"]["step"])

        async def connect() -> Any:
            return pool_of(url, queue)

        extra = {"connect": connect, "cluster": True, "on_flow_ended": self.on_flow_ended}
        functions: list[Handler] = [double, picky, endless, step]
        async with running(worker_of("redis://unused", functions, queue=queue, extra=extra)) as worker:
            yield worker


async def jobs_run(client: Client) -> None:
    jobs = [await client.pool.enqueue_job("double", n) for n in range(10)]
    results = [await client.result(job.job_id, timeout_s=5) for job in jobs if job is not None]
    assert results == [2 * n for n in range(10)]
    (view,) = [view for view in await client.queues() if view.name == "ingest"]
    assert view.counters == {"double:succeeded": 10, "double:retried": 1}


async def a_dead_letter_is_replayed(client: Client, desk: Desk) -> None:
    job = await client.pool.enqueue_job("picky")
    assert job is not None
    with pytest.raises(InvalidInput, match="not like this"):
        await client.result(job.job_id, timeout_s=5)
    desk.mended = True
    letters = client.dead_letters("ingest")
    letter = await letters.get(job.job_id)
    await letters.replay(letter)
    async with asyncio.timeout(5):
        events = [event async for event in client.job_events(job.job_id)]
    assert [event.data["data"] for event in events if event.kind == "partial"] == ["half", "whole"]
    assert await client.result(job.job_id, timeout_s=5) == "mended"
    with pytest.raises(NotFound):
        await letters.discard(letter)


async def a_job_is_cancelled(client: Client, desk: Desk) -> None:
    waiting = await client.pool.enqueue_job("double", 1, _defer_by=60)
    running_ = await client.pool.enqueue_job("endless")
    assert waiting is not None
    assert running_ is not None
    assert await client.cancel_job(waiting.job_id) == "cancelled"
    await desk.running.wait()
    assert await client.cancel_job(running_.job_id) == "cancelling"
    with pytest.raises(asyncio.CancelledError):
        await client.result(running_.job_id, timeout_s=5)
    assert await client.state(running_.job_id) is State.CANCELLED


async def a_flow_runs(client: Client, desk: Desk) -> None:
    steps = (
        Step(name="a", queue="ingest", function="step"),
        Step(name="b", queue="ocr", function="step", needs=("a",)),
        Step(name="c", queue="ingest", function="step", needs=("b",)),
    )
    await client.submit(flow_of("task-1", *steps))
    async with asyncio.timeout(5):
        views = [view async for view in client.watch("task-1")]
    assert views[-1].state == "succeeded"
    await wait_until(lambda: bool(desk.ended))
    assert desk.steps == ["a", "b", "c"]
    assert set(desk.ended) == {FlowState.SUCCEEDED}


async def nothing_is_left_of_the_jobs(client: Client) -> None:
    pool: Any = client.pool
    for name in QUEUES:
        keys = QueueKeys(queue_name(name), cluster=True)
        assert await pool.zcard(keys.queue) == await pool.zcard(keys.abort) == 0
        await wait_until(partial(_empty, pool, keys.own("outbox")), what="the relay of the last step")
    left = [key.decode() async for key in pool.scan_iter(count=1000)]
    kinds = ("}:job:", "}:in-progress:", "}:retry:", "}:progress:", "}:error:", "}:checkpoint:", "}:buried:")
    assert [key for key in left if any(kind in key for kind in kinds)] == []


async def _empty(pool: Any, stream: str) -> bool:
    return not await pool.xlen(stream)
