"""What limits, priorities and fair sharing cost: ``python -m tests.bench.lanes [--quick] [--json]``.

Claims are timed alone, over a queue whose waiting jobs are nearly all held back, in four shapes. Throughput is that of
one worker in the same process, over the same jobs with and without what makes them wait in lanes, in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from jobqueue.broker.connection import open_pool, parse
from jobqueue.broker.control import QueueControl
from jobqueue.broker.embedded import EmbeddedRedis
from jobqueue.broker.enqueue import NewJob
from jobqueue.broker.keys import QueueKeys, queue_name
from jobqueue.broker.options import Options
from jobqueue.broker.scripts import Scripts
from jobqueue.limits import Limit
from tests.engine_support import running, wait_until, worker_of

KEYS: Final = QueueKeys(queue_name("ingest"))
FREE: Final = 50
"""As many as a worker of 100 slots asks for at a time."""

SHAPES: Final[dict[str, tuple[str, Limit, Callable[[int], Options]]]] = {
    "one tenant": ("tenant:*", Limit(concurrency=1), lambda _: Options(tenant="acme")),
    "10,000 tenants": ("tenant:*", Limit(concurrency=0), lambda n: Options(tenant=f"t{n % 10_000}")),
    "10,000 tenants, one provider": (
        "provider:p", Limit(concurrency=1), lambda n: Options(tenant=f"t{n % 10_000}", keys={"provider": "p"}),
    ),
    "10,000 tenants, one rate": (
        "provider:p", Limit(rate_per_s=1), lambda n: Options(tenant=f"t{n % 10_000}", keys={"provider": "p"}),
    ),
}  # fmt: skip


async def claims_ms(pool: Any, shape: str, jobs: int, count: int) -> dict[str, float]:
    """Milliseconds a claim takes from the first one on, when all but a few of ``jobs`` are held back."""
    await pool.flushall()
    scope, limit, options = SHAPES[shape]
    await QueueControl(pool, KEYS, cancel=_never).limit(scope, limit)
    await pool.enqueue_many(NewJob(function="noop", options=options(n)) for n in range(jobs))
    scripts = Scripts(pool, KEYS)
    found, got = [], 0
    for _ in range(count):
        started = time.perf_counter()
        got += len((await scripts.claim(FREE, lease_ms=600_000, worker="w")).jobs)
        found.append((time.perf_counter() - started) * 1000)
    found.sort()
    return {"p50_ms": statistics.median(found), "p99_ms": found[int(count * 0.99)], "max_ms": found[-1], "claimed": got}


async def _never(job_id: str) -> str:
    raise AssertionError(job_id)


async def jobs_per_s(url: str, pool: Any, jobs: int, options: Callable[[int], Options]) -> tuple[float, float]:
    """No-op jobs a second of one worker, and Jain's index of the tenants' shares while all of them had work."""
    await pool.flushall()
    await pool.enqueue_many(NewJob(function="noop", args=(n,), options=options(n)) for n in range(jobs))
    started: list[int] = []

    async def noop(_ctx: dict[str, Any], number: int) -> None:
        started.append(number)

    before = time.perf_counter()
    async with running(worker_of(url, [noop], max_jobs=100)):
        await wait_until(lambda: len(started) == jobs, within_s=120)
        seconds = time.perf_counter() - before
    tenants = Counter(options(number).tenant for number in started[: jobs // 10])
    shares = list(tenants.values())
    return jobs / seconds, sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


MIXES: Final[dict[str, Callable[[int], Options]]] = {
    "plain": lambda _: Options(),
    "ten tenants": lambda n: Options(tenant=f"t{n % 10}"),
    "one of ten has 90 %": lambda n: Options(tenant="big" if n % 10 else f"t{n // 10 % 9}"),
    "priorities": lambda n: Options(priority=n % 10),
}


async def measure(*, quick: bool) -> dict[str, Any]:
    """All figures."""
    logging.disable(logging.INFO)
    jobs, rounds = (20_000, 1) if quick else (200_000, 3)
    with tempfile.TemporaryDirectory(prefix="jobqueue-bench-", ignore_cleanup_errors=True) as directory:
        async with EmbeddedRedis(Path(directory)) as endpoint:
            pool: Any = open_pool(parse(endpoint.url), queue=KEYS.name)
            claims = {shape: await claims_ms(pool, shape, jobs, 300) for shape in SHAPES}
            rates: dict[str, list[tuple[float, float]]] = {mix: [] for mix in MIXES}
            for _ in range(rounds):
                for mix, options in MIXES.items():
                    rates[mix].append(await jobs_per_s(endpoint.url, pool, jobs // 10, options))
            await pool.aclose(close_connection_pool=True)
    return {
        "jobs": jobs,
        "claims": claims,
        "throughput": {
            mix: {"jobs_per_s": statistics.median(r for r, _ in found), "jain": statistics.median(j for _, j in found)}
            for mix, found in rates.items()
        },
        "machine": {"cpus": os.cpu_count(), "load_1m": round(os.getloadavg()[0], 2), "quick": quick},
    }


def table(found: dict[str, Any]) -> str:
    """The figures, for people."""
    lines = [f"a claim of {FREE} over {found['jobs']:,} waiting jobs, ms{'':14}p50     p99     max  claimed"]
    for shape, row in found["claims"].items():
        lines.append(f"  {shape:<44}{row['p50_ms']:8.2f}{row['p99_ms']:8.2f}{row['max_ms']:8.2f}{row['claimed']:9,.0f}")
    lines.append(f"one worker{'':40}jobs/s    of plain    Jain's index")
    plain = found["throughput"]["plain"]["jobs_per_s"]
    for mix, row in found["throughput"].items():
        lines.append(f"  {mix:<44}{row['jobs_per_s']:10,.0f}{row['jobs_per_s'] / plain:12.2f}{row['jain']:16.3f}")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bin/bench lanes", description="What limits and fair sharing cost.")
    parser.add_argument("--quick", action="store_true", help="smaller numbers")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found = asyncio.run(measure(quick=options.quick))
    print(json.dumps(found, indent=2) if options.json else table(found))


if __name__ == "__main__":
    main()
