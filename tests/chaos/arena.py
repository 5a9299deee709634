"""Where a scenario takes place: worker processes, a load, an observer, and the account at the end."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from redis.exceptions import RedisError

from jobqueue.broker.enqueue import NewJob
from jobqueue.broker.keys import QueueKeys, queue_name
from tests.chaos.effects import EffectLog, recoveries, reruns
from tests.chaos.ledger import Row
from tests.chaos.observer import Observer, observing
from tests.chaos.worker import Spec
from tests.engine_support import connected, left, per_job, wait_until

ROOT: Final = Path(__file__).parents[2]
_START_S: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a scenario is told."""

    directory: Path
    seed: int
    quick: bool

    def sized(self, full: int, quick: int) -> int:
        """One of two sizes."""
        return quick if self.quick else full


class Arena:
    """Worker processes around one server, and the account of what they did to the jobs.

    Attributes:
        pool: a client's; it may lead through a bad network.
        redis: a connection straight to the server.
        accepted: ids of the jobs whose enqueue was answered.
        deaths: pid of a killed worker -> when.
    """

    def __init__(self, row: Row, plan: Plan, spec: Spec, *, pool: Any, redis: Any, observer: Observer) -> None:
        self.row = row
        self.spec = spec
        self.pool = pool
        self.redis = redis
        self.observer = observer
        self.random = random.Random(plan.seed)
        self.effects = EffectLog(Path(spec.log))
        self.queues = [QueueKeys(queue_name(queue)) for queue in spec.queues]
        self.workers: list[asyncio.subprocess.Process] = []
        self.deaths: dict[int, float] = {}
        self.accepted: list[str] = []
        self._output = (plan.directory / "workers.err").open("wb")
        self._started = time.monotonic()

    # ── workers ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def start_workers(self, count: int) -> None:
        """Start worker processes, and return when they are ready."""
        await asyncio.gather(*(self.start_worker() for _ in range(count)))

    async def start_worker(self) -> asyncio.subprocess.Process:
        """Start one."""
        since = time.time()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.chaos.worker", json.dumps(asdict(self.spec)),
            cwd=ROOT, stdout=self._output, stderr=self._output,
        )  # fmt: skip
        self.workers.append(process)
        await wait_until(
            lambda: process.pid in self.pids("ready", since=since), within_s=_START_S, what="a worker's start"
        )
        return process

    def pids(self, what: str, *, since: float = 0.0) -> set[int]:
        """The processes with an effect of this kind since then."""
        late = takewhile(lambda effect: effect.at >= since, reversed(self.effects.read()))
        return {effect.pid for effect in late if effect.what == what}

    async def kill(self, process: asyncio.subprocess.Process) -> None:
        """SIGKILL."""
        self.row.faults += 1
        process.kill()
        self.deaths[process.pid] = time.time()
        await process.wait()
        self.workers.remove(process)

    def expect_all_alive(self) -> None:
        """Note each worker that has ended by itself."""
        ended = [process.returncode for process in self.workers if process.returncode is not None]
        said = Path(self._output.name).read_text(errors="replace").splitlines() if ended else []
        why = [line for line in said if "fleet.failed" in line or line.startswith(("redis.", "jobqueue."))]
        self.row.expect(not ended, f"workers ended by themselves, with {ended}: {why[:3]}")

    async def resumed(self, since: float, *, within_s: float) -> float:
        """Seconds from ``since`` until every worker has started a job again; notes when that takes too long."""
        alive = {process.pid for process in self.workers}
        try:
            await wait_until(lambda: self.pids("start", since=since) >= alive, within_s=within_s + 10)
        except AssertionError:
            self.row.expect(False, f"not every worker went on within {within_s + 10:g} s")
        first = {pid: min(e.at for e in self.effects.read() if e.pid == pid and e.what == "start" and e.at >= since)
                 for pid in alive & self.pids("start", since=since)}  # fmt: skip
        return max(first.values(), default=since) - since

    async def stop(self) -> None:
        """End what still runs."""
        for process in self.workers:
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            await process.wait()
        self.effects.close()
        self._output.close()

    # ── load ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def load(self, count: int, *, rate: float | None = None, function: str = "work", **kwargs: Any) -> list[str]:
        """Enqueue jobs, at most ``rate`` a second, each until its enqueue is answered; their ids."""
        ids = [f"ingest-{len(self.accepted) + n}-{function}" for n in range(count)]
        group = 100 if rate is None else max(1, int(rate / 20))
        for start in range(0, count, group):
            some = ids[start : start + group]
            began = time.monotonic()
            await self.submit([NewJob(id=job_id, function=function, kwargs=kwargs) for job_id in some])
            if rate is not None:
                await asyncio.sleep(max(0.0, len(some) / rate - (time.monotonic() - began)))
        return ids

    async def submit(self, jobs: Sequence[NewJob]) -> None:
        """Enqueue these, again until there is an answer, as a careful client does: an id is enqueued once."""
        while True:
            try:
                async with asyncio.timeout(12):
                    await self.pool.enqueue_many(jobs)
                break
            except (RedisError, OSError):
                await asyncio.sleep(0.05)
        self.accepted += [str(job.id) for job in jobs]

    # ── the account ──────────────────────────────────────────────────────────────────────────────────────────────

    async def settle(self, ids: Collection[str] | None = None, *, within_s: float) -> Row:
        """Wait until all jobs are recorded and nothing is left of them; then fill in the row."""
        row, ids = self.row, self.accepted if ids is None else ids
        await self.observer.seen(ids, within_s=within_s)
        row.leaked = len(await leaks(self.redis, self.queues))
        row.jobs += len(ids)
        row.lost = sum(job_id not in self.observer.finals for job_id in ids)
        row.doubled = self.observer.doubled()
        row.overwritten = len(await self.observer.overwritten())
        effects = self.effects.read()
        row.reruns = reruns(effects)
        row.seconds = round(time.monotonic() - self._started, 1)
        return row

    def recoveries(self) -> list[float]:
        """Seconds from each kill to the next start of each job that it cut off."""
        return recoveries(self.effects.read(), self.deaths)


async def leaks(redis: Any, queues: Iterable[QueueKeys], *, within_s: float = 10.0) -> list[str]:
    """What outlives its job: per-job keys, queue and outbox entries, abort marks; looked for until nothing is left."""
    deadline = time.monotonic() + within_s
    while True:
        found = sorted(per_job(await left(redis)))
        for keys in queues:
            found += [f"queued {entry!r}" for entry in await redis.zrange(keys.queue, 0, -1)]
            found += [f"outbox {entry!r}" for entry, _ in await redis.xrange(keys.own("outbox"))]
            found += [f"abort {entry!r}" for entry in await redis.zrange(keys.abort, 0, -1)]
        if not found or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.1)


@asynccontextmanager
async def arena(
    row: Row, plan: Plan, url: str, *, through: str | None = None, clients_too: bool = False, **spec: Any
) -> AsyncIterator[Arena]:
    """An arena around the server at ``url``.

    Args:
        through: the address that workers are given instead, and, with ``clients_too``, the clients as well.
        spec: fields of the workers' `Spec`.
    """
    given = Spec(url=through or url, log=str(plan.directory / "effects"), **spec)
    queues = [QueueKeys(queue_name(queue)) for queue in given.queues]
    async with (
        connected(through if through and clients_too else url) as pool,
        connected(url) as redis,
        observing(url, queues, plan.directory / "records") as observer,
    ):
        place = Arena(row, plan, given, pool=pool, redis=redis, observer=observer)
        try:
            yield place
        finally:
            await place.stop()
