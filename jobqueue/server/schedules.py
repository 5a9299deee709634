"""A tenant's schedules: which of its jobs run by the clock.

A key manages its own tenant's and no others: their jobs always get the tenant's own ``tenant_id``, and only job types
that queues.toml opens to tenants can be scheduled. Those of queues.toml itself are the operator's, and not seen here.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from jobqueue.ports import AuditEntry, ScheduleBook
from jobqueue.scheduling import MAX_CRON_CHARS, MAX_JITTER_S, MAX_NAME_CHARS, NAME, Missed, Schedule, ScheduleView
from jobqueue.server.context import caller, deps
from jobqueue.server.models import Body, read_body

Text = Annotated[str, Field(max_length=MAX_NAME_CHARS)]


class ScheduleRequest(Body):
    """What runs, and when."""

    cron: str = Field(max_length=MAX_CRON_CHARS)
    queue: Text
    job: Text
    timezone: Text = "UTC"
    kwargs: dict[str, Any] = Field(default_factory=dict)
    missed: Missed = Missed.SKIP
    jitter_s: float = Field(default=0.0, ge=0, le=MAX_JITTER_S)


class NewScheduleRequest(ScheduleRequest):
    """The same with the schedule's name."""

    name: str = Field(pattern=f"^{NAME}$")
    paused: bool = False


async def latest(request: web.Request) -> web.Response:
    """``GET /api/schedules``: all of the tenant's, by name."""
    views = await _book(request).list()
    return web.json_response({"schedules": [view.to_data() for view in views]})


async def create(request: web.Request) -> web.Response:
    """``POST /api/schedules``: 201 with the schedule; 409 when there is one of that name, or there are too many."""
    body = await read_body(request, NewScheduleRequest)
    schedule = Schedule(**body.model_dump(exclude={"name", "paused"}))
    await _audit(request, "create", body.name)
    view = await _book(request).create(body.name, schedule, paused=body.paused)
    return _answer(view, status=201, headers={"Location": f"/api/schedules/{view.name}"})


async def one(request: web.Request) -> web.Response:
    """``GET /api/schedules/{name}``."""
    return _answer(await _book(request).get(_name(request)))


async def replace(request: web.Request) -> web.Response:
    """``PUT /api/schedules/{name}``: another schedule under the same name; it stays paused if it was."""
    body = await read_body(request, ScheduleRequest)
    await _audit(request, "update", _name(request))
    return _answer(await _book(request).update(_name(request), Schedule(**body.model_dump())))


async def pause(request: web.Request) -> web.Response:
    """``POST /api/schedules/{name}/pause``."""
    await _audit(request, "pause", _name(request))
    return _answer(await _book(request).pause(_name(request)))


async def resume(request: web.Request) -> web.Response:
    """``POST /api/schedules/{name}/resume``: ticks during the pause are not made up for."""
    await _audit(request, "resume", _name(request))
    return _answer(await _book(request).resume(_name(request)))


async def run(request: web.Request) -> web.Response:
    """``POST /api/schedules/{name}/run``: 202 with the id of the job that runs now, once more."""
    await _audit(request, "run", _name(request))
    return web.json_response({"job_id": await _book(request).run_now(_name(request))}, status=202)


async def delete(request: web.Request) -> web.Response:
    """``DELETE /api/schedules/{name}``: 204; jobs that it has enqueued stay."""
    await _audit(request, "delete", _name(request))
    await _book(request).delete(_name(request))
    return web.Response(status=204)


def _book(request: web.Request) -> ScheduleBook:
    return deps(request).queue.schedules.of(caller(request).tenant_id)


def _name(request: web.Request) -> str:
    return request.match_info["name"]


def _answer(view: ScheduleView, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response(view.to_data(), status=status, headers=headers)


async def _audit(request: web.Request, verb: str, name: str) -> None:
    # The intent is on record before anything happens, as with tasks.
    who = caller(request)
    async with deps(request).records.unit() as unit:
        await unit.audit(
            AuditEntry(
                tenant_id=who.tenant_id, actor=who.actor, action=f"schedule.{verb}", subject=name, at=datetime.now(UTC)
            )
        )
