"""What happens to the server: killed and started again, its power cut, or refusing every write for a while."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from redis.exceptions import RedisError

from jobqueue.broker.embedded import EmbeddedRedis, Endpoint
from tests.chaos.arena import Arena, Plan, arena
from tests.chaos.ledger import Row
from tests.engine_support import connected, wait_until

RESUME_S: Final = 3.0
_FSYNC_S: Final = 1.0
_CUT: Final = "power cut, everysec"


async def redis_kill(plan: Plan) -> list[Row]:
    """SIGKILL of the server, and a cut of its machine's power."""
    return [await _kill_server(plan, how) for how in ("always", "everysec", _CUT)]


async def _kill_server(plan: Plan, how: str) -> Row:
    row = Row(scenario=f"redis-kill ({how})")
    here = Plan(directory=plan.directory / how.partition(",")[0].replace(" ", "-"), seed=plan.seed, quick=plan.quick)
    await asyncio.to_thread(here.directory.mkdir)
    async with AsyncExitStack() as stack:
        server = _Server(here.directory)
        stack.push_async_callback(server.stop)
        endpoint = await server.start()
        place = await stack.enter_async_context(arena(row, here, endpoint.url))
        await place.start_workers(2)
        pouring = asyncio.create_task(_pour(place))
        resumes = []
        for _ in range(plan.sized(4, 1)):
            async with _sizes(here.directory) as written:
                await place.redis.config_set("appendfsync", "always" if how == "always" else "everysec")
                await asyncio.sleep(place.random.uniform(1.5, 2.5))
                cut_at = time.time()
                await server.kill()
                row.faults += 1
            if how == _CUT:
                await asyncio.to_thread(_forget, written, cut_at - _FSYNC_S)
            await server.start()
            resumes.append(await place.resumed(time.time(), within_s=RESUME_S))
        pouring.cancel()
        await asyncio.gather(pouring, return_exceptions=True)
        if how != "always":
            row.forgiven = frozenset({"lost", "doubled", "overwritten"})
        await place.settle(within_s=14 if how == _CUT else 40)
        row.recovered(resumes, within_s=RESUME_S)
        place.expect_all_alive()
        if how == _CUT:
            row.notes.append("the last second's writes are gone, records among them: what is lost or twice was there")
    return row


class _Server:
    """The embedded server of a data directory, killed and started again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running = EmbeddedRedis(directory)
        self._endpoint: Endpoint | None = None

    async def start(self) -> Endpoint:
        """Start it, and return when it answers."""
        self._running = EmbeddedRedis(self._directory)
        self._endpoint = await self._running.__aenter__()
        return self._endpoint

    async def kill(self) -> None:
        """SIGKILL, and the supervisor's end."""
        assert self._endpoint is not None
        os.kill(self._endpoint.pid, signal.SIGKILL)
        await self.stop()

    async def stop(self) -> None:
        """Stop it, when it runs."""
        await self._running.__aexit__(None, None, None)


_Written = list[tuple[float, Path, int]]


@asynccontextmanager
async def _sizes(directory: Path) -> AsyncIterator[_Written]:
    """How long the append-only file was when, for as long as the block takes."""
    written: _Written = []

    def look() -> None:
        now = time.time()
        written.extend((now, path, path.stat().st_size) for path in directory.rglob("*.incr.aof"))

    async def watch() -> None:
        while True:
            await asyncio.to_thread(look)
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    try:
        yield written
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def _forget(written: _Written, since: float) -> None:
    """Cut the append-only file to what it was then: all that ``everysec`` has promised to be on the disk."""
    durable = [(path, size) for at, path, size in written if at <= since]
    if durable:
        path, size = durable[-1]
        os.truncate(path, min(size, path.stat().st_size))


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def redis_refuses(plan: Plan) -> list[Row]:
    """The server is there, and takes no write: out of memory, in a long script, a replica."""
    row = Row(scenario="redis-refuses")
    async with EmbeddedRedis(plan.directory) as endpoint, arena(row, plan, endpoint.url) as place:
        await place.start_workers(2)
        pouring = asyncio.create_task(_pour(place))
        resumes = []
        async with connected(endpoint.url) as other:
            await other.config_set("busy-reply-threshold", 50)
            for _ in range(plan.sized(3, 1)):
                for refuse in (_out_of_memory, _busy, _replica):
                    await asyncio.sleep(1)
                    row.faults += 1
                    await refuse(other, place.random.uniform(1.5, 2.5))
                    resumed = await place.resumed(time.time(), within_s=RESUME_S)
                    row.expect(resumed <= RESUME_S, f"{refuse.__name__}: {resumed:.1f} s until all workers went on")
                    resumes.append(resumed)
        pouring.cancel()
        await asyncio.gather(pouring, return_exceptions=True)
        await place.settle(within_s=40)
        row.recovered(resumes, within_s=RESUME_S)
        place.expect_all_alive()
    return [row]


async def _out_of_memory(redis: Any, seconds: float) -> None:
    await redis.config_set("maxmemory", 1)
    await asyncio.sleep(seconds)
    await redis.config_set("maxmemory", 0)


async def _busy(redis: Any, seconds: float) -> None:
    """A script of somebody else's that doesn't come to an end, until it is killed."""
    loop = asyncio.create_task(redis.eval("while true do end", 0))
    await asyncio.sleep(seconds)

    async def ended() -> bool:
        try:
            await redis.script_kill()
        except RedisError:
            return loop.done()
        return True

    await wait_until(ended, within_s=5, what="the script's end")
    await asyncio.gather(loop, return_exceptions=True)


async def _replica(redis: Any, seconds: float) -> None:
    """A replica of a server that isn't there: reads are answered, writes are refused."""
    await redis.execute_command("REPLICAOF", "127.0.0.1", "1")
    await asyncio.sleep(seconds)
    await redis.execute_command("REPLICAOF", "NO", "ONE")


async def _pour(place: Arena) -> None:
    """Jobs, until cancelled."""
    while True:
        await place.load(50, rate=150, seconds=0.02)
