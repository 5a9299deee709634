"""What durable writes cost: ``python -m tests.bench.durable [--quick] [--json]``.

Each row is one setting of JOBQUEUE_DURABLE on a server that syncs its append-only file every second or at every write:
enqueues a second of one client that waits for each, of fifty at a time and in bulk, and no-op jobs a second of a
worker in the same process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

from jobqueue.broker.connection import close_pool, open_pool, parse
from jobqueue.broker.durable import Durability, demand
from jobqueue.broker.enqueue import NewJob
from jobqueue.broker.keys import queue_name
from tests.engine_support import running, wait_until, worker_of
from tests.ha.topology import free_ports
from tests.integration.cluster_support import server

SETTINGS: Final[tuple[tuple[Durability, str], ...]] = (
    ("off", "everysec"),
    ("off", "always"),
    ("disk", "always"),
    ("disk", "everysec"),
    ("replica", "everysec"),
)


async def pool_of(url: str, level: Durability) -> Any:
    """A pool whose writes are that durable."""
    pool = open_pool(parse(url), queue=queue_name("ingest"))
    await demand(pool, level)
    return pool


async def rate(count: int, work: Callable[[], Awaitable[object]]) -> float:
    """How many of ``count`` things a second the work does."""
    started = time.perf_counter()
    await work()
    return count / (time.perf_counter() - started)


async def measure_one(url: str, level: Durability, *, singles: int, many: int) -> dict[str, float]:
    """One row."""
    pool = await pool_of(url, level)

    async def one_by_one() -> None:
        for _ in range(singles):
            await pool.enqueue_job("noop")

    async def fifty_at_a_time() -> None:
        for _ in range(0, many // 10, 50):
            await asyncio.gather(*(pool.enqueue_job("noop") for _ in range(50)))

    async def in_bulk() -> None:
        await pool.enqueue_many(NewJob(function="noop") for _ in range(many))

    async def noop(ctx: dict[str, Any]) -> None: ...

    found = {
        "single_enqueues_per_s": await rate(singles, one_by_one),
        "concurrent_enqueues_per_s": await rate(many // 10, fifty_at_a_time),
        "bulk_enqueues_per_s": await rate(many, in_bulk),
    }
    await pool.flushall()
    await in_bulk()
    worker = worker_of("redis://unused", [noop], max_jobs=100, extra={"connect": lambda: pool_of(url, level)})

    async def all_done() -> None:
        async with running(worker):
            await wait_until(lambda: worker.jobs_complete == many and not worker.held, within_s=120, what="all jobs")

    found["jobs_per_s"] = await rate(many, all_done)
    await close_pool(pool)
    return found


async def measure(*, quick: bool) -> list[dict[str, Any]]:
    """All rows."""
    sizes = {"singles": 20, "many": 2_000} if quick else {"singles": 300, "many": 20_000}
    rows = []
    for level, fsync in SETTINGS:
        async with AsyncExitStack() as stack:
            first, second = free_ports(2)
            for port in (first, second):
                directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="jobqueue-bench-"))
                primary = ("--replicaof", f"127.0.0.1 {first}") if port == second else ()
                if level == "replica" or port == first:
                    await stack.enter_async_context(server(Path(directory), port, "--appendfsync", fsync, *primary))
            url = f"redis://127.0.0.1:{first}"
            if level == "replica":
                pool = await pool_of(url, "replica")
                stack.push_async_callback(close_pool, pool)
                await wait_until(partial(_follows, second), within_s=20, what="the replica")
            rows.append({"durable": level, "appendfsync": fsync} | await measure_one(url, level, **sizes))
    return rows


async def _follows(port: int) -> bool:
    pool = await pool_of(f"redis://127.0.0.1:{port}", "off")
    try:
        return str((await pool.info("replication"))["master_link_status"]) == "up"
    finally:
        await close_pool(pool)


def table(rows: list[dict[str, Any]]) -> str:
    """The rows for people."""
    lines = [
        f"{'durable':<10}{'appendfsync':<13}{'one by one/s':>14}{'50 at a time/s':>16}{'bulk/s':>10}{'jobs/s':>10}"
    ]
    lines += [
        f"{row['durable']:<10}{row['appendfsync']:<13}{row['single_enqueues_per_s']:>14,.0f}"
        f"{row['concurrent_enqueues_per_s']:>16,.0f}{row['bulk_enqueues_per_s']:>10,.0f}{row['jobs_per_s']:>10,.0f}"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(prog="bin/bench durable", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it runs, not what is true")
    options = parser.parse_args()
    rows = asyncio.run(measure(quick=options.quick))
    print(json.dumps(rows, indent=2) if options.json else table(rows))


if __name__ == "__main__":
    logging.disable(logging.INFO)
    main()
