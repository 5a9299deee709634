"""The engine beside arq's worker, in one run on one server.

``bin/bench engine [--json] [--quick]`` prints no-op jobs a second and CPU time per job of one worker process each,
the ratio, bulk enqueues a second, and how long an idle worker takes to pick a job up.

Each contender runs in a process of its own, rounds in turn, so that a drift of the machine's speed hits both. arq is
given several settings, and the best of them counts. Ours runs with everything on (see `tests.bench.engine_worker`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import arq.connections
import arq.version
from redis.asyncio import Redis

from jobqueue.broker.connection import AnyPool, close_pool, open_pool, parse
from jobqueue.broker.embedded import EmbeddedRedis
from jobqueue.broker.enqueue import NewJob

QUEUE: Final = "jobqueue:bench"
ARQ_SETTINGS: Final = ((10, 0.0), (100, 0.0), (1000, 0.0))  # max_jobs, poll_delay
OUR_MAX_JOBS: Final = 100
AIMS: Final = {"ratio": 10.0, "bulk_enqueue_per_s": 30_000.0, "pickup_p50_ms": 2.0, "pickup_p99_ms": 5.0}


async def run_worker(which: str, url: str, jobs: int, max_jobs: int, poll_delay: float) -> dict[str, float]:
    """One contender, one round."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.engine_worker", which, url, QUEUE, str(jobs), str(max_jobs),
        str(poll_delay), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    if process.returncode:
        raise SystemExit(f"the {which} worker failed; its error stands above")
    return json.loads(out)  # type: ignore[no-any-return]  # what engine_worker prints


async def bulk(pool: AnyPool, jobs: int) -> float:
    """Enqueue in bulk; jobs a second."""
    started = time.perf_counter()
    await pool.enqueue_many((NewJob(function="noop") for _ in range(jobs)), queue=QUEUE)
    return jobs / (time.perf_counter() - started)


async def throughput(redis: Redis, url: str, *, jobs: int, arq_jobs: int, rounds: int) -> dict[str, Any]:
    """Both workers' jobs a second and CPU per job, medians over the rounds."""
    pool = open_pool(parse(url))
    stock = await arq.connections.create_pool(
        arq.connections.RedisSettings(unix_socket_path=parse(url).socket, password=parse(url).password)
    )
    ours: list[dict[str, float]] = []
    theirs: dict[tuple[int, float], list[dict[str, float]]] = {setting: [] for setting in ARQ_SETTINGS}
    enqueues: list[float] = []
    for _ in range(rounds):
        await redis.flushall()
        enqueues.append(await bulk(pool, jobs))
        ours.append(await run_worker("ours", url, jobs, OUR_MAX_JOBS, 0.0))
        for setting in ARQ_SETTINGS:
            await redis.flushall()
            for _ in range(0, arq_jobs, 100):
                await asyncio.gather(*(stock.enqueue_job("noop", _queue_name=QUEUE) for _ in range(100)))
            theirs[setting].append(await run_worker("arq", url, arq_jobs, *setting))
    await close_pool(pool)
    await close_pool(stock)

    def median(rows: list[dict[str, float]], field: str) -> float:
        return statistics.median(row[field] for row in rows)

    best = max(theirs, key=lambda setting: median(theirs[setting], "jobs_per_s"))
    return {
        "ours": {field: median(ours, field) for field in ours[0]},
        "arq": {field: median(theirs[best], field) for field in ours[0]}
        | {"max_jobs": best[0], "poll_delay_s": best[1]},
        "ratio": median(ours, "jobs_per_s") / median(theirs[best], "jobs_per_s"),
        "cpu_ratio": median(theirs[best], "cpu_us_per_job") / median(ours, "cpu_us_per_job"),
        "bulk_enqueue_per_s": statistics.median(enqueues),
    }


async def pickup(redis: Redis, url: str, which: str, *, samples: int) -> dict[str, float]:
    """From the call of enqueue_job to the first line of the job, on an idle worker."""
    await redis.flushall()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.engine_worker", which, url, QUEUE, "0", "10", "0.5",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    pool = (
        open_pool(parse(url), queue=QUEUE)
        if which == "ours"
        else await arq.connections.create_pool(
            arq.connections.RedisSettings(unix_socket_path=parse(url).socket, password=parse(url).password),
            default_queue_name=QUEUE,
        )
    )
    await asyncio.sleep(1.5)  # it starts and turns idle
    for index in range(samples):
        await pool.enqueue_job("noop", time.time_ns())
        await asyncio.sleep(0.03 + 0.0007 * (index % 10))  # not in step with anyone's poll
    await asyncio.sleep(1.0)
    out, _ = await process.communicate(b"")
    await close_pool(pool)
    delays = sorted(json.loads(out).values())
    return {
        "n": len(delays),
        "p50_ms": statistics.median(delays),
        "p99_ms": delays[min(len(delays) - 1, int(len(delays) * 0.99))],
    }


async def measure(*, quick: bool) -> dict[str, Any]:
    """The whole run."""
    sizes = {"jobs": 5_000, "arq_jobs": 500, "rounds": 1} if quick else {"jobs": 60_000, "arq_jobs": 3_000, "rounds": 3}
    with tempfile.TemporaryDirectory(prefix="jobqueue-bench-") as directory:
        async with EmbeddedRedis(Path(directory)) as endpoint, Redis.from_url(endpoint.url) as redis:
            info = await redis.info("server")
            figures = await throughput(redis, endpoint.url, **sizes)
            figures["pickup"] = await pickup(redis, endpoint.url, "ours", samples=50 if quick else 500)
            figures["pickup_arq"] = await pickup(redis, endpoint.url, "arq", samples=10 if quick else 60)
    figures["machine"] = {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "arq": arq.version.VERSION,
        "server": f"{info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}",
        "load_1m": round(os.getloadavg()[0], 2),
        "quick": quick,
    }
    return figures


def table(figures: dict[str, Any]) -> str:
    """The figures for people, each beside its aim."""
    ours, theirs = figures["ours"], figures["arq"]
    setting = f"max_jobs={theirs['max_jobs']}, poll_delay={theirs['poll_delay_s']:g}"
    rows = [
        ("", "ours", "arq", "ratio", "aim"),
        ("no-op jobs/s, one worker", f"{ours['jobs_per_s']:,.0f}", f"{theirs['jobs_per_s']:,.0f}",
         f"{figures['ratio']:.1f}", f">= {AIMS['ratio']:g}"),
        ("worker CPU per job, us", f"{ours['cpu_us_per_job']:.0f}", f"{theirs['cpu_us_per_job']:.0f}",
         f"{figures['cpu_ratio']:.1f}", ""),
        ("bulk enqueue/s", f"{figures['bulk_enqueue_per_s']:,.0f}", "", "", f">= {AIMS['bulk_enqueue_per_s']:,.0f}"),
        ("idle pickup p50, ms", f"{figures['pickup']['p50_ms']:.2f}", f"{figures['pickup_arq']['p50_ms']:.0f}", "",
         f"<= {AIMS['pickup_p50_ms']:g}"),
        ("idle pickup p99, ms", f"{figures['pickup']['p99_ms']:.2f}", f"{figures['pickup_arq']['p99_ms']:.0f}", "",
         f"<= {AIMS['pickup_p99_ms']:g}"),
    ]  # fmt: skip
    lines = [f"{name:<26}{a:>10}{b:>10}{ratio:>8}{aim:>12}" for name, a, b, ratio, aim in rows]
    machine = ", ".join(f"{key} {value}" for key, value in figures["machine"].items())
    return "\n".join([*lines, f"arq's best setting: {setting}; its pickup at its default poll of 0.5 s", machine])


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(prog="bin/bench engine", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it runs, not what is true")
    options = parser.parse_args()
    figures = asyncio.run(measure(quick=options.quick))
    print(json.dumps(figures, indent=2) if options.json else table(figures))


if __name__ == "__main__":
    main()
