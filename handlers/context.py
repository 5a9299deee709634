"""What a handler finds in ``ctx``, with types.

``ctx`` is arq's plain dictionary: ``job_id``, ``job_try``, ``enqueue_time``, ``score``, ``redis``; the engine adds
``fence`` (a number that grows with every claim of the queue, or None) and ``progress``; the worker's start-up adds
``services``.
"""

from __future__ import annotations

from typing import Any, cast

from jobqueue.ports import Services

Ctx = dict[str, Any]


def services(ctx: Ctx) -> Services:
    """The bundle of adapters this worker was started with."""
    return cast("Services", ctx["services"])


async def progress(ctx: Ctx, done: int, total: int, message: str = "") -> None:
    """Tell watchers how far this job is; throttled at the source, so call it freely."""
    report = ctx.get("progress")
    if report is not None:
        await report(done, total, message)
