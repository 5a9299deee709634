"""What other services do with flows; mixed into the client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from typing import Any, Final

from jobqueue.broker.events import EventHub
from jobqueue.broker.flowmend import mend
from jobqueue.broker.flowstore import FlowStore
from jobqueue.broker.flowviews import FlowViews
from jobqueue.broker.keys import QueueKeys
from jobqueue.broker.remedy import answering
from jobqueue.broker.storedflow import StoredFlow
from jobqueue.errors import Conflict, InvalidInput
from jobqueue.flows import Flow, FlowState, Step, StepState, group, replayed
from jobqueue.job import new_id
from jobqueue.ports import CancelAnswer
from jobqueue.views import ChildrenPage, TaskView

_FINISHED: Final = frozenset({"succeeded", "failed", "cancelled"})


class FlowVerbs:
    """The verbs of flows, which the product calls tasks. Implements a part of `jobqueue.ports.TaskQueue`."""

    _redis: Any
    _keys: dict[str, QueueKeys]
    _flows: FlowStore
    _events: EventHub

    async def _cancel(self, keys: QueueKeys, job_id: str) -> str:
        """Cancel one job, and say what became of it."""
        raise NotImplementedError

    # ── starting and watching ────────────────────────────────────────────────────────────────────────────────────

    async def enqueue_flow(
        self, *parts: Step | tuple[Step, ...], tenant_id: str, kind: str = "flow", flow_id: str | None = None
    ) -> str:
        """Start a flow of these parts (of `jobqueue.flows`: `chain`, `group`, `batch`, or steps); its id.

        Raises `InvalidInput` as `Flow` and `submit` do.
        """
        flow = Flow(
            id=flow_id or new_id("task"), kind=kind, tenant_id=tenant_id, created_at=datetime.now(UTC),
            steps=group(*parts),
        )  # fmt: skip
        await self.submit(flow)
        return flow.id

    async def submit(self, flow: Flow) -> bool:
        """Store a flow and enqueue what is ready; False when the id is taken.

        Safe to repeat after an error: that completes what the error cut off, and brings back what a failover has
        taken. Of a flow that is over, the end is told once more.

        Raises:
            InvalidInput: a step's queue isn't configured; the flow is too large, or holds what isn't plain data.
        """
        for step in flow.steps:
            if step.queue not in self._keys:
                raise InvalidInput(f"step {step.name}: no queue {step.queue!r}; there are {', '.join(self._keys)}")
        with answering():
            created = await self._flows.create(flow)
            if (stored := await self._flows.read(flow.id)) is not None:
                stored = await self._flows.carry_on(stored)
                if not created:
                    stored = await mend(self._redis, self._flows, stored)
                if stored.state is not FlowState.RUNNING:
                    await self._flows.look_again(stored)
            return created

    async def view(self, task_id: str) -> TaskView:
        """The live state of a task. Raises `NotFound` when Redis doesn't know it (any more)."""
        with answering():
            return await FlowViews(self._redis, self._flows).flow(await self._flows.get(task_id))

    async def children(self, task_id: str, step: str, *, offset: int = 0, limit: int = 50) -> ChildrenPage:
        """Some of the children of a task's step, in order.

        Raises:
            NotFound: as `view`.
            InvalidInput: it has no such step with children, or there is no such page.
        """
        with answering():
            stored = await self._flows.get(task_id)
            return await FlowViews(self._redis, self._flows).children(stored, step, offset=offset, limit=limit)

    async def watch(self, task_id: str) -> AsyncIterator[TaskView]:
        """The task now and after each change, until it has finished. Raises `NotFound` as `view`.

        The children of a group are not watched one by one: their flow tells when some have ended.
        """
        view = await self.view(task_id)
        jobs = [step.job_id for step in view.steps if not step.children]
        async with self._events.watch([task_id, *jobs]) as watch:
            shown = None
            while True:
                watch.changed.clear()
                view = await self.view(task_id)
                if view != shown:
                    yield view
                    shown = view
                if view.state in _FINISHED:
                    return
                await watch.wait()

    # ── stopping ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def cancel(self, task_id: str) -> CancelAnswer:
        """Cancel every job of a task; waiting ones at once, running ones within a second. Raises `NotFound`.

        Children go a thousand a round trip; one that comes to run while the others go is asked to stop, too.
        """
        with answering():
            stored = await self._flows.get(task_id)
            if stored.state is FlowState.SUCCEEDED:
                return "finished"
            began = stored.state is FlowState.RUNNING
            # First the flow, so that a step which ends meanwhile starts no further one; then the jobs there are.
            stored = await self._flows.cancel(stored)
            withdrawn, running = await self._flows.withdraw(
                stored, "cancel", steps=[step for step in stored.startable() if step.is_group]
            )
            answers = [await self._cancel(self._flows.keys(s), stored.job_id(s)) for s in _single_jobs(stored)]
            if running or "cancelling" in answers:
                return "cancelling"
            did = began or withdrawn > 0 or "cancelled" in answers or stored.ended_ms is None
            if did or stored.told is None:  # a cancel that was cut off is completed by its repetition
                await self._flows.look_again(await self._flows.end(stored))
            return "cancelled" if did else "finished"

    # ── replaying ────────────────────────────────────────────────────────────────────────────────────────────────

    async def replay_flow(self, task_id: str, step: str | None = None, *, failed_only: bool = False) -> None:
        """Do a task that is over again: the whole, or a step with everything that comes after it.

        Args:
            task_id: of the task.
            step: name of the step to begin with.
            failed_only: begin with what failed or was cancelled, and do only those children of groups again.

        What was done before under the same step is forgotten, its dead letters included.

        Raises:
            NotFound: as `view`.
            InvalidInput: it has no such step.
            Conflict: it isn't over, or nothing of it failed.
        """
        with answering():
            stored = await self._flows.get(task_id)
            if stored.state is FlowState.RUNNING:
                await self._flows.carry_on(stored)  # a replay that was cut off is completed by its repetition
                raise Conflict(f"task {task_id} runs: cancel it first, or wait until it has finished")
            resets = replayed(stored.flow, stored.states, stored.counts, step=step, failed_only=failed_only)
            if await self._alive(stored):
                raise Conflict(f"some jobs of task {task_id} wait or run still: cancel it first, or wait for them")
            fresh = await self._flows.replay(stored, resets)
            if fresh is None:
                raise Conflict(f"task {task_id} was replayed by somebody else meanwhile")
            await self._flows.carry_on(fresh)

    async def _alive(self, stored: StoredFlow) -> bool:
        """Whether jobs of the flow wait or run: what its end left running, or a dead letter that is being replayed."""
        _, alive = await self._flows.withdraw(stored, "look")
        return alive > 0 or await self._flows.replaying(stored)


def _single_jobs(stored: StoredFlow) -> Iterable[Step]:
    """The steps of one job that may wait or run, a replayed dead letter of one that failed included."""
    begun = {step.name for step in stored.startable()}
    bad = {StepState.FAILED, StepState.CANCELLED}
    return [s for s in stored.flow.steps if not s.is_group and (s.name in begun or stored.states.get(s.name) in bad)]
