"""``bin/bench rivals [--quick] [--only a,b] [--parts throughput,…] [--json FILE] [--publish]``."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tests.bench.rivals.plot import draw
from tests.bench.rivals.report import table
from tests.bench.rivals.roster import CONTENDERS
from tests.bench.rivals.run import FULL, PARTS, QUICK, Run

HERE = Path(__file__).parent


def _some_of(choices: list[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := set(chosen) - set(choices):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: choose from {', '.join(choices)}")
        return [choice for choice in choices if choice in chosen]

    return parse


def main() -> None:
    """Parse arguments, measure, print; with ``--publish`` also write ``results.json`` and ``results.png`` here."""
    names = [contender.name for contender in CONTENDERS]
    parser = argparse.ArgumentParser(prog="bin/bench rivals", description="Our engine beside others, on one server.")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, not what is true")
    parser.add_argument("--only", type=_some_of(names), default=names, help="contenders, by comma")
    parser.add_argument("--parts", type=_some_of(list(PARTS)), default=list(PARTS), help="parts, by comma")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--publish", action="store_true", help="also write results.json and results.png beside this")
    options = parser.parse_args()
    results = asyncio.run(Run(QUICK if options.quick else FULL, options.parts).measure(options.only))
    print(table(results))
    text = json.dumps(asdict(results), indent=2) + "\n"
    for path in [*filter(None, [options.json]), *([HERE / "results.json"] if options.publish else [])]:
        path.write_text(text)
    if options.publish:
        draw(results, HERE / "results.png")


if __name__ == "__main__":
    main()
