"""The queues' limits, pauses and holds, draining and purging: what concerns the jobs of all tenants.

Only an operator's key may use these routes. Every change is on record with the key, the queue and the scope before
anything happens; arguments that a hold looks for, and its reason, are not: they may be personal data.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

from aiohttp import web
from pydantic import Field

from jobqueue.errors import Conflict
from jobqueue.limits import MAX_REASON_CHARS, MAX_WHERE, QUEUE, checked_hold, checked_scope, hold_scope, limit_of
from jobqueue.ports import AuditEntry, Control
from jobqueue.server.auth import require_operator
from jobqueue.server.context import deps
from jobqueue.server.models import Body, read_body

MAX_DRAIN_S: Final = 60.0
Count = Annotated[int, Field(strict=True, ge=0)]


class LimitRequest(Body):
    """What a scope may use; what isn't given isn't limited. ``rate`` as in ``60/m``."""

    concurrency: Count | None = None
    rate: str | None = Field(default=None, max_length=40)
    burst: Count | None = None
    weight: float | None = None


class ScopeRequest(Body):
    """What is to pause, or to go on; the whole queue if it isn't said."""

    scope: str = Field(default=QUEUE, max_length=250)


class HoldRequest(Body):
    """Which jobs are held: of a function ("*": of any), with these keyword arguments."""

    function: str
    where: dict[str, str | bool | int | float] = Field(default_factory=dict, max_length=MAX_WHERE)
    reason: str = Field(default="", max_length=MAX_REASON_CHARS)


class DrainRequest(Body):
    """How many seconds the answer may take."""

    timeout_s: float = Field(default=30.0, gt=0, le=MAX_DRAIN_S)


class PurgeRequest(Body):
    """How many jobs the caller expects to go: those that wait, are deferred or wait for another attempt."""

    expected: Count


async def rules(request: web.Request) -> web.Response:
    """``GET /api/queues/{queue}/rules``: every rule, with what it does now."""
    found = await _control(request).rules()
    return web.json_response({"queue": _queue(request), "rules": [rule.to_data() for rule in found]})


async def limit(request: web.Request) -> web.Response:
    """``PUT /api/queues/{queue}/rules/{scope}``: set the scope's limits in place of those it has."""
    control, body = _control(request), await read_body(request, LimitRequest)
    limits = limit_of(body.model_dump())
    scope = checked_scope(request.match_info["scope"], limits)
    await _audit(request, "limit", scope=scope)
    await control.limit(scope, limits)
    return await _one(control, scope)


async def unlimit(request: web.Request) -> web.Response:
    """``DELETE /api/queues/{queue}/rules/{scope}``: 204; its pause ends too."""
    control, scope = _control(request), checked_scope(request.match_info["scope"])
    await _audit(request, "unlimit", scope=scope)
    await control.unlimit(scope)
    return web.Response(status=204)


async def pause(request: web.Request) -> web.Response:
    """``POST /api/queues/{queue}/pause``: start no job of the scope; what runs ends."""
    control, scope = _control(request), checked_scope((await read_body(request, ScopeRequest)).scope)
    await _audit(request, "pause", scope=scope)
    await control.pause(scope)
    return web.json_response({"queue": _queue(request), "scope": scope, "paused": True})


async def resume(request: web.Request) -> web.Response:
    """``POST /api/queues/{queue}/resume``: 404 where the scope has no rule."""
    control, scope = _control(request), checked_scope((await read_body(request, ScopeRequest)).scope)
    await _audit(request, "resume", scope=scope)
    await control.resume(scope)
    return web.json_response({"queue": _queue(request), "scope": scope, "paused": False})


async def hold(request: web.Request) -> web.Response:
    """``PUT /api/queues/{queue}/holds/{name}``: start none of these jobs, until it is lifted."""
    control, body, name = _control(request), await read_body(request, HoldRequest), request.match_info["name"]
    checked_hold(name, function=body.function, where=body.where, reason=body.reason)
    await _audit(request, "hold", hold=name)
    await control.hold(name, function=body.function, where=body.where, reason=body.reason)
    return await _one(control, hold_scope(name))


async def lift(request: web.Request) -> web.Response:
    """``DELETE /api/queues/{queue}/holds/{name}``: 204."""
    control, name = _control(request), request.match_info["name"]
    hold_scope(name)
    await _audit(request, "lift", hold=name)
    await control.lift(name)
    return web.Response(status=204)


async def drain(request: web.Request) -> web.Response:
    """``POST /api/queues/{queue}/drain``: pause it; 200 when nothing of it runs, 202 while something does: repeat."""
    control, body = _control(request), await read_body(request, DrainRequest)
    await _audit(request, "drain")
    try:
        await control.drain(timeout_s=body.timeout_s)
    except TimeoutError:
        running = await control.running()
        return web.json_response({"queue": _queue(request), "drained": False, "running": running}, status=202)
    return web.json_response({"queue": _queue(request), "drained": True, "running": 0})


async def purge(request: web.Request) -> web.Response:
    """``POST /api/queues/{queue}/purge``: cancel what doesn't run yet; 422 when that isn't about what is expected."""
    control, body = _control(request), await read_body(request, PurgeRequest)
    await _audit(request, "purge", expected=str(body.expected))
    return web.json_response({"queue": _queue(request), "cancelled": await control.purge(expected=body.expected)})


def _queue(request: web.Request) -> str:
    return request.match_info["queue"]


def _control(request: web.Request) -> Control:
    """The queue's; every route begins here, so none is open to members."""
    require_operator(request)
    return deps(request).queue.control(_queue(request))


async def _one(control: Control, scope: str) -> web.Response:
    for rule in await control.rules():
        if rule.scope == scope:
            return web.json_response(rule.to_data())
    raise Conflict(f"the rule for {scope} was removed at once by somebody else")


async def _audit(request: web.Request, verb: str, **detail: str) -> None:
    who = require_operator(request)
    entry = AuditEntry(
        tenant_id=who.tenant_id, actor=who.actor, action=f"queue.{verb}", subject=_queue(request),
        at=datetime.now(UTC), detail=detail,
    )  # fmt: skip
    async with deps(request).records.unit() as unit:
        await unit.audit(entry)
