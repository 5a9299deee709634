"""The whole run: who takes part, in which order, within which time."""

from __future__ import annotations

import asyncio
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import psutil
from redis.exceptions import RedisError

from tests.bench.rivals.crew import Failed
from tests.bench.rivals.environments import Environment, NotInstalled, prepare
from tests.bench.rivals.recovery import TUNED_LEASE_S, kill, restart, stall
from tests.bench.rivals.roster import CONTENDERS, OURS
from tests.bench.rivals.scaling import Depths, scaling
from tests.bench.rivals.server import Server, delayed, pings_ms
from tests.bench.rivals.speed import Sizes, medians, pickup, throughput

PARTS: Final = ("proxy", "throughput", "pickup", "recovery", "scaling")
ROUND_TRIPS_MS: Final = (0, 1, 2)
Figures = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How large a run is."""

    sizes: Sizes
    rounds: tuple[int, ...]
    """For each of `ROUND_TRIPS_MS`."""
    depths: Depths
    recovery_cap_s: float
    scenes_at_once: int
    total_s: float


FULL: Final = Plan(
    sizes=Sizes(jobs_part=1.0, cap_s=2.0, singles=300, pickups=80, counted_jobs=1000),
    rounds=(3, 1, 1),
    depths=Depths(behind=(0, 100_000, 1_000_000), window=30_000),
    recovery_cap_s=120.0,
    scenes_at_once=16,
    total_s=25 * 60.0,
)
QUICK: Final = Plan(
    sizes=Sizes(jobs_part=0.05, cap_s=1.0, singles=20, pickups=10, counted_jobs=100),
    rounds=(1, 0, 0),
    depths=Depths(behind=(0, 2_000, 20_000), window=2_000),
    recovery_cap_s=12.0,
    scenes_at_once=20,
    total_s=4 * 60.0,
)


@dataclass(slots=True)
class Results:
    """What was measured: plain data.

    Attributes:
        contenders: name -> figures, by round trip (``"0"``, ``"1"``, ``"2"``) and ``"recovery"``.
        failed: what is missing, and why.
    """

    machine: Figures = field(default_factory=dict)
    contenders: dict[str, Figures] = field(default_factory=dict)
    proxy: Figures = field(default_factory=dict)
    scaling: Figures = field(default_factory=dict)
    failed: list[dict[str, str]] = field(default_factory=list)


class Run:
    """One run over some contenders."""

    def __init__(self, plan: Plan, parts: Iterable[str]) -> None:
        self._plan = plan
        self._parts = set(parts)
        self._deadline = time.monotonic() + plan.total_s
        self.results = Results()

    async def measure(self, names: Sequence[str]) -> Results:
        """Everything asked for; what fails is noted with its reason, and the rest goes on."""
        environments = [env for env in [await self._environment(name) for name in names] if env is not None]
        with tempfile.TemporaryDirectory(prefix="jobqueue-rivals-") as directory:
            async with Server(Path(directory)) as server:
                self.results.machine = await _machine(server, environments)
                if "proxy" in self._parts:
                    await self._proxy(server)
                for position, rtt_ms in enumerate(ROUND_TRIPS_MS):
                    if self._plan.rounds[position]:
                        await self._speed(server, environments, rtt_ms, self._plan.rounds[position])
                if "scaling" in self._parts and environments and environments[0].contender.name == OURS:
                    depths = self._plan.depths
                    figures = await self._attempt(OURS, "scaling", partial(scaling, environments[0], server, depths))
                    self.results.scaling = figures
        if "recovery" in self._parts:
            await self._recovery(environments)
        self.results.machine["load_1m_end"] = round(os.getloadavg()[0], 2)
        return self.results

    async def _environment(self, name: str) -> Environment | None:
        contender = next(contender for contender in CONTENDERS if contender.name == name)
        try:
            env = await prepare(contender)
        except NotInstalled as exc:
            self._fail(name, "installation", str(exc))
            return None
        self.results.contenders[name] = {"version": env.version, "setting": contender.setting}
        return env

    async def _proxy(self, server: Server) -> None:
        direct = await pings_ms(server.url, 1000)
        self.results.proxy["ping_direct_ms"] = statistics.median(direct)
        for rtt_ms in ROUND_TRIPS_MS:
            async with delayed(server, rtt_ms, even_none=True) as url:
                self.results.proxy[f"ping_{rtt_ms}_ms"] = statistics.median(await pings_ms(url, 500))

    async def _speed(self, server: Server, environments: list[Environment], rtt_ms: int, rounds: int) -> None:
        sizes = self._plan.sizes
        found: dict[str, list[Figures]] = {env.contender.name: [] for env in environments}
        for _ in range(rounds if "throughput" in self._parts else 0):  # in turn: a drift of the machine hits all
            for env in environments:
                for count in (1, 4):
                    figures = await self._attempt(
                        env.contender.name,
                        f"{count} worker{'s' * (count > 1)} at {rtt_ms} ms",
                        partial(throughput, env, server, rtt_ms, count, sizes),
                    )
                    renamed = {"jobs_per_s": "four_workers_jobs_per_s", "bulk_per_s": "bulk_per_s"}
                    found[env.contender.name].append(
                        figures if count == 1 else {renamed[name]: figure for name, figure in figures.items()}
                    )
        for env in environments if "pickup" in self._parts else ():
            name = env.contender.name
            found[name].append(
                await self._attempt(name, f"pickup at {rtt_ms} ms", partial(pickup, env, server, rtt_ms, sizes))
            )
        for name, figures_of_rounds in found.items():
            self.results.contenders[name][str(rtt_ms)] = medians(figures_of_rounds)

    async def _recovery(self, environments: list[Environment]) -> None:
        cap_s, places = self._plan.recovery_cap_s, asyncio.Semaphore(self._plan.scenes_at_once)

        async def scene(env: Environment, part: str, play: Callable[[], Awaitable[Figures]]) -> None:
            async with places:
                figures = await self._attempt(env.contender.name, part, play)
            kept = self.results.contenders[env.contender.name].setdefault("recovery", {})
            kept |= figures

        async with asyncio.TaskGroup() as group:
            for env in environments:
                scenes: dict[str, Callable[[], Awaitable[Figures]]] = {
                    "kill": partial(kill, env, lease_s=None, cap_s=cap_s),
                    "kill, tuned": partial(kill, env, lease_s=TUNED_LEASE_S, cap_s=cap_s),
                    "stall": partial(stall, env, cap_s=cap_s),
                    "restart of Redis": partial(restart, env, cap_s=cap_s),
                }
                for part, play in scenes.items():
                    group.create_task(scene(env, part, play), name=f"{env.contender.name}: {part}")

    async def _attempt(self, name: str, part: str, measure: Callable[[], Awaitable[Figures]]) -> Figures:
        """The figures, or none and a noted reason."""
        if time.monotonic() > self._deadline:
            self._fail(name, part, "the run's time was over")
            return {}
        print(f"{time.strftime('%H:%M:%S')} {name}: {part}", file=sys.stderr, flush=True)
        try:
            async with asyncio.timeout(300):
                return await measure()
        except (Failed, OSError, RedisError, psutil.Error) as exc:  # a TimeoutError is an OSError
            self._fail(name, part, str(exc) or type(exc).__name__)
            return {}

    def _fail(self, name: str, part: str, reason: str) -> None:
        self.results.failed.append({"contender": name, "part": part, "reason": reason})


async def _machine(server: Server, environments: list[Environment]) -> Figures:
    info = await server.redis.info("server")
    return {
        "at": datetime.now(UTC).isoformat(timespec="minutes"),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "server": f"{info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}",
        "load_1m_start": round(os.getloadavg()[0], 2),
        "versions": {env.contender.package: env.version for env in environments},
    }
