"""Every Redis call of a job's life: the process ends just before it, and in another run just after it.

Each life is acted once undisturbed, which counts its calls; then once for each call and side, in a child that ends
there by ``os._exit``. Healthy workers then finish what it left.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, Final

from jobqueue.broker.embedded import find_server
from jobqueue.broker.keys import QueueKeys, queue_name
from jobqueue.broker.scripts import _script
from tests.chaos.arena import Plan, leaks
from tests.chaos.effects import EffectLog, reruns
from tests.chaos.ledger import Row
from tests.chaos.lives import LIVES, QUEUES, Site, live, site
from tests.chaos.observer import observing
from tests.chaos.stops import SCRIPTS, STOPPED, Stop
from tests.engine_support import connected, wait_until

_AT_ONCE: Final = 12
_QUICK: Final = 3
_TRIES: Final = 3
_CHILD_S: Final = 30.0
_KEYS: Final = [QueueKeys(queue_name(queue)) for queue in QUEUES]


async def crash_points(plan: Plan) -> list[Row]:
    """Every crash point; a quick run takes every third, and others with another seed."""
    row = Row(scenario="crash-points")
    began = time.monotonic()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.chaos.lives"])
    async with _server(plan.directory) as url:
        runs = _Runs(row, plan.directory, url, context)
        undisturbed = await asyncio.gather(*(runs.run(name, None) for name in LIVES))
        points = [
            (name, Stop(call, number, after))
            for name, seen in zip(LIVES, undisturbed, strict=True)
            for call, number in seen
            for after in (False, True)
        ]
        chosen = points[plan.seed % _QUICK :: _QUICK] if plan.quick else points
        await asyncio.gather(*(runs.reach(name, stop) for name, stop in chosen))
    row.notes.append(
        f"{len(chosen)} of {len(points)} points in {len(LIVES)} lives; {runs.passed} weren't reached this time"
    )
    row.seconds = round(time.monotonic() - began, 1)
    return [row]


class _Runs:
    """Runs of lives, some at a time, each in a database of its own."""

    def __init__(self, row: Row, directory: Path, url: str, context: ForkServerContext) -> None:
        self._row = row
        self._directory = directory
        self._url = url
        self._context = context
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._count = 0
        self.passed = 0

    async def reach(self, name: str, stop: Stop) -> None:
        """One life, stopped; tried again when its calls came in another order and that one wasn't among them."""
        for _ in range(_TRIES):
            if not await self.run(name, stop):
                return
        self.passed += 1

    async def run(self, name: str, stop: Stop | None) -> list[tuple[str, int]]:
        """One life, stopped once or not at all; the calls that it made, none when it was stopped."""
        async with self._turn:
            self._count += 1
            url, log = f"{self._url}?db={self._count}", str(self._directory / f"effects-{self._count}")
            life, born = LIVES[name], datetime.now(UTC)
            async with (
                site(url, log, born) as at,
                observing(url, _KEYS, self._directory / f"records-{self._count}") as observer,
            ):
                await life.before(at)
                async with AsyncExitStack() as healthy:
                    if life.alongside:
                        await healthy.enter_async_context(at.workers(hurry=True))
                    seen = await self._act(name, at, stop)
                    await life.again(at)
                    if not life.alongside:
                        await healthy.enter_async_context(at.workers(hurry=True))
                    ends = {at.tick_id if job_id == "tick" else job_id: how for job_id, how in life.ends.items()}
                    await observer.seen(ends, within_s=20)
                    left = await leaks(at.pool, _KEYS)
                self._account(name, stop, {job_id: observer.finals.get(job_id) for job_id in ends}, ends, left)
                self._row.overwritten += len(await observer.overwritten())
                self._row.reruns += _reruns(log)
                await at.pool.flushdb()
            return seen

    async def _act(self, name: str, at: Site, stop: Stop | None) -> list[tuple[str, int]]:
        """The child's part."""
        ours, theirs = self._context.Pipe(duplex=False)
        child = self._context.Process(target=_child, args=(theirs, name, at.url, at.log, at.born, stop))
        child.start()  # a fork of the prepared server, so it doesn't take long
        theirs.close()
        # The answer, or the pipe's end. Processes are looked at by one thread alone: their exit code is read once.
        answered = await asyncio.to_thread(ours.poll, _CHILD_S)
        seen: list[tuple[str, int]] = []
        with contextlib.suppress(EOFError):
            seen = ours.recv() if answered else []
        ours.close()
        if not answered:
            child.kill()
        child.join()
        where = f"{name}, {stop or 'undisturbed'}"
        self._row.expect(child.exitcode in {0, STOPPED}, f"{where}: the process ended with {child.exitcode}")
        self._row.faults += child.exitcode == STOPPED
        return seen

    def _account(
        self, name: str, stop: Stop | None, finals: dict[str, list[str] | None], ends: dict[str, str], left: list[str]
    ) -> None:
        row, where = self._row, f"{name}, {stop or 'undisturbed'}"
        row.jobs += len(ends)
        row.lost += sum(kinds is None for kinds in finals.values())
        row.doubled += sum(len(kinds) - 1 for kinds in finals.values() if kinds)
        row.leaked += len(left)
        row.expect(not left, f"{where}: left behind {left[:4]}")
        for job_id, kinds in finals.items():
            row.expect(kinds == [ends[job_id]], f"{where}: {job_id} was recorded as {kinds}, not as {ends[job_id]}")


def _child(answer: Connection, *life: Any) -> None:
    answer.send(live(*life))


def _reruns(log: str) -> int:
    effects = EffectLog(Path(log))
    try:
        return reruns(effects.read())
    finally:
        effects.close()


@asynccontextmanager
async def _server(directory: Path) -> AsyncIterator[str]:
    """A server with a database for each run, which knows the scripts already: every call is made once."""
    path = directory / "redis.sock"
    process = await asyncio.create_subprocess_exec(
        str(find_server()), "--port", "0", "--unixsocket", str(path), "--databases", "2000", "--dir", str(directory),
        "--save", "", stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    url = f"unix://{path}"
    try:
        await wait_until(path.exists, within_s=10, what="the server's socket")
        async with connected(url) as redis:
            await wait_until(lambda: _loaded(redis), within_s=10, what="the server's answer")
        yield url
    finally:
        process.terminate()
        await process.wait()


async def _loaded(redis: Any) -> bool:
    return all([await redis.script_load(_script(name).text) for name in SCRIPTS])
