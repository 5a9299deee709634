"""One job: how it stands, what happens to it as it goes, its cancellation.

A job is its tenant's, as its payload or result says. One of another tenant, or of none, is as good as missing. Of its
arguments nothing is told.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from aiohttp import web
from pydantic_core import to_json

from jobqueue.errors import Conflict, InvalidInput, JobqueueError, NotFound
from jobqueue.job import State
from jobqueue.ports import AuditEntry
from jobqueue.server.context import Deps, caller, deps
from jobqueue.server.sse import TICK_S, EventStream, event_stream, last_event_id
from jobqueue.server.streams import closing
from jobqueue.views import JobEvent, JobView

log = structlog.get_logger()

MAX_WAIT_S: Final = 60
_ENDS: Final = frozenset({*(state.value for state in State if state.finished), State.UNKNOWN.value})


async def status(request: web.Request) -> web.Response:
    """``GET /api/jobs/{id}``: state, attempt, progress, error, result, and pieces of the result.

    ``?after=`` an ``event_id`` gives newer pieces alone; with ``&wait=`` seconds it answers once there is something
    newer, or when they are over.
    """
    using, after, wait_s = deps(request), request.query.get("after") or None, _wait_s(request)
    await _own(request)
    if wait_s and after:
        with using.streams.slot(caller(request).tenant_id):
            await _wait(request, after, wait_s)
    view = await using.queue.wait_job(request.match_info["id"], after=after, timeout_s=0)
    return web.Response(body=_json(_checked(request, view).model_dump()), content_type="application/json")


def _wait_s(request: web.Request) -> int:
    wait = request.query.get("wait", "0")
    if not re.fullmatch(r"[0-9]{1,2}", wait) or int(wait) > MAX_WAIT_S:
        raise InvalidInput(f"wait must be a number of seconds from 0 to {MAX_WAIT_S}")
    return int(wait)


async def _own(request: web.Request) -> JobView:
    """The caller's job. Raises `NotFound`."""
    return _checked(request, await deps(request).queue.job(request.match_info["id"]))


def _checked(request: web.Request, view: JobView) -> JobView:
    if view.tenant_id != caller(request).tenant_id:
        raise NotFound(f"no job {view.id}")
    return view


async def _wait(request: web.Request, after: str, wait_s: int) -> None:
    """Return when there is something newer, the time is over, the reader has gone, or the server stops."""
    using = deps(request)
    waiting = asyncio.create_task(
        using.queue.wait_job(request.match_info["id"], after=after, timeout_s=wait_s), name="long poll"
    )
    try:
        while not (waiting.done() or using.stopping.is_set() or request.transport is None):
            await asyncio.wait({waiting}, timeout=TICK_S)
        if waiting.done():
            waiting.result()  # raises what it raised
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def events(request: web.Request) -> web.StreamResponse:
    """``GET /api/jobs/{id}/events``: what happens to the job, as server-sent events, until it has ended.

    ``event: state`` and ``event: progress`` are snapshots, ``event: partial`` is a piece of the result; ``event: end``
    is the last. A reader that comes back with ``Last-Event-ID`` misses no piece and sees none twice.
    """
    using, after = deps(request), last_event_id(request)
    view = await _own(request)
    await using.queue.wait_job(view.id, after=after, timeout_s=0)  # is that an id of ours?
    with using.streams.slot(caller(request).tenant_id):
        response = web.StreamResponse()
        async with (
            event_stream(request, response) as stream,
            closing(using.queue.job_events(view.id, after=after)) as found,
        ):
            await _forward(stream, found, view.state)
    return response


async def _forward(stream: EventStream, found: AsyncIterator[JobEvent], state: str) -> None:
    """Send events as they come; the next one is asked for when the reader has taken the last."""
    following: asyncio.Task[JobEvent | None] | None = None
    try:
        while stream.open:
            following = following or asyncio.create_task(_next(found), name="next event")
            await asyncio.wait({following}, timeout=stream.tick_s)
            if not following.done():
                await stream.rest()
                continue
            event, following = following.result(), None
            if event is None:
                if state in _ENDS:
                    await stream.send("end", json.dumps({"state": state}))
                return
            state = event.data["state"] if event.kind == "state" else state
            await stream.send(event.kind, _json(event.data).decode(), event_id=event.id)
    finally:
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def _next(found: AsyncIterator[JobEvent]) -> JobEvent | None:
    try:
        return await anext(found, None)
    except JobqueueError as exc:
        # The stream ends without ``end``; a reader that connects again gets the reason as a proper answer.
        log.info("job events ended early", error_class=type(exc).__name__)
        return None


def _json(data: dict[str, Any]) -> bytes:
    """Any plain data of a job's as JSON: bytes in base 64, what JSON doesn't have as text."""
    return to_json(data, bytes_mode="base64", inf_nan_mode="null", fallback=str)


async def cancel(request: web.Request) -> web.Response:
    """``DELETE /api/jobs/{id}``: 200 cancelled, 202 being cancelled (within a second), 409 finished before."""
    using, who = deps(request), caller(request)
    view = await _own(request)
    await _audit(using, who.tenant_id, who.actor, view.id)
    answer = await using.queue.cancel_job(view.id)
    if answer == "finished":
        raise Conflict(f"job {view.id} has finished already: there is nothing left to cancel")
    return web.json_response({"state": answer}, status=202 if answer == "cancelling" else 200)


async def _audit(using: Deps, tenant_id: str, actor: str, job_id: str) -> None:
    """The intent is on record before anything happens: no job is ever stopped by nobody."""
    entry = AuditEntry(tenant_id=tenant_id, actor=actor, action="job.cancel", subject=job_id, at=datetime.now(UTC))
    async with using.records.unit() as unit:
        await unit.audit(entry)
