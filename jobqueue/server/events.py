"""``GET /api/tasks/{id}/events``: a task's life as server-sent events.

``event: status`` carries the whole view as JSON, so a reader may miss any but the last; that is what a slow reader
does: each stream keeps only the newest view for its writer, and one that doesn't drain for `idle_timeout_s` is cut.
The last view is followed by ``event: end``. An event's id is a mark of its view: a reader that comes back with it in
``Last-Event-ID`` isn't sent what it has seen.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator

import structlog
from aiohttp import web

from jobqueue.errors import JobqueueError
from jobqueue.server.context import caller, deps
from jobqueue.server.sse import EventStream, event_stream, last_event_id
from jobqueue.server.streams import closing
from jobqueue.server.tasks import FINISHED, current_view
from jobqueue.views import TaskView

log = structlog.get_logger()


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
        response = web.StreamResponse()
        async with event_stream(request, response) as stream:
            newest = _Newest(first)
            watcher = asyncio.create_task(_watch(using.queue.watch(task_id), newest), name=f"watch {task_id}")
            try:
                await _write(stream, newest, last_event_id(request))
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


async def _write(stream: EventStream, newest: _Newest, seen: str | None) -> None:
    while stream.open:
        view = await newest.get(stream.tick_s)
        if view is None:
            if newest.closed:
                return
            await stream.rest()
            continue
        data = view.model_dump_json()
        mark = f"{zlib.crc32(data.encode()):08x}"
        if mark != seen:
            seen = mark
            await stream.send("status", data, event_id=mark)
        if view.state in FINISHED:
            await stream.send("end", json.dumps({"state": view.state}))
            return
