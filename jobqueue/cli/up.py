"""``jobqueue up``: the whole product on one machine."""

from __future__ import annotations

import asyncio

import click

from jobqueue import settings
from jobqueue.cli.common import emit, json_option, run
from jobqueue.cli.local import everything
from jobqueue.cli.local_files import log_dir
from jobqueue.cli.render import say
from jobqueue.cli.serve import announce


@click.command()
@click.option("--port", type=click.IntRange(0, 65_535), help="The server's port; 0 takes any free one.")
@json_option
def up(port: int | None, as_json: bool) -> None:
    """Run everything on this machine: Redis, a worker per queue, the server.

    Prints the server's address and a link that opens its page once. A worker that ends is started again; Ctrl-C stops
    all, the server first. JOBQUEUE_REDIS_URL names a Redis of yours to use instead.
    """
    run(_up(settings.load(**({} if port is None else {"port": port})), as_json=as_json), service=True)


async def _up(config: settings.Settings, *, as_json: bool) -> None:
    async with everything(config, say, ports=[config.port]) as served:
        if as_json:
            emit(
                {"url": served.url, "login_url": served.login_url, "data_dir": config.data_dir, "logs": log_dir(config)}
            )
        else:
            announce(served, config)
        await asyncio.Event().wait()
