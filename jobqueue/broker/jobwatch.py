"""One job as people follow it: how it stands, what happens to it, and the pieces of its result as they come.

A state is a snapshot; pieces are a log. So what a reader has seen is told by the last piece it got and a mark of the
state it saw: that is an event's id, and a reader that comes back with it misses no piece and sees none twice. Events
of the queue only wake readers; the truth is in the job's keys and its stream of pieces.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from jobqueue.broker.events import EventHub, Watch
from jobqueue.broker.keys import QueueKeys, valid_id
from jobqueue.broker.look import look_at_job
from jobqueue.broker.remedy import answering
from jobqueue.errors import InvalidInput, JobqueueError, NotFound
from jobqueue.job import State, decode
from jobqueue.views import JobEvent, JobView

_PAGE: Final = 50
_ID: Final = re.compile(r"(?P<piece>[0-9]{1,15}-[0-9]{1,15})(?:\.(?P<mark>[0-9a-f]{8}))?")
_STATE: Final = ("state", "attempt", "error")
_PROGRESS: Final = ("done", "total", "message")


@dataclass(frozen=True, slots=True)
class Position:
    """How far a reader has got: the last piece, and the mark of the state it saw ("": none).

    >>> str(Position.of("7-2.0badcafe")), str(Position.of(None))
    ('7-2.0badcafe', '0-0')
    """

    piece: str = "0-0"
    mark: str = ""

    @classmethod
    def of(cls, event_id: str | None) -> Self:
        """The position that an event's id names. Raises `InvalidInput`."""
        found = _ID.fullmatch(event_id) if event_id else None
        if event_id and found is None:
            raise InvalidInput(f"{event_id[:40]!r} is no event's id: give one that a job's event had, or none")
        return cls(found["piece"], found["mark"] or "") if found else cls()

    def __str__(self) -> str:
        return f"{self.piece}.{self.mark}" if self.mark else self.piece


class JobVerbs:
    """The verbs that follow a single job; mixed into the client. Implements a part of `jobqueue.ports.JobQueue`."""

    _redis: Any
    _events: EventHub

    def keys_of(self, job_id: str) -> QueueKeys:
        """The keys of the job's queue. Raises `NotFound`."""
        raise NotImplementedError

    async def job(self, job_id: str) -> JobView:
        """A job as it stands, without pieces of its result. Raises `NotFound`."""
        with answering():
            return await self._look(job_id)

    async def wait_job(self, job_id: str, *, after: str | None = None, timeout_s: float = 30.0) -> JobView:
        """The job as soon as there is something new after that ``event_id``, or as it is when the time is over.

        With pieces of its result, fifty at most; ask again for more. A job that has ended is not waited for.

        Raises:
            NotFound: no such job, or nothing of it is kept.
            InvalidInput: ``after`` is none of our ids.
        """
        position = Position.of(after)
        if timeout_s <= 0:
            return (await self._since(job_id, position))[0]
        async with _watching(self._events, job_id) as watch:
            try:
                async with asyncio.timeout(timeout_s):
                    while True:
                        watch.changed.clear()
                        view, _ = await self._since(job_id, position)
                        if view.event_id != str(position) or State(view.state).finished:
                            return view
                        await watch.wait()
            except TimeoutError:
                return (await self._since(job_id, position))[0]

    async def job_events(self, job_id: str, *, after: str | None = None) -> AsyncGenerator[JobEvent, None]:
        """What happens to a job, from its state now on, or from where the event with the id ``after`` left off.

        The last event is the state in which it ended, or ``unknown`` where nothing is kept of that. Raises as
        `wait_job`.
        """
        position = Position.of(after)
        async with _watching(self._events, job_id) as watch:
            known, told = False, None
            while True:
                watch.changed.clear()
                try:
                    view, more = await self._since(job_id, position)
                except NotFound:
                    if not known:
                        raise
                    yield JobEvent(id=str(position), kind="state", data={"state": State.UNKNOWN.value})
                    return
                known = True
                for piece in view.partial:
                    position = replace(position, piece=piece["id"])
                    data = {name: value for name, value in piece.items() if name != "id"}
                    yield JobEvent(id=str(position), kind="partial", data=data)
                reached = Position.of(view.event_id)
                if more:  # the state comes after the pieces that it had
                    position = replace(position, piece=reached.piece)
                    continue
                if reached != position:
                    position = reached
                    yield _change(told, view)
                    told = view
                if State(view.state).finished:
                    return
                await watch.wait()

    async def _since(self, job_id: str, position: Position) -> tuple[JobView, bool]:
        """The job with what is new, and whether there may be more of that.

        The state is read first: by the time a job has ended, all its pieces are there.
        """
        with answering():
            view = await self._look(job_id)
            rows = await self._redis.xrange(self.keys_of(job_id).partial(job_id), f"({position.piece}", count=_PAGE)
        pieces = [piece for entry_id, fields in rows if (piece := _piece(entry_id, fields, view.tenant_id))]
        last = rows[-1][0].decode() if rows else position.piece
        event_id = str(Position(last, _mark(view)))
        return view.model_copy(update={"partial": pieces, "event_id": event_id}), len(rows) == _PAGE

    async def _look(self, job_id: str) -> JobView:
        keys = self.keys_of(job_id)
        if not valid_id(job_id):
            raise NotFound("no such job: its id is none")
        for _ in range(2):  # it may end, or begin anew, between one key and the next
            state, facts = await look_at_job(self._redis, keys, job_id)
            about = await _about(self._redis, keys, job_id)
            if state is not State.UNKNOWN and about is not None:
                function, tenant_id = about
                return JobView(
                    id=job_id, queue=keys.name.rpartition(":")[2], function=function, tenant_id=tenant_id,
                    state=state.value, **facts,
                )  # fmt: skip
        raise NotFound(f"no job {job_id}")


@asynccontextmanager
async def _watching(hub: EventHub, job_id: str) -> AsyncIterator[Watch]:
    """A watch whose beginning raises our errors."""
    async with AsyncExitStack() as stack:
        with answering():
            watch = await stack.enter_async_context(hub.watch([job_id]))
        yield watch


async def _about(redis: Any, keys: QueueKeys, job_id: str) -> tuple[str, str | None] | None:
    """A job's function and tenant, by its payload, or its result; None when neither can be read."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.get(keys.job(job_id))
        pipe.get(keys.result(job_id))  # in this order: a job that ends in between is found in its result
        found = await pipe.execute()
    for raw in found:
        try:
            data = decode(raw) if raw else {}
        except JobqueueError:
            continue
        if isinstance(function := data.get("f"), str):
            return function, tenant_of(data)
    return None


def tenant_of(data: Mapping[str, Any]) -> str | None:
    """The tenant of a payload or a result: as its metadata says, or else its argument ``tenant_id``.

    >>> tenant_of({"m": {"tenant": "acme"}, "k": {"tenant_id": "globex"}}), tenant_of({"k": {"tenant_id": 7}})
    ('acme', None)
    """
    meta, kwargs = data.get("m"), data.get("k")
    tenant = meta.get("tenant") if isinstance(meta, dict) else None
    if tenant is None and isinstance(kwargs, dict):
        tenant = kwargs.get("tenant_id")
    return tenant if isinstance(tenant, str) else None


def _change(before: JobView | None, view: JobView) -> JobEvent:
    """What is new of a job's state: all of it, or its progress alone."""
    state, progress = view.model_dump(include={*_STATE}), view.model_dump(include={*_PROGRESS})
    if before is not None and before.model_dump(include={*_STATE}) == state:
        return JobEvent(id=view.event_id, kind="progress", data=progress)
    return JobEvent(id=view.event_id, kind="state", data=state | progress)


def _mark(view: JobView) -> str:
    seen = repr([getattr(view, name) for name in (*_STATE, *_PROGRESS)])
    return f"{zlib.crc32(seen.encode('utf-8', 'replace')):08x}"


def _piece(entry_id: bytes, fields: Mapping[bytes, bytes], tenant_id: str | None) -> dict[str, Any] | None:
    """One piece; None for one of another tenant's job that had this id, or that can't be read."""
    try:
        piece = decode(fields.get(b"p", b""))
    except JobqueueError:
        return None
    if piece.get("o") != tenant_id:
        return None
    stream_id = entry_id.decode()
    number = int(stream_id.partition("-")[2])
    return {"id": stream_id, "number": number, "attempt": piece.get("a"), "data": piece.get("d")}
