"""A folder of files through all of the product: ``bin/corpus DIR [--json] [--again] [--clamd]``.

Real worker processes, an embedded Redis, SQLite: the defaults, in a data directory of its own (JOBQUEUE_DATA_DIR). It
exits with 1 when a file hung, a task had no end, a worker was lost, or a file whose outcome is known beforehand had
another one. Stopped and started again it goes on where it was. ``bin/corpus --build DIR`` writes a corpus of odd and
hostile files with what is expected of each.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from jobqueue import settings
from jobqueue.cli.api import open_api
from jobqueue.cli.common import complain, emit, run
from jobqueue.cli.local import everything
from jobqueue.cli.render import say, tell
from jobqueue.errors import JobqueueError
from tests.clamd_support import running_clamd
from tests.corpus import report
from tests.corpus.catalogue import CATALOGUE, SMOKE
from tests.corpus.census import Census
from tests.corpus.outcomes import Journal, Outcome
from tests.corpus.runner import Run, files_in
from tests.corpus.specimens import build, expectations


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bin/corpus", description=__doc__.partition("\n\n")[2])
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--build", action="store_true", help="write the corpus there, and run nothing")
    parser.add_argument("--smoke", action="store_true", help="with --build: only a few files of each kind")
    parser.add_argument("--again", action="store_true", help="forget what earlier runs found")
    parser.add_argument("--at-once", type=int, default=4, metavar="N", help="files in the system at a time (4)")
    parser.add_argument("--limit-s", type=float, default=300.0, metavar="S", help="after which a file has hung (300)")
    parser.add_argument("--clamd", action="store_true", help="start a clamd that knows the EICAR test file")
    parser.add_argument("--json", action="store_true", dest="as_json", help="print one JSON document")
    options = parser.parse_args()
    if options.at_once < 1 or options.limit_s <= 0:
        parser.error("--at-once and --limit-s are 1 or more")
    if not options.build and not options.directory.is_dir():
        parser.error(f"{options.directory} is not a folder; --build makes one")
    return options


async def _through(
    options: argparse.Namespace, config: settings.Settings, journal: Journal
) -> tuple[list[Outcome], Census]:
    census = Census()

    def hear(said: str) -> None:
        census.note(said)
        say(said)

    ports = range(config.port, min(config.port + 100, 65_536))
    async with everything(config, hear, ports=ports) as served, open_api(served.url, served.api_key) as api:
        plan = Run(
            api=api,
            journal=journal,
            at_once=options.at_once,
            limit_s=options.limit_s,
            expected=expectations(options.directory),
        )
        async with census.taking():
            outcomes = await plan.all(files_in(options.directory))
    return outcomes, census


def main() -> int:
    """The exit code."""
    options = _options()
    if options.build:
        specimens = SMOKE if options.smoke else CATALOGUE
        build(options.directory, specimens)
        tell(f"{len(specimens)} files are in {options.directory}")
        return 0
    with ExitStack() as stack:
        try:
            if options.clamd:  # by the environment, where the workers find it too
                os.environ["JOBQUEUE_CLAMD_URL"] = stack.enter_context(running_clamd(limit_mib=100))
            config = settings.load(host="127.0.0.1")
            journal = Journal.open(config.data_dir / "corpus.jsonl", anew=options.again)
            began = time.monotonic()
            outcomes, census = run(_through(options, config, journal))
        except JobqueueError as exc:
            return complain(str(exc))
    seconds = time.monotonic() - began
    if options.as_json:
        emit(report.as_data(outcomes, census, seconds=seconds))
    else:
        report.show(outcomes, census, seconds=seconds)
    return 0 if report.is_well(outcomes, census) else 1


if __name__ == "__main__":
    sys.exit(main())
