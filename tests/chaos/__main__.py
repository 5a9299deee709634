"""Hurt the engine on purpose, and account for every job: ``bin/chaos [SCENARIO …] [--seed N] [--quick] [--json]``.

Each scenario runs real worker processes on a real server of its own. What jobs do is written to a file outside of
Redis, and what is recorded is followed from beside; the ledger compares the two. It exits with 1 when a job was lost,
recorded twice or recorded over, when something is left behind, or when a promise of the scenario's own is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import structlog

from tests.chaos import connections, crash_points, processes, servers, soak
from tests.chaos.arena import Plan
from tests.chaos.ledger import Row, table
from tests.ha import scenarios as failovers

Scenario = Callable[[Plan], Awaitable[list[Row]]]
SCENARIOS: Final[dict[str, Scenario]] = {
    "crash-points": crash_points.crash_points,
    "reply-lost": connections.reply_lost,
    "kill": processes.kill,
    "stall": processes.stall,
    "redis-kill": servers.redis_kill,
    "network": connections.network,
    "redis-refuses": servers.redis_refuses,
    "term": processes.term,
    "sentinel": failovers.sentinel,
    "cluster": failovers.cluster,
    "durable": failovers.durable,
    "durable-by-one": failovers.durable_by_one,
}
_AT_ONCE: Final = 2
"""Scenarios of a quick run that share the machine; they mostly wait."""


def _say(what: str) -> None:
    print(f"chaos: {what}", file=sys.stderr)


async def run(name: str, scenario: Scenario, *, seed: int, quick: bool) -> list[Row]:
    """One scenario, in a directory of its own; one that breaks down is a broken promise."""
    began = time.monotonic()
    _say(f"{name} …")
    with tempfile.TemporaryDirectory(prefix="jobqueue-chaos-", ignore_cleanup_errors=True) as directory:
        try:
            rows = await scenario(Plan(directory=Path(directory), seed=seed, quick=quick))
        except Exception as exc:  # noqa: BLE001  # told in the ledger, with those of the other scenarios
            _say(traceback.format_exc())
            rows = [Row(scenario=name, broken=[f"it broke down: {exc!r}"])]
    _say(f"{name} took {time.monotonic() - began:.0f} s")
    return rows


async def run_all(names: Sequence[str], *, seed: int, quick: bool) -> list[Row]:
    """These scenarios, in order; a quick run takes two at a time."""
    turn = asyncio.Semaphore(_AT_ONCE if quick else 1)

    async def in_turn(name: str) -> list[Row]:
        async with turn:
            return await run(name, SCENARIOS[name], seed=seed, quick=quick)

    return [row for rows in await asyncio.gather(*map(in_turn, names)) for row in rows]


def main() -> None:
    """Parse the command line, run, print, and exit."""
    parser = argparse.ArgumentParser(prog="bin/chaos", description="Hurt the engine, and account for every job.")
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(SCENARIOS)}; all when none is named")
    parser.add_argument("--seed", type=int, help="of every random choice; printed, so that a run can be repeated")
    parser.add_argument("--quick", action="store_true", help="smaller numbers, for every change of the code")
    parser.add_argument("--json", action="store_true", help="print the ledger as JSON")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="instead: a steady load, and what it leaves")
    options = parser.parse_args()
    if unknown := set(options.scenario) - set(SCENARIOS):
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    seed = random.randrange(10**6) if options.seed is None else options.seed
    _say(f"seed {seed}")
    logging.disable(logging.WARNING)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    if options.soak is not None:
        rows = asyncio.run(run("soak", soak.lasting(options.soak * 60), seed=seed, quick=False))
    else:
        rows = asyncio.run(run_all(options.scenario or list(SCENARIOS), seed=seed, quick=options.quick))
    print(json.dumps({"seed": seed, "rows": [row.data() for row in rows]}, indent=2) if options.json else table(rows))
    sys.exit(0 if all(row.kept for row in rows) else 1)


if __name__ == "__main__":
    main()
