"""Enqueueing a `jobqueue.typed.Task`, and the handle of the job that it becomes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Generic, Protocol, cast

from arq.utils import timestamp_ms, to_ms, to_unix_ms

from jobqueue.broker.connection import AnyPool
from jobqueue.broker.enqueue import NewJob
from jobqueue.broker.keys import QueueKeys
from jobqueue.broker.options import Options
from jobqueue.broker.remedy import answering
from jobqueue.broker.scripts import EnqueueAnswer
from jobqueue.errors import InvalidInput
from jobqueue.job import State, new_id
from jobqueue.ports import CancelAnswer
from jobqueue.typed import Declaration, ResultT, Task

_PLAIN: Final = Options()


class Jobs(Protocol):
    """What a handle and its making ask of `jobqueue.client.Client`."""

    pool: AnyPool

    def keys_of(self, job_id: str) -> QueueKeys: ...
    async def state(self, job_id: str) -> State: ...
    async def progress(self, job_id: str) -> tuple[int, int, str] | None: ...
    async def result(self, job_id: str, *, timeout_s: float | None = None) -> Any: ...
    async def cancel_job(self, job_id: str) -> CancelAnswer: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle(Generic[ResultT]):
    """A job of a declared type.

    Attributes:
        id: of the job that does the work: the new one, or the one that kept it off the queue.
        answer: ``enqueued``, or what became of it otherwise, as `jobqueue.broker.scripts.Enqueued` has it.
    """

    id: str
    answer: EnqueueAnswer
    declared: Declaration = field(repr=False)
    jobs: Jobs = field(repr=False)

    async def state(self) -> State:
        """Where it stands; ``UNKNOWN`` when its result has expired."""
        return await self.jobs.state(self.id)

    async def progress(self) -> tuple[int, int, str] | None:
        """Its last progress report while it runs: done, total, message."""
        return await self.jobs.progress(self.id)

    async def result(self, *, timeout_s: float | None = None) -> ResultT:
        """Wait for it and return its result, of the declared type, or raise its error.

        Raises:
            NotFound: its result isn't kept (any more).
            TimeoutError: it didn't finish in time.
            UnreadablePayload: its worker declares another result.
            JobFailed: it failed with an error of a class this process doesn't rebuild; or the rebuilt error itself.
        """
        found = await self.jobs.result(self.id, timeout_s=timeout_s)
        return cast("ResultT", self.declared.read_result(found))

    async def cancel(self) -> CancelAnswer:
        """Cancel it: at once while it waits, within a second while it runs. Raises `NotFound`."""
        return await self.jobs.cancel_job(self.id)


class TypedVerbs:
    """The part of the client that knows tasks."""

    async def enqueue(
        self: Jobs,
        task: Task[ResultT],
        *,
        id: str | None = None,  # noqa: A002  # what the caller calls it
        defer_by: float | timedelta | None = None,
        defer_until: datetime | None = None,
        expires: float | timedelta | None = None,
        options: Options = _PLAIN,
    ) -> Handle[ResultT]:
        """Enqueue a task on the queue that it declares.

        Where another job stands in its way, by its id or by a unique key, the handle is that job's.

        Args:
            task: validated again, since what it holds may have been changed.
            id: begins with the queue's name and a hyphen, so that it tells where the job is; made when not given.
            defer_by: seconds from now until it may start.
            defer_until: when it may start; aware.
            expires: seconds from now after which it mustn't start any more; it is then a dead letter.
            options: tenant, priority, keys, uniqueness.

        Raises:
            InvalidInput: the task, the id or the times can't be used.
            NotFound: this client wasn't given the task's queue.
            Unavailable: Redis doesn't answer.
        """
        declared = _declared(task)
        job_id = new_id(declared.queue) if id is None else id
        if not job_id.startswith(f"{declared.queue}-"):
            raise InvalidInput(f"job id {job_id!r}: begin it with '{declared.queue}-', the queue that it will be on")
        queue = self.keys_of(job_id).name
        job = NewJob(
            function=declared.function,
            kwargs=task.to_payload(),
            id=job_id,
            defer_s=_defer_s(defer_by, defer_until),
            expires_s=None if expires is None else (to_ms(expires) or 0) / 1000,
            options=options,
            meta={"v": declared.version},
        )
        with answering():
            enqueued = await self.pool.enqueue(job, queue=queue)
        job_id = enqueued.in_the_way or enqueued.id
        return Handle(id=job_id, answer=enqueued.answer, declared=declared, jobs=self)


def _declared(task: Task[Any]) -> Declaration:
    try:
        return task.declared
    except AttributeError:
        name = type(task).__name__
        raise TypeError(f"{name} declares no job type: class {name}(Task[...], queue=..., function=...)") from None


def _defer_s(by: float | timedelta | None, until: datetime | None) -> float:
    if by is not None and until is not None:
        raise InvalidInput("use either defer_by or defer_until, not both")
    if until is not None:
        if until.tzinfo is None:
            raise InvalidInput(f"defer_until {until}: give it a time zone")
        return max(to_unix_ms(until) - timestamp_ms(), 0) / 1000
    return (to_ms(by) or 0) / 1000
