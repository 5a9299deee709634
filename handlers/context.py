"""What a handler finds in ``ctx``, with types.

``ctx`` is arq's plain dictionary: ``job_id``, ``job_try``, ``enqueue_time``, ``score``, ``redis``; the engine adds
``fence`` (a number that grows with every claim of the queue, or None), ``progress``, ``partial``, ``checkpoint``, and
``flow`` for a step of one; the worker's start-up adds ``services``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

from jobqueue.ports import Checkpoint, Services

Ctx = dict[str, Any]


def services(ctx: Ctx) -> Services:
    """The bundle of adapters this worker was started with."""
    return cast("Services", ctx["services"])


async def progress(ctx: Ctx, done: int, total: int, message: str = "") -> None:
    """Tell watchers how far this job is; throttled at the source, so call it freely."""
    report = ctx.get("progress")
    if report is not None:
        await report(done, total, message)


async def partial(ctx: Ctx, piece: Any) -> None:
    """Append a piece (plain data, 64 kB at most) to the result that watchers see grow; sent in groups.

    An attempt that goes on from a checkpoint repeats none of the pieces that were appended before it was saved.
    """
    append = ctx.get("partial")
    if append is not None:
        await append(piece)


class _Forgetful:
    """The checkpoint of a job that runs where none is kept: every attempt begins at the beginning."""

    async def load(self) -> Any:
        return None

    async def save(self, data: Any) -> None:
        """Keep nothing."""


def checkpoint(ctx: Ctx) -> Checkpoint:
    """Where this job's next attempt goes on.

    >>> import asyncio
    >>> async def count(ctx: Ctx) -> None:
    ...     done = await checkpoint(ctx).load() or 0
    ...     for page in range(done, 3):
    ...         await partial(ctx, {"page": page})
    ...         await checkpoint(ctx).save(page + 1)
    >>> asyncio.run(count({}))
    """
    return cast("Checkpoint", ctx.get("checkpoint") or _Forgetful())


def part_of(ctx: Ctx) -> str:
    """The id of the task that this job is a step of; its own, where it is none."""
    flow = ctx.get("flow")
    return str(ctx["job_id"] if flow is None else flow.id)


async def results_of(ctx: Ctx, step: str) -> AsyncIterator[Any]:
    """What the jobs of an earlier step of this task returned, in order."""
    async for result in ctx["flow"].results(step):
        yield result.value
