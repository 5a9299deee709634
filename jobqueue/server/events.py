"""``GET /api/tasks/{id}/events``: a task's life as server-sent events (WHATWG HTML, section 9.2).

``event: status`` carries the whole view as JSON, so a reader may miss any but the last; that is what a slow reader
does: each stream keeps only the newest view for its writer, and one that doesn't drain for `idle_timeout_s` is cut.
The last view is followed by ``event: end``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Final

import structlog
from aiohttp import web

from jobqueue.errors import JobqueueError
from jobqueue.server.context import Deps, caller, deps
from jobqueue.server.streams import closing
from jobqueue.server.tasks import FINISHED, current_view
from jobqueue.tasks import TaskView

log = structlog.get_logger()

# aiohttp doesn't wake a handler whose client has gone; this is how soon a silent stream notices, or a stopping server.
_TICK_S: Final = 1.0
_RETRY_MS: Final = 3_000


class _Newest:
    """Hands the newest view from the watcher to the writer; older ones that were not fetched are dropped."""

    def __init__(self, first: TaskView) -> None:
        self._view: TaskView | None = first
        self._ready = asyncio.Event()
        self._ready.set()
        self.closed = False

    def put(self, view: TaskView) -> None:
        self._view = view
        self._ready.set()

    def close(self) -> None:
        self.closed = True
        self._ready.set()

    async def get(self, timeout_s: float) -> TaskView | None:
        """The newest view not fetched yet, or None after ``timeout_s`` or when there will be no more."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._ready.wait()
        except TimeoutError:
            return None
        view, self._view = self._view, None
        if not self.closed:
            self._ready.clear()
        return view


async def events(request: web.Request) -> web.StreamResponse:
    """Stream the task's views until it has finished."""
    using, tenant_id, task_id = deps(request), caller(request).tenant_id, request.match_info["id"]
    first = await current_view(using, tenant_id, task_id)
    with using.streams.slot(tenant_id):
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
        )
        await response.prepare(request)
        newest = _Newest(first)
        watcher = asyncio.create_task(_watch(using.queue.watch(task_id), newest), name=f"watch {task_id}")
        try:
            await _write(request, response, newest, using)
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
    return response


async def _watch(views: AsyncIterator[TaskView], newest: _Newest) -> None:
    try:
        async with closing(views):
            async for view in views:
                newest.put(view)
    except JobqueueError as exc:
        # The stream ends without ``end``; a reader that connects again gets the reason as a proper answer.
        log.info("watch ended early", error_class=type(exc).__name__)
    finally:
        newest.close()


async def _write(request: web.Request, response: web.StreamResponse, newest: _Newest, using: Deps) -> None:
    now = asyncio.get_running_loop().time
    limits = using.limits
    last: TaskView | None = None
    number, written_at = 0, now()
    chunk = f"retry: {_RETRY_MS}\n\n"
    while not using.stopping.is_set() and request.transport is not None:
        view = await newest.get(min(_TICK_S, limits.heartbeat_s))
        if view is not None and view != last:
            number, last = number + 1, view
            chunk += f"id: {number}\nevent: status\ndata: {view.model_dump_json()}\n\n"
            if view.state in FINISHED:
                chunk += f"event: end\ndata: {json.dumps({'state': view.state})}\n\n"
        elif now() - written_at >= limits.heartbeat_s:
            chunk += ": still here\n\n"
        if chunk:
            try:
                async with asyncio.timeout(limits.idle_timeout_s):
                    await response.write(chunk.encode())
            except (ConnectionError, TimeoutError):
                return
            chunk, written_at = "", now()
        if (last is not None and last.state in FINISHED) or (newest.closed and view is None):
            return
