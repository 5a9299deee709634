"""What happens on the way to the server: lost replies, delays, cut and half-open connections."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any, Final

from redis.exceptions import RedisError

from jobqueue.broker.connection import socket_url
from jobqueue.broker.embedded import EmbeddedRedis
from jobqueue.broker.flowstore import FlowStore
from jobqueue.flows import Flow, Step
from tests.chaos.arena import Arena, Plan, arena
from tests.chaos.ledger import Row
from tests.chaos.proxy import proxied
from tests.engine_support import QUEUES

LOSS: Final = 0.1
HALF_OPEN_S: Final = 12.0
"""A silent server is given up after ten seconds (`jobqueue.broker.scripts.ANSWER_TIMEOUT_S`)."""


async def reply_lost(plan: Plan) -> list[Row]:
    """The server executes, and one reply in ten never arrives: at workers and clients."""
    row = Row(scenario="reply-lost")
    way = plan.directory / "proxy.sock"
    async with (
        EmbeddedRedis(plan.directory) as endpoint,
        proxied(endpoint.socket, way, seed=plan.seed, reply_loss=LOSS) as proxy,
        arena(
            row, plan, endpoint.url, through=socket_url(way, endpoint.password), clients_too=True,
            queues=QUEUES, lease_s=5.0,
        ) as place,
    ):  # fmt: skip
        await place.start_workers(3)
        flows = flows_of(plan.sized(100, 15))
        loading = asyncio.create_task(place.load(plan.sized(400, 100), rate=40, function="once"))
        await asyncio.gather(
            place.load(plan.sized(2000, 340), rate=plan.sized(200, 120), seconds=0.01),
            *(submit(place, flow) for flow in flows),
        )
        single = await loading
        await place.settle(within_s=90)
        buried = [job_id for job_id in single if place.observer.finals.get(job_id) != ["succeeded"]]
        row.expect(not buried, f"{len(buried)} jobs with a single attempt never ran")
        _expect_flows_ended(place, flows)
        row.faults = proxy.faults
        place.expect_all_alive()
    return [row]


async def network(plan: Plan) -> list[Row]:
    """Slow, then torn, then half-open connections of the workers."""
    row = Row(scenario="network")
    way = plan.directory / "proxy.sock"
    phase_s = plan.sized(15, 2)
    async with (
        EmbeddedRedis(plan.directory) as endpoint,
        proxied(endpoint.socket, way, seed=plan.seed) as proxy,
        arena(row, plan, endpoint.url, through=socket_url(way, endpoint.password), queues=QUEUES) as place,
    ):
        await place.start_workers(2)
        pouring = asyncio.create_task(_pour(place))
        proxy.delay_s = (0.05, 0.2)
        flows = flows_of(plan.sized(40, 8))
        await asyncio.gather(asyncio.sleep(phase_s), *(submit(place, flow) for flow in flows[::2]))
        proxy.delay_s = None
        for _ in range(phase_s * 3):
            proxy.cut(0.5)
            await asyncio.sleep(0.3)
        await asyncio.sleep(1)  # so that everybody has connections to lose
        proxy.silence()
        silent_at = time.time()
        await asyncio.gather(*(submit(place, flow) for flow in flows[1::2]))
        row.recovered([await place.resumed(silent_at, within_s=HALF_OPEN_S)], within_s=HALF_OPEN_S)
        pouring.cancel()
        await asyncio.gather(pouring, return_exceptions=True)
        await place.settle(within_s=60)
        _expect_flows_ended(place, flows)
        row.faults = proxy.faults
        place.expect_all_alive()
    return [row]


async def _pour(place: Arena) -> None:
    """Jobs, until cancelled."""
    while True:
        await place.load(100, rate=100, seconds=0.02)


def flows_of(count: int) -> list[Flow]:
    """Flows of four steps over three queues: one, then two side by side, then one."""
    steps = (
        Step(name="a", queue="ingest", function="work"),
        Step(name="b", queue="ocr", function="work", needs=("a",)),
        Step(name="c", queue="llm", function="work", needs=("a",)),
        Step(name="d", queue="ocr", function="work", needs=("b", "c")),
    )
    now = datetime.now(UTC)
    return [Flow(id=f"task-{n}", kind="chaos", tenant_id="acme", created_at=now, steps=steps) for n in range(count)]


async def submit(place: Arena, flow: Flow) -> None:
    """Submit a flow, again until there is an answer; its steps' jobs count as accepted."""
    store: Any = FlowStore(place.pool, cluster=False)
    while True:
        try:
            async with asyncio.timeout(12):
                await store.create(flow)
                if (stored := await store.read(flow.id)) is not None:
                    await store.carry_on(stored)
            break
        except (RedisError, OSError):
            await asyncio.sleep(0.05)
    place.accepted += [flow.job_id(step) for step in flow.steps]


def _expect_flows_ended(place: Arena, flows: list[Flow]) -> None:
    ended = {effect.id for effect in place.effects.read() if effect.what == "flow"}
    untold = [flow.id for flow in flows if flow.id not in ended]
    place.row.expect(not untold, f"the end of {len(untold)} flows was never told")
