"""A plain arq worker in a process of its own: ``arq tests.integration.stock_worker.Settings``.

Knows the project by its serialisers and its queue's name alone, as any service with plain arq would. ``STOCK_REDIS``
is the server's URL. What its jobs do stands in the Redis list ``ran``, one ``who:id`` each.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from jobqueue.broker.connection import arq_settings, parse
from jobqueue.broker.keys import queue_name
from jobqueue.job import decode, encode
from tests.engine_process import ROOT

RAN: Final = "ran"


async def short(ctx: dict[str, Any], number: int) -> int:
    """Takes a few milliseconds."""
    await ctx["redis"].rpush(RAN, f"{ctx.get('who', 'ours')}:{ctx['job_id']}")
    await asyncio.sleep(number % 7 / 1000)
    return number * number


async def long(ctx: dict[str, Any]) -> str:
    """Never ends under a plain worker."""
    who = ctx.get("who", "ours")
    await ctx["redis"].rpush(RAN, f"{who}:{ctx['job_id']}")
    if who == "stock":
        await asyncio.Event().wait()
    return f"done by {who}, attempt {ctx['job_try']}"


class Settings:
    """What arq's command reads."""

    functions: Final = (short, long)
    queue_name = queue_name("ingest")
    redis_settings = arq_settings(parse(os.environ.get("STOCK_REDIS", "redis://localhost")))
    job_serializer = staticmethod(encode)
    job_deserializer = staticmethod(decode)
    poll_delay = 0.01
    ctx: Final = {"who": "stock"}


@asynccontextmanager
async def stock_worker(url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The process, ended with the block if it still runs."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "arq", "tests.integration.stock_worker.Settings"),
        cwd=ROOT,
        env=os.environ | {"STOCK_REDIS": url},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()
