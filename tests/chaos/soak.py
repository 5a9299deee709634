"""A steady load for minutes, with workers that come and go; what grows meanwhile, grows for ever."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import psutil

from jobqueue.broker.embedded import EmbeddedRedis
from tests.chaos.arena import Arena, Plan, arena
from tests.chaos.ledger import Row
from tests.engine_support import wait_until

GROWTH_MB: Final = 5.0
_RATE: Final = 200
_WARM_UP_S: Final = 60.0
_RESTART_S: Final = 10.0
_KEEP_RESULT_S: Final = 5


def lasting(seconds: float) -> Callable[[Plan], Awaitable[list[Row]]]:
    """The soak of that length."""

    async def soak(plan: Plan) -> list[Row]:
        row = Row(scenario="soak")
        async with (
            EmbeddedRedis(plan.directory) as endpoint,
            arena(row, plan, endpoint.url, keep_result_s=_KEEP_RESULT_S, grace_s=1) as place,
        ):
            await place.start_workers(3)
            stays = place.workers[0]
            pouring = asyncio.create_task(_pour(place))
            warm_up_s = min(_WARM_UP_S, seconds / 3)
            await _restarting(place, stays, until=time.monotonic() + warm_up_s)
            before = await _look(place, stays.pid, endpoint.pid)
            await _restarting(place, stays, until=time.monotonic() + seconds - warm_up_s)
            after = await _look(place, stays.pid, endpoint.pid)
            pouring.cancel()
            await asyncio.gather(pouring, return_exceptions=True)
            await place.settle(within_s=30)
            place.expect_all_alive()
        for name, value in before.items():
            row.notes.append(f"{name}: {value:,.1f} -> {after[name]:,.1f}")
            grown = after[name] - value
            row.expect(not name.endswith("MB") or grown <= GROWTH_MB, f"{name} grew by {grown:.1f}")
        return [row]

    return soak


async def _pour(place: Arena) -> None:
    while True:
        await place.load(_RATE, rate=_RATE, seconds=0.01)


async def _restarting(place: Arena, stays: asyncio.subprocess.Process, *, until: float) -> None:
    """Stop and replace workers in turn, all but one."""
    while (left_s := until - time.monotonic()) > 0:
        await asyncio.sleep(min(left_s, _RESTART_S))
        victim = next(worker for worker in place.workers if worker is not stays)
        victim.send_signal(signal.SIGTERM)
        place.row.faults += 1
        await victim.wait()
        place.workers.remove(victim)
        await place.start_worker()


async def _look(place: Arena, worker: int, server: int) -> dict[str, float]:
    """Memory of the worker that stays and of the server, and how much there is of what may pile up."""
    info: dict[str, Any] = await place.redis.info("memory")
    since = time.time()
    await place.load(60, function="census")
    await wait_until(lambda: worker in place.pids("census", since=since), within_s=30, what="the worker's own count")
    found = [effect for effect in place.effects.read() if effect.what == "census" and effect.at >= since]
    tasks = [effect.tasks for effect in found if effect.pid == worker]
    return {
        "worker, MB": psutil.Process(worker).memory_info().rss / 1e6,
        "server's data, MB": info["used_memory"] / 1e6,
        "server, MB": psutil.Process(server).memory_info().rss / 1e6,
        "keys": float(await place.redis.dbsize()),
        "tasks of the worker": float(max(tasks)),
        "files of the worker": float(psutil.Process(worker).num_fds()),
    }
