"""A flow as people see it: its steps by their jobs, its groups by their counts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from jobqueue.broker.flowreader import FlowReader
from jobqueue.broker.look import look_at_job
from jobqueue.broker.storedflow import StoredFlow
from jobqueue.errors import InvalidInput
from jobqueue.flows import FlowState, OnFailure, Step, StepState
from jobqueue.job import State
from jobqueue.views import ChildrenPage, ChildView, StepView, TaskView

MAX_PAGE: Final = 200
_LIVE: Final = frozenset({State.QUEUED, State.DEFERRED, State.RUNNING, State.RETRYING})
_NOT_YET: Final = frozenset({"waiting", "queued", "deferred"})
_FACTS: Final = frozenset({"attempt", "done", "total", "message", "seconds", "error"})
Looked = tuple[StepView, Any]
"""A step, and the result of its job."""


class FlowViews:
    """Looks at flows of one Redis."""

    def __init__(self, redis: Any, flows: FlowReader) -> None:
        self._redis = redis
        self._flows = flows

    async def flow(self, stored: StoredFlow) -> TaskView:
        """The view of a flow. Its cost grows with its steps, not with their children."""
        settled = stored.settled()
        looked = await asyncio.gather(*(self._step(stored, step, settled[step.name]) for step in stored.flow.steps))
        return _task_view(stored, looked)

    async def children(self, stored: StoredFlow, name: str, *, offset: int, limit: int) -> ChildrenPage:
        """A page of a group's children, in order.

        Raises:
            InvalidInput: there is no such step, it is no group, or there is no such page.
        """
        groups = {step.name: step for step in stored.flow.steps if step.is_group}
        if (step := groups.get(name)) is None:
            has = ", ".join(groups) or "none"
            raise InvalidInput(f"task {stored.flow.id} has no step {name!r} with children; those with are: {has}")
        if offset < 0 or not 1 <= limit <= MAX_PAGE:
            raise InvalidInput(f"offset {offset}, limit {limit}: from 0 on, and 1 to {MAX_PAGE} children at once")
        total = stored.size(step)
        indexes = range(offset, min(offset + limit, total))
        states = await self._flows.child_states(stored, step, indexes)
        looks = (self._child(stored, step, n, state) for n, state in zip(indexes, states, strict=True))
        return ChildrenPage(step=name, total=total, offset=offset, children=await asyncio.gather(*looks))

    async def _child(self, stored: StoredFlow, step: Step, index: int, ended: StepState) -> ChildView:
        job_id = stored.job_id(step, index)
        state, facts, _ = await self._job(step, job_id)
        return ChildView(index=index, job_id=job_id, state=_shown(ended, state), **facts)

    async def _step(self, stored: StoredFlow, step: Step, settled: StepState) -> Looked:
        if step.is_group:
            return _group(stored, step, settled), None
        shown = StepView(
            name=step.name, job_id=stored.job_id(step), queue=step.queue, function=step.function, state=settled.value
        )
        if settled is StepState.SKIPPED:
            return shown, None
        state, facts, result = await self._job(step, shown.job_id)
        return shown.model_copy(update={"state": _shown(settled, state), **facts}), result

    async def _job(self, step: Step, job_id: str) -> tuple[State, dict[str, Any], Any]:
        """Where a job stands, what its view tells of it, and its result."""
        state, facts = await look_at_job(self._redis, self._flows.keys(step), job_id)
        return state, {name: value for name, value in facts.items() if name in _FACTS}, facts.get("result")


def _shown(ended: StepState, state: State) -> str:
    """What the flow knows of a job's end, unless it lives again; else what the job's keys tell."""
    if ended is not StepState.WAITING and (ended is StepState.SUCCEEDED or state not in _LIVE):
        return ended.value
    return "waiting" if state is State.UNKNOWN else state.value


def _group(stored: StoredFlow, step: Step, settled: StepState) -> StepView:
    counts = stored.counts[step.name]
    total, cancelled, state = counts.total or 0, counts.cancelled, settled.value
    if settled is StepState.WAITING and counts.total is not None:
        state = "running" if counts.ended else "queued" if step.name in stored.queued else "waiting"
        if stored.state is FlowState.CANCELLED and stored.ended_ms is not None:
            state, cancelled = "cancelled", total - counts.succeeded - counts.failed  # most never came to run
    return StepView(
        name=step.name, job_id=stored.job_id(step), queue=step.queue, function=step.function, state=state,
        done=counts.succeeded + counts.failed + cancelled, total=total, children=total, succeeded=counts.succeeded,
        failed=counts.failed, cancelled=cancelled, error=stored.errors.get(step.name),
        message=f"{counts.failed} failed" if counts.failed else "", seconds=_seconds(stored, step, settled),
    )  # fmt: skip


def _seconds(stored: StoredFlow, step: Step, settled: StepState) -> float | None:
    """How long an ended group has taken, by the clocks of whoever began it and of Redis."""
    began_ms, last_ms = stored.began_ms.get(step.name), stored.last_ms.get(step.name)
    if settled is StepState.WAITING or began_ms is None or last_ms is None:
        return None
    return max(last_ms - began_ms, 1) / 1000


def is_over(stored: StoredFlow, steps: Sequence[StepView]) -> bool:
    """Whether nothing of the flow will run any more."""
    live = {step.name for step in steps if not step.children and step.state in _LIVE}
    match stored.state:
        case FlowState.RUNNING:
            return False
        case FlowState.FAILED:  # unless what failed is being replayed
            return not any(stored.states.get(name) is StepState.FAILED for name in live)
        case FlowState.CANCELLED:  # unless a job hasn't heeded it yet
            stopping = stored.ended_ms is None and any(step.children and step.state == "running" for step in steps)
            return not live and not stopping
        case FlowState.SUCCEEDED:
            return True


def _task_view(stored: StoredFlow, looked: Sequence[Looked]) -> TaskView:
    steps = [view for view, _ in looked]
    over = is_over(stored, steps)
    state = stored.state.value if over else "running"
    if not over and all(step.state in _NOT_YET for step in steps):
        state = "queued"
    results = {view.name: result for view, result in looked if result is not None}
    parts = [_part(step, view) for step, view in zip(stored.flow.steps, steps, strict=True)]
    return TaskView(
        id=stored.flow.id,
        kind=stored.flow.kind,
        tenant_id=stored.flow.tenant_id,
        state=state,
        progress=round(sum(parts) / len(parts), 3),
        steps=steps,
        created_at=stored.flow.created_at,
        finished_at=datetime.fromtimestamp(stored.ended_ms / 1000, UTC) if over and stored.ended_ms else None,
        error=stored.error if over else None,
        result=results or None,
    )


def _part(step: Step, view: StepView) -> float:
    """How much of a step is done, 0 to 1: what the flow goes on without counts as done."""
    if view.state in {"succeeded", "skipped"}:
        return 1.0
    if view.state in {"failed", "cancelled"} and step.on_failure is not OnFailure.FAIL:
        return 1.0
    if not view.total or not (view.children or view.state == "running"):
        return 0.0
    return min(view.done / view.total, 1.0)
