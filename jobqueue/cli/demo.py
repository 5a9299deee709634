"""``jobqueue demo``: a document all the way, from scan to report, on this machine."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any, Final

import click

from jobqueue import settings
from jobqueue.cli.api import Api, open_api
from jobqueue.cli.common import FAILED, complain, emit, json_option, run
from jobqueue.cli.follow import Outcome, complaints, send_all
from jobqueue.cli.local import everything
from jobqueue.cli.local_files import log_dir
from jobqueue.cli.render import board, say, show_facts, shown_path, tell
from jobqueue.cli.serve import announce

_PORTS_TRIED: Final = 100
_WORKER_TRIES: Final = 3


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--once", is_flag=True, help="Stop everything when the files are done, instead of staying up.")
@json_option
def demo(files: tuple[Path, ...], once: bool, as_json: bool) -> None:
    """Process a sample document, or your own, from scan to report.

    Starts all of the product on this machine, reachable from this machine alone. The reports land in the data
    directory. With --once it exits with 0 only if every stage of every file succeeded.
    """
    config = settings.load(host="127.0.0.1")
    if not run(_demo(config, files, once=once, as_json=as_json)):
        sys.exit(FAILED)
