"""Server-sent events (WHATWG HTML, section 9.2): one stream, from its first byte to whatever ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from jobqueue.server.context import Deps, deps

# aiohttp doesn't wake a handler whose client has gone; this is how soon a silent stream notices, or a stopping server.
TICK_S: Final = 1.0
_RETRY_MS: Final = 3_000


class EventStream:
    """An open stream; made by `event_stream`."""

    def __init__(self, request: web.Request, response: web.StreamResponse, using: Deps) -> None:
        self._request = request
        self._response = response
        self._stopping = using.stopping
        self._limits = using.limits
        self._now = asyncio.get_running_loop().time
        self._written_at = self._now()
        self._cut = False

    @property
    def open(self) -> bool:
        """Whether anybody reads on, and the server goes on."""
        return not (self._cut or self._stopping.is_set() or self._request.transport is None)

    @property
    def tick_s(self) -> float:
        """How long to wait for something to send before `rest`."""
        return min(TICK_S, self._limits.heartbeat_s)

    async def send(self, event: str, data: str, *, event_id: str | None = None) -> None:
        """Send an event; a reader that doesn't make room for it within ``idle_timeout_s`` is cut."""
        await self.write((f"id: {event_id}\n" if event_id else "") + f"event: {event}\ndata: {data}\n\n")

    async def rest(self) -> None:
        """There is nothing to send: a comment, when it is time for one."""
        if self._now() - self._written_at >= self._limits.heartbeat_s:
            await self.write(": still here\n\n")

    async def write(self, chunk: str) -> None:
        """Send these lines."""
        try:
            async with asyncio.timeout(self._limits.idle_timeout_s):
                await self._response.write(chunk.encode())
        except (ConnectionError, TimeoutError):
            self._cut = True
        self._written_at = self._now()


@asynccontextmanager
async def event_stream(request: web.Request, response: web.StreamResponse) -> AsyncIterator[EventStream]:
    """Begin the answer."""
    response.headers["Content-Type"] = "text/event-stream; charset=utf-8"
    response.headers["X-Accel-Buffering"] = "no"
    await response.prepare(request)
    stream = EventStream(request, response, deps(request))
    await stream.write(f"retry: {_RETRY_MS}\n\n")
    yield stream


def last_event_id(request: web.Request) -> str | None:
    """Where a reader that comes back has left off: as its header says, or ``?after=``."""
    return request.headers.get("Last-Event-ID") or request.query.get("after") or None
