"""The queue, as the server and the command see it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal, Protocol

from jobqueue.flows import Flow
from jobqueue.limits import QUEUE, Limit, Rule
from jobqueue.scheduling import Schedule, ScheduleView
from jobqueue.views import ChildrenPage, JobEvent, JobView, QueueView, TaskView

CancelAnswer = Literal["cancelled", "cancelling", "finished"]


class ScheduleBook(Protocol):
    """Schedules that enqueue jobs by the clock. Every verb but `create` raises `NotFound` for a name there isn't."""

    def of(self, tenant_id: str) -> ScheduleBook:
        """Those of one tenant, which sees no others; its jobs get its ``tenant_id`` as an argument."""
        ...

    async def list(self) -> list[ScheduleView]: ...
    async def get(self, name: str) -> ScheduleView: ...

    async def create(self, name: str, schedule: Schedule, *, paused: bool = False) -> ScheduleView:
        """`InvalidInput` when a part is no good, `Conflict` when the name is taken or there are too many."""
        ...

    async def update(self, name: str, schedule: Schedule) -> ScheduleView:
        """Replace it, paused or not as it was; `Conflict` when it is a configured one."""
        ...

    async def pause(self, name: str) -> ScheduleView: ...
    async def resume(self, name: str) -> ScheduleView:
        """Go on with the next tick; those during the pause are not made up for."""
        ...

    async def run_now(self, name: str) -> str:
        """Enqueue its job once more, now; the job's id."""
        ...

    async def delete(self, name: str) -> None:
        """`Conflict` when it is a configured one."""
        ...


class Control(Protocol):
    """An operator's hand on one queue. `InvalidInput` for a scope that can't be, `Conflict` for too many rules."""

    async def rules(self) -> list[Rule]:
        """Every rule, with what it does now."""
        ...

    async def limit(self, scope: str, limit: Limit) -> None:
        """Set a scope's limits in place of those it has; running jobs count for it, none is stopped."""
        ...

    async def unlimit(self, scope: str) -> None:
        """Remove a scope's rule, its pause too; `NotFound` where there is none."""
        ...

    async def pause(self, scope: str = QUEUE) -> None:
        """Start no job of a scope until `resume`; running ones end."""
        ...

    async def resume(self, scope: str = QUEUE) -> None:
        """Go on; `NotFound` where the scope has no rule."""
        ...

    async def hold(self, name: str, *, function: str, where: Mapping[str, Any], reason: str = "") -> None:
        """Start no job of ``function`` ("*": of any) whose keyword arguments are these, until `lift`."""
        ...

    async def lift(self, name: str) -> None:
        """End a hold; `NotFound` where there is none."""
        ...

    async def drain(self, *, timeout_s: float | None = None) -> None:
        """Pause the queue, and return when nothing of it runs; `TimeoutError` when something still does."""
        ...

    async def running(self) -> int:
        """How many jobs run now."""
        ...

    async def waiting(self) -> int:
        """How many jobs `purge` would cancel now."""
        ...

    async def purge(self, *, expected: int) -> int:
        """Cancel every job that doesn't run yet; how many. `InvalidInput` when there are not about so many."""
        ...


class JobQueue(Protocol):
    """Single jobs. `NotFound` for one that never was, or of which nothing is kept; `Unavailable` as `TaskQueue`."""

    async def job(self, job_id: str) -> JobView:
        """A job as it stands, without pieces of its result."""
        ...

    async def wait_job(self, job_id: str, *, after: str | None = None, timeout_s: float = 30.0) -> JobView:
        """The job as soon as there is something new after that ``event_id``, or as it is when the time is over.

        With pieces of its result, fifty at most. A job that has ended is not waited for.

        Raises:
            InvalidInput: ``after`` is none of our ids.
        """
        ...

    def job_events(self, job_id: str, *, after: str | None = None) -> AsyncIterator[JobEvent]:
        """What happens to the job, from now on or after an event's id, until it has ended. Raises as `wait_job`."""
        ...

    async def cancel_job(self, job_id: str) -> CancelAnswer:
        """Cancel one job; the answers mean what they do for a task."""
        ...


class TaskQueue(JobQueue, Protocol):
    """Tasks (flows of jobs under one id) and queues. Unreachable Redis raises `Unavailable`."""

    @property
    def schedules(self) -> ScheduleBook:
        """The schedules of these queues."""
        ...

    async def submit(self, flow: Flow) -> bool:
        """Store the flow and enqueue what is ready; False when the id is taken.

        Safe to repeat at any time: nothing is enqueued twice, and what an error or a failover cut off is completed.
        """
        ...

    async def view(self, task_id: str) -> TaskView:
        """The live state of a task, as long as Redis keeps it (a week past its end); else `NotFound`."""
        ...

    async def cancel(self, task_id: str) -> CancelAnswer:
        """Cancel every job of the task.

        ``cancelled`` when none was running, ``cancelling`` while running ones are being stopped (within 1 s),
        ``finished`` when there was nothing left to cancel. `NotFound` as `view`.
        """
        ...

    async def replay_flow(self, task_id: str, step: str | None = None, *, failed_only: bool = False) -> None:
        """Do a task that is over again: the whole, or a step with everything that comes after it.

        With ``failed_only`` it begins with what failed or was cancelled, and does only those children of groups again.

        Raises:
            NotFound: as `view`.
            InvalidInput: it has no such step.
            Conflict: it isn't over, or nothing of it failed.
        """
        ...

    async def children(self, task_id: str, step: str, *, offset: int = 0, limit: int = 50) -> ChildrenPage:
        """Some of the children of a task's step, in order; at most 200.

        Raises:
            NotFound: as `view`.
            InvalidInput: it has no such step with children, or there is no such page.
        """
        ...

    def watch(self, task_id: str) -> AsyncIterator[TaskView]:
        """The task's view now and after each change, until it has finished; `NotFound` as `view`."""
        ...

    async def queues(self) -> list[QueueView]:
        """Every configured queue."""
        ...

    def control(self, queue: str) -> Control:
        """The limits of a queue, and what else an operator does to it; `NotFound` when there is no such queue."""
        ...

    async def record_metrics(self, figures: Mapping[str, Any]) -> None:
        """Keep one snapshot of figures (plain data), for two weeks of one a minute."""
        ...

    async def ping(self) -> None:
        """Raise `Unavailable` unless Redis answers."""
        ...
