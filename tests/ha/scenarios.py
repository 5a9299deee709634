"""What failovers cost: each scenario kills and replaces primaries under load, and accounts for every job.

``lost`` are acknowledged jobs that have no result in the end, and ``overwritten`` results that a client had read and
that were another one later. The recovery is the time from a kill, or from the order of a planned failover, until every
worker has finished a job that it took from the new primary.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from jobqueue.broker.durable import Durability
from jobqueue.broker.keys import QueueKeys, queue_name
from tests.chaos.arena import Plan
from tests.chaos.ledger import Row
from tests.engine_support import wait_until
from tests.ha import topology
from tests.ha.load import Load, loaded

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
    began: float = field(default_factory=time.time)

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

    async def row(self, scenario: str, *, forgiven: frozenset[str] = frozenset()) -> list[Row]:
        """The account."""
        found = await self.load.account()
        away = ", ".join(f"{count} {name}" for name, count in sorted(self.load.errors.items())) or "none"
        row = Row(
            scenario=scenario,
            jobs=found["jobs"],
            faults=self.kills + self.orders,
            lost=found["lost"],
            doubled=found["doubled"],
            overwritten=found["overwritten"],
            recovery_s=round(max(self.recoveries_s), 2),
            seconds=time.time() - self.began,
            forgiven=forgiven,
            notes=[
                f"{self.kills} kills of the primary, {self.orders} planned failovers",
                f"workers that exited: {found['exited']}; dead letters: {found['dead']}",
                f"a new primary within {max(self.elections_s):.2f} s, all workers {max(self.after_s):.2f} s after it",
                f"errors that the client met: {away}",
                f"results once read that are gone: {found['vanished']}",
            ],
        )
        row.expect(not found["exited"], f"{found['exited']} workers exited")
        return [row]


Fixture = Callable[[Path], AbstractAsyncContextManager[topology.Topology]]


_MAY_BE_LOST: Final = frozenset({"lost", "overwritten"})
"""What an acknowledged write may come to where the primary alone has confirmed it."""
_READ_TOO_SOON: Final = frozenset({"overwritten"})
"""A client can read a result that the replicas don't have yet; its worker doesn't count it as recorded before."""


@asynccontextmanager
async def _run(fixture: Fixture, plan: Plan, durable: Durability = "off", replicas: int = 1) -> AsyncIterator[_Run]:
    async with (
        fixture(plan.directory) as servers,
        loaded(servers.url, plan.directory, durable=durable, replicas=replicas) as load,
    ):
        yield _Run(servers, load, random.Random(plan.seed))


async def sentinel(plan: Plan) -> list[Row]:
    """Sentinel replaces its primary, without durable writes: what is lost is printed."""
    async with _run(topology.sentinel, plan) as run:
        for _ in range(plan.sized(5, 1)):
            await run.kill_primary()
            await run.hand_over()
        return await run.row("sentinel", forgiven=_MAY_BE_LOST)


async def cluster(plan: Plan) -> list[Row]:
    """A Cluster replaces the primary of the queue, without durable writes: what is lost is printed."""
    async with _run(topology.cluster, plan) as run:
        for _ in range(plan.sized(5, 1)):
            await run.kill_primary()
            await run.hand_over()
        return await run.row("cluster", forgiven=_MAY_BE_LOST)


async def durable(plan: Plan) -> list[Row]:
    """With all replicas confirming, nothing that was acknowledged is lost, however often the primary dies."""
    async with _run(topology.sentinel, plan, "replica", replicas=2) as run:
        for _ in range(plan.sized(100, 5)):
            await run.kill_primary(back_at_once=True)
        return await run.row("durable", forgiven=_READ_TOO_SOON)


async def durable_by_one(plan: Plan) -> list[Row]:
    """With one of two replicas confirming: what Sentinel's choice of the other one costs is printed."""
    async with _run(topology.sentinel, plan, "replica") as run:
        for _ in range(plan.sized(20, 2)):
            await run.kill_primary()
        return await run.row("durable-by-one", forgiven=_MAY_BE_LOST)
