"""``jobqueue serve``: the server alone."""

from __future__ import annotations

import asyncio

import click

from jobqueue import settings
from jobqueue.cli.common import emit, json_option, run
from jobqueue.cli.local import Served, serving
from jobqueue.cli.local_files import key_file
from jobqueue.cli.render import tell
from jobqueue.telemetry import logs


@click.command()
@click.option("--port", type=click.IntRange(0, 65_535), help="The port to listen on; 0 takes any free one.")
@json_option
def serve(port: int | None, as_json: bool) -> None:
    """Run the server alone.

    Redis must run, and workers elsewhere. Logs go to standard error, one JSON object a line.
    """
    config = settings.load(**({} if port is None else {"port": port}))
    logs.configure(config.log_level)
    run(_serve(config, as_json=as_json), service=True)


async def _serve(config: settings.Settings, *, as_json: bool) -> None:
    async with serving(config, ports=[config.port]) as served:
        if as_json:
            emit({"url": served.url, "login_url": served.login_url})
        else:
            announce(served, config)
        await asyncio.Event().wait()


def announce(served: Served, config: settings.Settings) -> None:
    """Tell where the server is and how to get in."""
    tell(f"Server: {served.url}")
    tell(f"Sign in, once and within ten minutes: {served.login_url}")
    tell(f"API key: {key_file(config)}")
