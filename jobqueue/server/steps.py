"""The steps of a task: done again, and the children of a group of jobs."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from aiohttp import web

from jobqueue.errors import Conflict, InvalidInput, NotFound
from jobqueue.flows import Flow
from jobqueue.ports import AuditEntry, TaskRecord, UnitOfWork
from jobqueue.server.context import Deps, caller, deps
from jobqueue.server.models import ReplayRequest, read_body
from jobqueue.server.tasks import FINISHED, current_view


async def replay(request: web.Request) -> web.Response:
    """``POST /api/tasks/{id}/replay``: 202 once the task runs again, 409 while it still does."""
    using, who, task_id = deps(request), caller(request), request.match_info["id"]
    body = await read_body(request, ReplayRequest)
    detail = {"step": body.step or "", "failed_only": str(body.failed_only).lower()}
    if (await current_view(using, who.tenant_id, task_id)).state not in FINISHED:
        raise Conflict(f"task {task_id} runs: cancel it first, or wait until it has finished")
    async with using.records.unit() as unit:
        record = await _row(unit, who.tenant_id, task_id)
        if record is not None:
            # Its row is without an end first: a replay that is cut off here is looked after as a submit is.
            await unit.reopen_task(who.tenant_id, task_id)
        await unit.audit(
            AuditEntry(
                tenant_id=who.tenant_id, actor=who.actor, action="task.replay", subject=task_id, at=datetime.now(UTC),
                detail=detail,
            )
        )  # fmt: skip
    try:
        await _replay(using, task_id, record, body)
    except (Conflict, InvalidInput, NotFound):
        if record is not None:
            await _close_again(using, record)
        raise
    links = {"status": f"/api/tasks/{task_id}/status", "events": f"/api/tasks/{task_id}/events"}
    return web.json_response({"task_id": task_id, "links": links}, status=202, headers={"Location": links["status"]})


async def _row(unit: UnitOfWork, tenant_id: str, task_id: str) -> TaskRecord | None:
    """None for a flow that another service has enqueued."""
    try:
        return await unit.get_task(tenant_id, task_id)
    except NotFound:
        return None


async def _replay(using: Deps, task_id: str, record: TaskRecord | None, body: ReplayRequest) -> None:
    try:
        await using.queue.replay_flow(task_id, body.step, failed_only=body.failed_only)
    except NotFound:
        if record is None:
            raise
        if body.step or body.failed_only:
            raise NotFound(
                f"how the steps of task {task_id} ended isn't kept any more: replay it whole, without a step"
            ) from None
        await using.queue.submit(Flow.from_data(record.spec))


async def _close_again(using: Deps, record: TaskRecord) -> None:
    at = record.finished_at or datetime.now(UTC)
    async with using.records.unit() as unit:
        await unit.finish_task(record.tenant_id, record.id, state=record.state, error=record.error, at=at)


async def children(request: web.Request) -> web.Response:
    """``GET /api/tasks/{id}/steps/{step}/children?offset=0&limit=50``: some of a group's jobs, in order."""
    using, task_id = deps(request), request.match_info["id"]
    offset, limit = _number(request, "offset", "0"), _number(request, "limit", "50")
    await current_view(using, caller(request).tenant_id, task_id)
    page = await using.queue.children(task_id, request.match_info["step"], offset=offset, limit=limit)
    return web.Response(text=page.model_dump_json(), content_type="application/json")


def _number(request: web.Request, name: str, default: str) -> int:
    text = request.query.get(name, default)
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise InvalidInput(f"{name} must be a number from 0 to 999999")
    return int(text)
