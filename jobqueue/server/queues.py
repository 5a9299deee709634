"""The queues' counts, and whether this server and what it stands on are well."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from jobqueue.errors import Unavailable
from jobqueue.server.context import deps


async def queue_status(request: web.Request) -> web.Response:
    """``GET /api/tasks/queues/status``: every queue with its counts, over all tenants."""
    views = await deps(request).queue.queues()
    return web.json_response({"queues": [view.model_dump(mode="json") for view in views]})


async def live(_request: web.Request) -> web.Response:
    """``GET /livez``: the process answers; nothing else is asked."""
    return web.json_response({"status": "alive"})


async def ready(request: web.Request) -> web.Response:
    """``GET /readyz``: 200 when queue, records and all else needed answer; else 503, naming those that don't."""
    using = deps(request)

    async def answers(ping: Callable[[], Awaitable[None]]) -> bool:
        try:
            async with asyncio.timeout(using.limits.ready_timeout_s):
                await ping()
        except (Unavailable, TimeoutError):
            return False
        return True

    pings = {"queue": using.queue.ping, "records": using.records.ping, **using.also_ready}
    up = await asyncio.gather(*map(answers, pings.values()))
    down = [name for name, is_up in zip(pings, up, strict=True) if not is_up]
    if down:
        return web.json_response({"status": "unavailable", "down": down}, status=503)
    return web.json_response({"status": "ready"})
