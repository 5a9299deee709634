"""Whether our cost of a job stays flat while the queue grows: claim and record with up to a million jobs behind."""

from __future__ import annotations

import signal
import statistics
import time
from dataclasses import dataclass
from typing import Final

from tests.bench.rivals.crew import Failed, all_ready, driver, each_signal, setup, until, workers
from tests.bench.rivals.environments import Environment
from tests.bench.rivals.server import Server

_LATER_S: Final = 24 * 3600.0
_FILL: Final = 250_000
_WINDOW_S: Final = 60.0
WINDOWS: Final = 3
ROUNDS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Depths:
    """How many jobs lie behind those that are measured, and how many a window has."""

    behind: tuple[int, ...]
    window: int


async def scaling(env: Environment, server: Server, depths: Depths) -> dict[str, float]:
    """Jobs a second of one worker, by what lies behind; the median over rounds that take all depths in turn."""
    rates: dict[str, list[float]] = {}
    for index in range(ROUNDS):
        for kind in ("deferred", "waiting"):
            # There and back again: a machine that changes its pace changes it for all depths.
            for behind in depths.behind if index % 2 == 0 else reversed(depths.behind):
                rates.setdefault(f"{kind}_{behind}", []).extend(
                    await _windows(env, server, kind, behind, depths.window)
                )
    return {depth: statistics.median(found) for depth, found in rates.items()}


async def _windows(env: Environment, server: Server, kind: str, behind: int, window: int) -> list[float]:
    await server.redis.flushall()
    async with setup(env, server.url) as of, driver(of) as client, workers(of, 1) as crew:
        await all_ready(of, crew, client)
        each_signal(crew, signal.SIGSTOP)
        defer_s = [_LATER_S] if kind == "deferred" else []
        await client.ask("bulk", (WINDOWS + 1) * window)
        for start in range(0, behind, _FILL):  # after those that are measured: waiting jobs run in order
            await client.ask("bulk", min(_FILL, behind - start), *defer_s)
        each_signal(crew, signal.SIGCONT)
        rates = []
        for index in range(WINDOWS + 1):
            before, started = of.done(), time.perf_counter()
            if not await until(lambda: of.done() >= (index + 1) * window, _WINDOW_S, every_s=0.001):  # noqa: B023 (at once)
                raise Failed(f"{window:,} jobs weren't done within {_WINDOW_S:.0f} s")
            rates.append((of.done() - before) / (time.perf_counter() - started))
        return rates[1:]  # the first is warming up
