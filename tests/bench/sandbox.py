"""What a sandboxed call costs over calling the function directly: ``python -m tests.bench.sandbox [--json]``."""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import time
from collections.abc import Awaitable, Callable
from statistics import median, quantiles
from typing import Any

from jobqueue.errors import LimitExceeded
from jobqueue.ports import Limits
from jobqueue.services.sandbox import ProcessSandbox

VICTIMS = "tests.contract.sandbox_victims"
NO_OP = f"{VICTIMS}:echo"
WALL_S = 0.05


def make(**options: Any) -> ProcessSandbox:
    return ProcessSandbox(processes=1, packages=(VICTIMS,), preload=(VICTIMS,), **options)


async def timed(call: Callable[[], Awaitable[object]], rounds: int) -> list[float]:
    """Milliseconds of each round."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        await call()
        times.append((time.perf_counter() - start) * 1e3)
    return times


async def first_call() -> None:
    async with make() as sandbox:
        await sandbox.run(NO_OP)


async def measure(rounds: int) -> dict[str, list[float]]:
    found = {"first call, fork server's start and end included": await timed(first_call, max(3, rounds // 200))}
    async with make(recycle_after=1_000_000) as sandbox:
        await sandbox.run(NO_OP)
        found["no-op in a warm child"] = await timed(lambda: sandbox.run(NO_OP), rounds)
        megabyte = b"x" * 1_000_000
        found["1 MB there and back, warm"] = await timed(lambda: sandbox.run(NO_OP, megabyte), rounds // 10)

        async def overrun() -> None:
            try:
                await sandbox.run(f"{VICTIMS}:spin", limits=Limits(wall_s=WALL_S))
            except LimitExceeded:
                return
            raise AssertionError("the endless call ended")

        overruns = await timed(overrun, max(3, rounds // 100))
        found["from the passed limit to the child's end"] = [took - WALL_S * 1e3 for took in overruns]
    async with make(recycle_after=1) as sandbox:
        await sandbox.run(NO_OP)
        found["no-op in a fresh child, its end included"] = await timed(lambda: sandbox.run(NO_OP), rounds // 10)
    async with make(recycle_after=1, readable=()) as sandbox:
        await sandbox.run(NO_OP)
        found["the same, left only some of the files"] = await timed(lambda: sandbox.run(NO_OP), rounds // 10)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2_000, help="of the quickest measurement (default: 2000)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args()
    rows = {
        name: {
            "median_ms": median(times),
            "p99_ms": quantiles(times, n=100, method="inclusive")[98],
            "rounds": len(times),
        }
        for name, times in asyncio.run(measure(options.rounds)).items()
    }
    if options.json:
        print(json.dumps({"python": platform.python_version(), "machine": platform.platform(), "results": rows}))
        return
    print(f"{'':50} {'median':>10} {'p99':>10} {'rounds':>7}")
    for name, row in rows.items():
        print(f"{name:50} {row['median_ms']:7.2f} ms {row['p99_ms']:7.2f} ms {row['rounds']:7}")


if __name__ == "__main__":
    main()
