"""Large groups: what a child costs doesn't depend on how many there are; on one server, and on a Cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from jobqueue.broker.connection import open_pool, parse
from jobqueue.broker.keys import QueueKeys, queue_name
from jobqueue.client import Client
from jobqueue.flows import Flow, FlowState, Step, batch
from tests.engine_support import QUEUES, client_of, running, worker_of
from tests.integration.cluster_support import cluster

JOIN = Step(name="join", queue="ingest", function="join", reads=("batch",))


@asynccontextmanager
async def workers(url: str, sums: list[int], **extra: Any) -> AsyncIterator[asyncio.Event]:
    """A worker of each queue; the event is set when a flow has ended."""
    ended = asyncio.Event()

    async def number(ctx: dict[str, Any], n: int) -> int:
        return n

    async def join(ctx: dict[str, Any]) -> None:
        sums.append(sum([result.value async for result in ctx["flow"].results("batch")]))

    async def on_flow_ended(flow: Flow, state: FlowState, error: str | None) -> None:
        assert state is FlowState.SUCCEEDED
        ended.set()

    def worker(queue: str) -> Any:
        of = {
            "on_flow_ended": on_flow_ended,
            **({"connect": extra["connect"](queue), "cluster": True} if extra else {}),
        }
        return running(worker_of(url, [number, join], queue=queue, extra=of, max_jobs=100))

    async with worker("ingest"), worker("ocr"):
        yield ended


async def fan_in(client: Client, ended: asyncio.Event, children: int, flow_id: str) -> None:
    ended.clear()
    items = [{"n": n} for n in range(children)]
    parts = batch("number", items, queue="ocr", on_done=JOIN)
    await client.enqueue_flow(parts, tenant_id="acme", flow_id=flow_id)
    async with asyncio.timeout(30):
        await ended.wait()


async def test_ten_thousand_children_cost_ten_times_as_much_as_a_thousand(redis_url: str, pool: Any) -> None:
    sums: list[int] = []
    commands, seconds = {}, {}
    async with client_of(redis_url) as client, workers(redis_url, sums) as ended:
        for children in (1_000, 10_000):
            before, began = await calls(pool), time.monotonic()
            await fan_in(client, ended, children, f"task-{children}")
            commands[children] = (await calls(pool) - before) / children
            seconds[children] = (time.monotonic() - began) / children
    assert sums == [sum(range(1_000)), sum(range(10_000))]
    assert commands[10_000] < 1.3 * commands[1_000]
    assert seconds[10_000] < 3 * seconds[1_000]


async def calls(pool: Any) -> int:
    """All commands that the server has run, inside of scripts too."""
    return int(sum(stat["calls"] for stat in (await pool.info("commandstats")).values()))


async def test_ten_thousand_children_are_joined_replayed_and_cancelled_on_a_cluster(
    tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> None:
    def pool_of(url: str, queue: str) -> Any:
        return open_pool(parse(url), queue=queue_name(queue))

    sums: list[int] = []
    async with cluster(tmp_path, unused_tcp_port_factory) as url, Client(pool_of(url, "ingest"), QUEUES) as client:

        def connect(queue: str) -> Any:
            async def to_cluster() -> Any:
                return pool_of(url, queue)

            return to_cluster

        async with workers("redis://unused", sums, connect=connect) as ended:
            await fan_in(client, ended, 10_000, "task-1")
            view = await client.view("task-1")
            await client.replay_flow("task-1", "join")
            ended.clear()
            async with asyncio.timeout(10):
                await ended.wait()
        assert (view.steps[0].succeeded, view.steps[1].state) == (10_000, "succeeded")
        assert sums == [sum(range(10_000))] * 2
        keys = QueueKeys(queue_name("ocr"), cluster=True)
        assert await client.pool.zcard(keys.queue) == await client.pool.xlen(keys.own("outbox")) == 0
        items = [{"n": n} for n in range(2_500)]
        await client.enqueue_flow(batch("number", items, queue="ocr"), tenant_id="acme", flow_id="task-2")
        assert await client.pool.zcard(keys.queue) == 2_500
        assert await client.cancel("task-2") == "cancelled"
        assert await client.pool.zcard(keys.queue) == 0
