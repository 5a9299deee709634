"""One task: its state and its cancellation; and the list of the latest.

The queue knows a task's live state for as long as Redis keeps it; the records know for good that it was submitted
and how it ended.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from jobqueue.errors import Conflict, InvalidInput, NotFound, Unavailable
from jobqueue.flows import Flow
from jobqueue.job import State
from jobqueue.ports import AuditEntry, TaskRecord
from jobqueue.server.context import Deps, caller, deps
from jobqueue.server.models import TaskItem
from jobqueue.views import StepView, TaskView

FINISHED: Final = frozenset(state.value for state in State if state.finished)
_MAX_LISTED: Final = 200
_LOOKUPS_AT_ONCE: Final = 16


def view_of(record: TaskRecord) -> TaskView:
    """A task as its row knows it: whole, but blind to how far each step came unless all succeeded."""
    flow = Flow.from_data(record.spec)
    succeeded = record.state == State.SUCCEEDED
    step_state = State.SUCCEEDED if succeeded else State.UNKNOWN
    return TaskView(
        id=record.id,
        kind=record.kind,
        tenant_id=record.tenant_id,
        state=record.state,
        progress=1.0 if succeeded else 0.0,
        steps=[
            StepView(name=s.name, job_id=flow.job_id(s), queue=s.queue, function=s.function, state=step_state)
            for s in flow.steps
        ],
        created_at=record.created_at,
        finished_at=record.finished_at,
        error=record.error,
    )


async def current_view(using: Deps, tenant_id: str, task_id: str) -> TaskView:
    """The live view of a tenant's task, or its row's when the queue has forgotten it.

    Raises:
        NotFound: this tenant has no such task.
        Unavailable: the queue can't be asked, and the row doesn't say that the task has finished.
    """
    try:
        view = await using.queue.view(task_id)
        if view.tenant_id == tenant_id:
            return view
        away = None
    except NotFound:
        away = None
    except Unavailable as exc:
        away = exc
    # A task of another tenant is looked for here too, so its answer is that of a task that never was.
    async with using.records.unit() as unit:
        record = await unit.get_task(tenant_id, task_id)
    if away and record.state not in FINISHED:
        raise away
    return view_of(record)


async def status(request: web.Request) -> web.Response:
    """``GET /api/tasks/{id}/status``."""
    view = await current_view(deps(request), caller(request).tenant_id, request.match_info["id"])
    return web.Response(text=view.model_dump_json(), content_type="application/json")


async def latest(request: web.Request) -> web.Response:
    """``GET /api/tasks?limit=50``: the tenant's tasks, newest first; while Redis is away, as their rows know them."""
    using = deps(request)
    limit = request.query.get("limit", "50")
    if not re.fullmatch(r"[0-9]{1,3}", limit) or not 1 <= int(limit) <= _MAX_LISTED:
        raise InvalidInput(f"limit must be a number from 1 to {_MAX_LISTED}")
    async with using.records.unit() as unit:
        records = await unit.list_tasks(caller(request).tenant_id, limit=int(limit))
    live = await _live_views(using, [record.id for record in records])
    items = [
        TaskItem(**dict(live.get(record.id) or view_of(record)), file_id=record.file_id, contract_id=record.contract_id)
        for record in records
    ]
    return web.json_response({"tasks": [item.model_dump(mode="json") for item in items]})


async def _live_views(using: Deps, task_ids: Sequence[str]) -> dict[str, TaskView]:
    views: dict[str, TaskView] = {}
    slots = asyncio.Semaphore(_LOOKUPS_AT_ONCE)

    async def look(task_id: str) -> None:
        async with slots:
            try:
                views[task_id] = await using.queue.view(task_id)
            except NotFound:
                return

    try:
        async with asyncio.TaskGroup() as group:
            for task_id in task_ids:
                group.create_task(look(task_id), name=f"view {task_id}")
    except* Unavailable:  # the first failure calls off the other lookups: all would fail, one timeout after another
        views.clear()
    return views


async def cancel(request: web.Request) -> web.Response:
    """``DELETE /api/tasks/{id}``: 200 cancelled, 202 being cancelled, 409 finished before."""
    using, who, task_id = deps(request), caller(request), request.match_info["id"]
    now = datetime.now(UTC)
    view = await current_view(using, who.tenant_id, task_id)
    # The intent is on record before anything happens: no task is ever stopped by nobody.
    async with using.records.unit() as unit:
        await unit.audit(
            AuditEntry(tenant_id=who.tenant_id, actor=who.actor, action="task.cancel", subject=task_id, at=now)
        )
    try:
        answer = await using.queue.cancel(task_id)
    except NotFound:  # forgotten after its end, or accepted and never queued
        answer = "finished" if view.state in FINISHED else "cancelled"
    if answer == "finished":
        raise Conflict(f"task {task_id} has finished already: there is nothing left to cancel")
    if answer == "cancelling":
        return web.json_response({"state": answer}, status=202)
    # No worker had a part of it, so none will record its end.
    async with using.records.unit() as unit:
        await unit.finish_task(who.tenant_id, task_id, state=State.CANCELLED, error=None, at=now)
    return web.json_response({"state": answer})
