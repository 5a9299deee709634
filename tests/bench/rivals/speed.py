"""Throughput, enqueueing, commands per job; pickup by an idle worker, and what an idle worker costs."""

from __future__ import annotations

import asyncio
import signal
import statistics
import time
from dataclasses import dataclass
from typing import Any, Final

from tests.bench.rivals.crew import Driver, Failed, Setup, Worker, all_ready, driver, each_signal, setup, until, workers
from tests.bench.rivals.environments import Environment
from tests.bench.rivals.server import Server, counted, delayed

IDLE_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured."""

    jobs_part: float
    """Of each contender's number of jobs."""
    cap_s: float
    """A round is over after so long, also when jobs are left."""
    singles: int
    pickups: int
    counted_jobs: int


async def throughput(env: Environment, server: Server, rtt_ms: float, count: int, sizes: Sizes) -> dict[str, float]:
    """No-op jobs a second of so many workers, and what enqueueing them took.

    The workers are started and have run a job each, then are stopped (SIGSTOP) while the queue is filled, and go on all
    at once. From there it is measured to the last job, or to the time cap.
    """
    jobs = max(200, int(env.contender.jobs * sizes.jobs_part))
    await server.redis.flushall()
    async with delayed(server, rtt_ms) as url, setup(env, url) as of, driver(of) as client, workers(of, count) as crew:
        await all_ready(of, crew, client)
        figures: dict[str, float] = {}
        if count == 1 and not rtt_ms:
            figures |= await _calls(of, crew, client, server, sizes)
        each_signal(crew, signal.SIGSTOP)
        if count == 1:
            figures["single_per_s"] = sizes.singles / await client.ask("single", sizes.singles)
        figures["bulk_per_s"] = jobs / await client.ask("bulk", jobs)
        figures["jobs_per_s"] = await _drain(of, crew, jobs + (sizes.singles if count == 1 else 0), sizes.cap_s)
    return figures


async def _drain(of: Setup, crew: list[Worker], jobs: int, cap_s: float) -> float:
    before, started = of.done(), time.perf_counter()
    each_signal(crew, signal.SIGCONT)
    await until(lambda: of.done() - before >= jobs, cap_s, every_s=0.002)
    done, seconds = of.done() - before, time.perf_counter() - started
    if not done:
        raise Failed(f"no job ran within {cap_s:g} s: {of.last_words()}")
    return done / seconds


async def _calls(of: Setup, crew: list[Worker], client: Driver, server: Server, sizes: Sizes) -> dict[str, float]:
    """What a worker asks of Redis while it has plenty to do."""
    each_signal(crew, signal.SIGSTOP)
    await client.ask("bulk", sizes.counted_jobs)
    before = of.done()
    async with counted(server) as calls:
        each_signal(crew, signal.SIGCONT)
        await until(lambda: of.done() - before >= sizes.counted_jobs, 20)
    return calls.each(max(1, of.done() - before))


async def pickup(env: Environment, server: Server, rtt_ms: float, sizes: Sizes) -> dict[str, float]:
    """From the client's call to the job's first line, on an idle worker; and without delay, what idling costs."""
    await server.redis.flushall()
    figures: dict[str, float] = {}
    async with delayed(server, rtt_ms) as url, setup(env, url) as of, driver(of) as client, workers(of, 1) as crew:
        await all_ready(of, crew, client)
        if not rtt_ms:
            await asyncio.sleep(0.5)
            async with counted(server) as idle:
                await asyncio.sleep(IDLE_S)
            figures["idle_requests_per_s"] = idle.requests / (IDLE_S + 0.3)
            figures["idle_rss_mb"] = crew[0].rss_mb()
        async with counted(server) as calls:
            await client.ask("pickup", sizes.pickups)
            await until(lambda: len(of.events("pickup")) >= sizes.pickups, 5)
        delays = sorted(event["ms"] for event in of.events("pickup"))
    if not delays:
        raise Failed("no job was picked up")
    if not rtt_ms:
        figures["lone_requests_per_job"] = calls.requests / len(delays)
    return figures | {
        "pickup_p50_ms": statistics.median(delays),
        "pickup_p99_ms": delays[min(len(delays) - 1, int(len(delays) * 0.99))],
        "pickup_max_ms": delays[-1],
    }


def medians(rounds: list[dict[str, Any]]) -> dict[str, float]:
    """Of each figure, over the rounds that have it."""
    names = dict.fromkeys(name for figures in rounds for name in figures)
    return {name: statistics.median(f[name] for f in rounds if name in f) for name in names}
