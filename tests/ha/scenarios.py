"""What failovers cost: each scenario kills and replaces primaries under load, and accounts for every job.

A row says how many of the acknowledged jobs have no result in the end (``lost``), how many records were made twice
(``doubled``), and how many results that a client had read were another one later (``overwritten``).
``worst_recovery_s`` is the time from a kill, or from the order of a planned failover, until every worker has finished a
job that it took from the new primary.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from jobqueue.broker.durable import Durability
from jobqueue.broker.keys import QueueKeys, queue_name
from tests.engine_support import wait_until
from tests.ha import topology
from tests.ha.load import Load, loaded

Row = dict[str, Any]
_CLUSTER_KEY: Final = QueueKeys(queue_name("ingest"), cluster=True).queue


@dataclass(slots=True)
class _Run:
    """One scenario under way."""

    servers: topology.Topology
    load: Load
    dice: random.Random
    kills: int = 0
    orders: int = 0
    recoveries_s: list[float] = field(default_factory=list)
    elections_s: list[float] = field(default_factory=list)
    after_s: list[float] = field(default_factory=list)

    async def kill_primary(self, *, back_at_once: bool = False) -> None:
        """SIGKILL it at a moment of chance; it comes back as a replica of the next one."""
        began = await self._some_work()
        dead, _ = await self.servers.kill_primary(_CLUSTER_KEY)
        elected = time.time()
        self.kills += 1
        if back_at_once:  # where all replicas must confirm, nothing goes on before
            await self.servers.bring_back(dead, _CLUSTER_KEY)
        await self._note(began, elected)
        if not back_at_once:
            await self.servers.bring_back(dead, _CLUSTER_KEY)
        await self.servers.settled(_CLUSTER_KEY)

    async def hand_over(self, *, coordinated: bool = True) -> None:
        """The failover that an operator orders."""
        began = await self._some_work()
        await self.servers.hand_over(_CLUSTER_KEY, coordinated=coordinated)
        await self._note(began, time.time())
        self.orders += 1
        await self.servers.settled(_CLUSTER_KEY)

    async def _some_work(self) -> float:
        goal = len(self.load.accepted) + self.dice.randint(50, 300)
        await wait_until(lambda: len(self.load.accepted) >= goal, within_s=60, what="some work")
        return time.time()

    async def _note(self, began: float, elected: float) -> None:
        back = await self.load.resumed(elected)
        self.elections_s.append(elected - began)
        self.recoveries_s.append(back - began)
        self.after_s.append(back - elected)

    async def row(self, scenario: str) -> Row:
        """The account."""
        found = await self.load.account()
        away = ", ".join(f"{count} {name}" for name, count in sorted(self.load.errors.items())) or "none"
        return {
            "scenario": scenario,
            "jobs": found["jobs"],
            "kills": self.kills,
            "lost": found["lost"],
            "doubled": found["doubled"],
            "overwritten": found["overwritten"],
            "worst_recovery_s": round(max(self.recoveries_s), 2),
            "notes": [
                f"{self.orders} planned failovers besides the kills",
                f"workers that exited: {found['exited']}; dead letters: {found['dead']}",
                f"a new primary within {max(self.elections_s):.2f} s, all workers {max(self.after_s):.2f} s after it",
                f"errors that the client met: {away}",
                f"results once read that are gone: {found['vanished']}",
            ],
        }


Fixture = Callable[[Path], AbstractAsyncContextManager[topology.Topology]]


@asynccontextmanager
async def _run(fixture: Fixture, seed: int, durable: Durability = "off", replicas: int = 1) -> AsyncIterator[_Run]:
    with tempfile.TemporaryDirectory(prefix="jobqueue-ha-", ignore_cleanup_errors=True) as name:
        async with (
            fixture(Path(name)) as servers,
            loaded(servers.url, Path(name), durable=durable, replicas=replicas) as load,
        ):
            yield _Run(servers, load, random.Random(seed))


async def sentinel(seed: int, quick: bool) -> Row:
    """Sentinel replaces its primary, without durable writes: what is lost is printed."""
    async with _run(topology.sentinel, seed) as run:
        for _ in range(1 if quick else 5):
            await run.kill_primary()
            await run.hand_over()
        return await run.row("sentinel")


async def cluster(seed: int, quick: bool) -> Row:
    """A Cluster replaces the primary of the queue, without durable writes: what is lost is printed."""
    async with _run(topology.cluster, seed) as run:
        for _ in range(1 if quick else 5):
            await run.kill_primary()
            await run.hand_over()
        return await run.row("cluster")


async def durable(seed: int, quick: bool) -> Row:
    """With all replicas confirming, nothing that was acknowledged is lost, however often the primary dies."""
    async with _run(topology.sentinel, seed, "replica", replicas=2) as run:
        for _ in range(5 if quick else 100):
            await run.kill_primary(back_at_once=True)
        return await run.row("durable")


async def durable_by_one(seed: int, quick: bool) -> Row:
    """With one of two replicas confirming: what Sentinel's choice of the other one costs is printed."""
    async with _run(topology.sentinel, seed, "replica") as run:
        for _ in range(5 if quick else 100):
            await run.kill_primary()
        return await run.row("durable-by-one")


SCENARIOS: Final = {"sentinel": sentinel, "cluster": cluster, "durable": durable, "durable-by-one": durable_by_one}
