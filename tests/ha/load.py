"""A steady load on servers that fail over: worker processes, a careful client, and what became of each job.

``python -m tests.ha.load URL LOG DURABLE REPLICAS`` is one of the worker processes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from redis.exceptions import RedisError

from jobqueue.broker.connection import AnyPool, close_pool, open_pool, parse
from jobqueue.broker.durable import Durability, demand
from jobqueue.broker.enqueue import NewJob
from jobqueue.broker.keys import QueueKeys, queue_name
from jobqueue.errors import Unavailable
from tests.chaos.effects import EffectLog
from tests.engine_support import wait_until, worker_of

ROOT: Final = Path(__file__).parents[2]
_GROUP: Final = 10
_PACE_S: Final = 0.03
_DRAIN_S: Final = 60.0


async def open_durable(url: str, durable: Durability, replicas: int = 1) -> AnyPool:
    """A pool of ``ingest``, once the servers answer."""
    pool = open_pool(parse(url), queue=queue_name("ingest"))
    await demand(pool, durable, replicas=replicas)
    return pool


def work_forever(url: str, log: str, durable: str, replicas: str) -> None:
    """Run a worker of ``ingest``, as our Settings build it, until it is signalled."""
    logging.disable(logging.INFO)
    effects = EffectLog(Path(log))

    async def work(ctx: dict[str, Any]) -> str:
        effects.write("start", ctx)
        await asyncio.sleep(0.02)
        effects.write("end", ctx)
        return f"{os.getpid()}/{ctx['fence']}/{time.monotonic_ns()}"  # each run's own, so that an overwriting shows

    async def ready(ctx: dict[Any, Any]) -> None:
        effects.write("ready")

    extra = {
        "connect": lambda: open_durable(url, cast("Durability", durable), int(replicas)),
        "cluster": parse(url).cluster,
        "lease_s": 5.0,
    }
    worker_of("redis://unused", [work], extra=extra, on_startup=ready, max_jobs=20, handle_signals=True).run()


@dataclass(slots=True)
class Load:
    """What the client knows.

    Attributes:
        accepted: ids of the jobs whose enqueue was acknowledged.
        seen: the first result that the client read of each.
    """

    pool: AnyPool
    effects: EffectLog
    workers: list[asyncio.subprocess.Process]
    keys: QueueKeys
    accepted: list[str] = field(default_factory=list)
    seen: dict[str, bytes] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def enqueue_steadily(self) -> None:
        """Enqueue ten jobs at a time, each ten again until they are acknowledged; an id is enqueued once."""
        n = 0
        while True:
            jobs = [NewJob(function="work", id=f"ingest-{n + i}") for i in range(_GROUP)]
            n += _GROUP
            while True:
                try:
                    async with asyncio.timeout(12):
                        await self.pool.enqueue_many(jobs)
                    break
                except (RedisError, OSError, Unavailable) as exc:
                    self.errors[type(exc).__name__] = self.errors.get(type(exc).__name__, 0) + 1
                    await asyncio.sleep(0.05)
            self.accepted += [str(job.id) for job in jobs]
            await asyncio.sleep(_PACE_S)

    async def read_steadily(self) -> None:
        """Read the results of what was accepted, as clients do."""
        while True:
            with suppress(RedisError, OSError):
                await self.read([job_id for job_id in self.accepted[-2000:] if job_id not in self.seen])
            await asyncio.sleep(0.2)

    async def read(self, ids: list[str]) -> dict[str, bytes]:
        """The results that are there; the first of each is remembered."""
        found: dict[str, bytes] = {}
        for start in range(0, len(ids), 500):
            some = ids[start : start + 500]
            values = await cast("Any", self.pool).mget([self.keys.result(job_id) for job_id in some])
            found |= {job_id: value for job_id, value in zip(some, values, strict=True) if value is not None}
        self.seen = found | self.seen
        return found

    async def resumed(self, since: float) -> float:
        """When the last of the workers began its first job after ``since``; both by the clock."""

        def starts() -> dict[int, float]:
            fresh = [effect for effect in self.effects.read() if effect.what == "start" and effect.at > since]
            return {effect.pid: effect.at for effect in reversed(fresh)}

        everyone = {worker.pid for worker in self.workers}
        await wait_until(
            lambda: starts().keys() >= everyone, within_s=60, what="every worker's first job after the failover"
        )
        return max(starts().values())

    async def account(self) -> dict[str, Any]:
        """Stop enqueueing, wait until the queue is empty, and count."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        redis = cast("Any", self.pool)

        async def drained() -> bool:
            with suppress(RedisError, OSError):
                return not await redis.zcard(self.keys.queue)
            return False

        await wait_until(drained, within_s=_DRAIN_S, what="an empty queue")
        first = dict(self.seen)
        final = await self.read(self.accepted)
        counters = await redis.hgetall(self.keys.own("counters"))
        recorded = int(counters.get(b"work:succeeded", 0))
        kept = len(final) + len(await self._unaccepted())
        return {
            "jobs": len(self.accepted),
            "lost": len(self.accepted) - len(final),
            "doubled": max(0, recorded - kept),
            "overwritten": sum(first[job_id] != value for job_id, value in final.items() if job_id in first),
            "vanished": sum(job_id not in final for job_id in first),
            "exited": sum(worker.returncode is not None for worker in self.workers),
            "dead": int(await redis.xlen(self.keys.own("dead"))),
        }

    async def _unaccepted(self) -> dict[str, bytes]:
        """Results of the last group, whose enqueue was cut off before it was acknowledged."""
        n = len(self.accepted)
        return await self.read([f"ingest-{i}" for i in range(n, n + _GROUP)])


@asynccontextmanager
async def loaded(
    url: str, directory: Path, *, workers: int = 2, durable: Durability = "off", replicas: int = 1
) -> AsyncIterator[Load]:
    """Worker processes at work on what a client enqueues all the time."""
    log = directory / "effects"
    effects = EffectLog(log)
    keys = QueueKeys(queue_name("ingest"), cluster=parse(url).cluster)
    load = Load(await open_durable(url, durable, replicas), effects, [], keys)
    with (directory / "workers.log").open("wb") as output:
        try:
            for _ in range(workers):
                load.workers.append(
                    await asyncio.create_subprocess_exec(
                        *(sys.executable, "-m", "tests.ha.load", url, str(log), durable, str(replicas)),
                        cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
                    )
                )  # fmt: skip
            pids = {worker.pid for worker in load.workers}
            await wait_until(
                lambda: {effect.pid for effect in effects.read() if effect.what == "ready"} >= pids,
                within_s=30, what="the workers' start",
            )  # fmt: skip
            load._tasks += [
                asyncio.create_task(load.enqueue_steadily(), name="enqueue"),
                asyncio.create_task(load.read_steadily(), name="read"),
            ]
            yield load
        finally:
            for task in load._tasks:
                task.cancel()
            await asyncio.gather(*load._tasks, return_exceptions=True)
            for worker in load.workers:
                if worker.returncode is None:
                    worker.kill()
                await worker.wait()
            await close_pool(load.pool)
            effects.close()


if __name__ == "__main__":
    work_forever(*sys.argv[1:])
