"""``jobqueue worker``: the workers, without arq's command."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import click

from jobqueue.cli.common import emit, json_option


@click.command()
@click.argument("queues", nargs=-1, metavar="[QUEUE]...")
@click.option("--all", "all_queues", is_flag=True, help="Serve every queue.")
@json_option
def worker(queues: tuple[str, ...], all_queues: bool, as_json: bool) -> None:
    """Run the worker of one queue, of several, or of all.

    Several queues share this process by their weights. SIGTERM and Ctrl-C let running jobs finish first, within
    JOBQUEUE_GRACE_S seconds.
    """
    if bool(queues) == all_queues:
        raise click.UsageError("name the queues to serve, or give --all")
    from arq.worker import run_worker  # noqa: PLC0415  # wrong usage is answered before half the product is imported

    from jobqueue import worker as root  # noqa: PLC0415  # as above

    names = sorted(root.HANDLERS) if all_queues else list(dict.fromkeys(queues))
    if as_json:
        emit({"queues": names, "pid": os.getpid()})
    if len(names) == 1 and names[0] in root.HANDLERS:
        settings_class: Any = getattr(root, f"{names[0].title()}Settings")
        run_worker(settings_class)
    else:
        asyncio.run(root.run_fleet(names))
