"""What becomes of jobs when a worker is killed, when one stalls, and when Redis is killed and comes back.

Each scene has a server of its own, so that scenes, which mostly wait, can run side by side. The library's documented
way to survive a crash is on in all of them.
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench.rivals.crew import Driver, Failed, Setup, Worker, all_ready, driver, setup, until, workers
from tests.bench.rivals.environments import Environment
from tests.bench.rivals.server import Server

TUNED_LEASE_S: Final = 10
DOWN_S: Final = 3.0
RESTART_JOBS: Final = 200
RESTART_JOB_S: Final = 0.3
Figures = dict[str, float | str]


@dataclass(frozen=True, slots=True)
class Scene:
    """A contender at work on a server of its own."""

    setup: Setup
    client: Driver
    crew: list[Worker]

    async def start_job(self, key: str, seconds: float) -> tuple[str, int, Worker]:
        """Have a job run; its id, the process that runs it, and the worker which that belongs to."""
        job_id = await self.client.ask("send", "work", key, seconds)
        if not await until(lambda: self.setup.events("start", key=key), 20):
            raise Failed("the job didn't start within 20 s")
        start = self.setup.events("start", key=key)[0]
        return job_id, start["pid"], next(worker for worker in self.crew if worker.ran(start))

    async def come_about(self, condition: Callable[[], Any], cap_s: float) -> bool:
        """Wait, while a small job a second keeps the queue in use: some libraries look around only then."""
        deadline = time.monotonic() + cap_s
        while time.monotonic() < deadline:
            await self.client.ask("send", "hello")
            if await until(condition, min(1.0, deadline - time.monotonic()), every_s=0.05):
                return True
        return False

    def others(self, what: str, key: str, pids: set[int]) -> list[dict[str, Any]]:
        """Events of other processes."""
        return [event for event in self.setup.events(what, key=key) if event["pid"] not in pids]


@asynccontextmanager
async def scene(env: Environment, *, lease_s: int | None, keep_results: bool = False) -> AsyncIterator[Scene]:
    """Two workers that are ready."""
    with tempfile.TemporaryDirectory(prefix="jobqueue-rivals-") as directory:
        async with (
            Server(Path(directory)) as server,
            setup(env, server.url, lease_s=lease_s, keep_results=keep_results, safe=True) as of,
            driver(of) as client,
            workers(of, 2) as crew,
        ):
            await all_ready(of, crew, client)
            yield Scene(of, client, crew)


async def kill(env: Environment, *, lease_s: int | None, cap_s: float) -> Figures:
    """SIGKILL a worker in the middle of a job: seconds until another worker starts that job again."""
    name = "kill_tuned_s" if lease_s else "kill_s"
    async with scene(env, lease_s=lease_s) as on:
        _, pid, owner = await on.start_job("killed", 5.0)
        await owner.kill()
        killed = time.time()
        if not await on.come_about(lambda: on.others("start", "killed", {pid}), cap_s):
            return {name: f"> {cap_s:.0f}"}
        return {name: on.others("start", "killed", {pid})[0]["at"] - killed}


async def stall(env: Environment, *, cap_s: float) -> Figures:
    """SIGSTOP a worker in a job until another one has done it, then SIGCONT: whose result is kept?"""
    async with scene(env, lease_s=TUNED_LEASE_S, keep_results=True) as on:
        job_id, pid, owner = await on.start_job("stalled", 2.0)
        owner.signal(signal.SIGSTOP)
        if not await on.come_about(lambda: on.others("end", "stalled", {pid}), cap_s):
            owner.signal(signal.SIGCONT)
            return {"stall": f"not redone in {cap_s:.0f} s"}
        other = on.others("end", "stalled", {pid})[0]["pid"]
        await asyncio.sleep(1)
        before = await on.client.ask("result", job_id)
        owner.signal(signal.SIGCONT)
        finished = await until(lambda: on.setup.events("end", key="stalled", pid=pid), 10)
        await asyncio.sleep(2)
        after = await on.client.ask("result", job_id)
    if str(before) != str(other):
        raise Failed(f"the second worker's result wasn't kept: {before!r}")
    if str(after) == str(pid):
        return {"stall": "accepted twice"}
    return {"stall": "refused" if finished else "cancelled"}


async def restart(env: Environment, *, cap_s: float) -> Figures:
    """SIGKILL Redis under load and start it again: does the worker go on by itself; what isn't done, what is twice?

    Redis keeps an append-only file here: all that it has acknowledged is there again.
    """
    with tempfile.TemporaryDirectory(prefix="jobqueue-rivals-") as directory:
        async with (
            Server(Path(directory), durable=True) as server,
            setup(env, server.url, safe=True) as of,
            workers(of, 1) as crew,
        ):
            await _load(of, crew[0])
            await server.kill()
            await asyncio.sleep(DOWN_S)
            await server.start()
            back_s = await _back_after(of, crew[0], cap_s / 2)
            await until(lambda: len(_ends(of)) == RESTART_JOBS or not crew[0].alive, cap_s - back_s, every_s=0.2)
            await asyncio.sleep(1)
            ends, alive = _ends(of), crew[0].alive
    return {
        "back_s": back_s if alive and back_s < cap_s / 2 else "it hangs" if alive else "it exits",
        "not_done": RESTART_JOBS - len(ends),
        "done_twice": sum(count > 1 for count in ends.values()),
    }


async def _load(of: Setup, worker: Worker) -> None:
    """Have the worker in the middle of many jobs."""
    async with driver(of) as client:
        await all_ready(of, [worker], client)
        worker.signal(signal.SIGSTOP)
        for index in range(RESTART_JOBS):
            await client.ask("send", "work", f"{index}", RESTART_JOB_S)
    worker.signal(signal.SIGCONT)
    if not await until(lambda: of.events("start"), 20):
        raise Failed("no job started within 20 s")
    await asyncio.sleep(1.5 * RESTART_JOB_S)


async def _back_after(of: Setup, worker: Worker, cap_s: float) -> float:
    started, greeted = time.monotonic(), len(of.events("hello"))
    async with driver(of) as client:
        await client.ask("send", "hello")
        starts = len(of.events("start"))
        await until(
            lambda: len(of.events("hello")) > greeted or len(of.events("start")) > starts or not worker.alive,
            cap_s, every_s=0.05,
        )  # fmt: skip
    return time.monotonic() - started


def _ends(of: Setup) -> dict[str, int]:
    ends: dict[str, int] = {}
    for event in of.events("end"):
        ends[event["key"]] = ends.get(event["key"], 0) + 1
    return ends
