"""Failovers under load: ``python -m tests.ha [SCENARIO …] [--seed N] [--quick]``, one JSON row each."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys

from tests.ha.scenarios import SCENARIOS

MUST_BE_ZERO = {
    "sentinel": ("doubled",),
    "cluster": ("doubled",),
    "durable": ("doubled", "lost"),
    "durable-by-one": ("doubled",),
}


def main() -> None:
    """Run the named scenarios, or all; exit with 1 when one broke its promise."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.ha", description="Failovers under load, every job accounted."
    )
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(SCENARIOS)}; all when none is named")
    parser.add_argument("--seed", type=int, help="of every random choice; printed")
    parser.add_argument("--quick", action="store_true", help="fewer failovers")
    options = parser.parse_args()
    if unknown := sorted(set(options.scenario) - SCENARIOS.keys()):
        parser.error(f"no scenario {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    seed = random.randrange(10**6) if options.seed is None else options.seed
    sys.stderr.write(f"seed {seed}\n")
    broken = False
    for name in options.scenario or SCENARIOS:
        row = asyncio.run(SCENARIOS[name](seed, options.quick))
        sys.stdout.write(json.dumps(row, indent=2) + "\n")
        broken |= any(row[column] for column in MUST_BE_ZERO[name])
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
