"""The ``system`` queue: cron jobs that keep the rest in order. Each may run twice, or late, without harm."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Coroutine
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

from handlers.answers import KIND as ANSWERS
from handlers.context import Ctx, services
from handlers.leftovers import remove_leftovers
from handlers.ocr_cache import KIND as TEXTS
from jobqueue.errors import JobqueueError, Unavailable
from jobqueue.flows import Flow
from jobqueue.job import new_id
from jobqueue.ports import BlobStore, Services, TaskQueue

TEMP_FILE_AGE_S: Final = 86_400.0
"""A temporary file untouched for so long belongs to nobody: no job may run for a day."""
TASK_AGE: Final = timedelta(days=90)
ANSWER_AGE: Final = timedelta(days=30)
"""How long a model's answer may be used again; what came of it stays with its contract."""
PROBE_S: Final = 10.0
"""How long a component may take to answer a health probe."""
FREE_UPLOADS: Final = 5
"""There must be disk space for so many more of the largest uploads."""
UNQUEUED_AGE: Final = timedelta(minutes=1)
"""A task's row without an end is looked after from this age on: its submit may have been cut off."""


async def expire(ctx: Ctx) -> dict[str, int]:
    """Remove what nobody needs any more: old temporary files, left-overs, kept text and answers, long-finished tasks.

    Returns:
        How many of each: ``temp_files``, ``partial_blobs``, ``answers``, ``texts``, ``tasks``, and the kinds of
        `handlers.leftovers`.
    """
    bundle = services(ctx)
    temp_files = await asyncio.to_thread(_remove_older, bundle.temp_dir, time.time() - TEMP_FILE_AGE_S)
    partial_blobs = await bundle.blobs.sweep_partial(TEMP_FILE_AGE_S)
    answers = await bundle.blobs.sweep(ANSWERS, ANSWER_AGE.total_seconds())
    texts = await bundle.blobs.sweep(TEXTS, timedelta(days=bundle.ocr_cache_days).total_seconds())
    async with bundle.records.unit() as unit:
        tasks = await unit.prune(finished_before=datetime.now(UTC) - TASK_AGE)
    return {
        "temp_files": temp_files,
        "partial_blobs": partial_blobs,
        **await remove_leftovers(bundle),
        "answers": answers,
        "texts": texts,
        "tasks": tasks,
    }


async def resubmit(ctx: Ctx) -> dict[str, int]:
    """Submit unfinished tasks again: those that never reached the queue, or were lost in part in a failover.

    Submitting is once, so tasks that are on their way go on as they are.

    Returns:
        How many unfinished tasks were ``looked_at``, and how many of them were ``resubmitted``.
    """
    queue = _queue(ctx)
    async with services(ctx).records.unit() as unit:
        rows = await unit.unfinished_tasks(created_before=datetime.now(UTC) - UNQUEUED_AGE)
    resubmitted = [row.id for row in rows if await queue.submit(Flow.from_data(row.spec))]
    return {"looked_at": len(rows), "resubmitted": len(resubmitted)}


async def check_health(ctx: Ctx) -> dict[str, str]:
    """Use each component the way jobs do, all at once.

    Returns:
        Component -> ``"ok"``.

    Raises:
        Unavailable: one is down; names each with its reason.
    """
    bundle = services(ctx)
    probes = {"database": bundle.records.ping(), "storage": probe_storage(bundle.blobs), "disk": _probe_disk(bundle)}
    if bundle.scanner.mandatory:
        probes["virus scan"] = bundle.scanner.check()
    async with asyncio.TaskGroup() as group:
        asked = {name: group.create_task(_reason(probe), name=f"probe {name}") for name, probe in probes.items()}
    found = {component: task.result() for component, task in asked.items()}
    if down := [f"{component}: {reason}" for component, reason in found.items() if reason != "ok"]:
        raise Unavailable("; ".join(down))
    return found


async def roll_up_metrics(ctx: Ctx) -> dict[str, dict[str, int]]:
    """Keep the queues' figures of this moment: queue -> ``waiting``, ``running`` …, and its counters by their names."""
    queue = _queue(ctx)
    figures = {
        view.name: {
            **view.counters,
            "waiting": view.waiting,
            "deferred": view.deferred,
            "running": view.running,
            "dead": view.dead,
            "workers": view.workers,
        }
        for view in await queue.queues()
    }
    await queue.record_metrics(figures)
    return figures


def _queue(ctx: Ctx) -> TaskQueue:
    return cast("TaskQueue", ctx["queues"])


async def _reason(probe: Coroutine[Any, Any, None]) -> str:
    try:
        async with asyncio.timeout(PROBE_S):
            await probe
    except TimeoutError:
        return f"no answer within {PROBE_S:.0f} s"
    except (JobqueueError, OSError) as exc:
        return str(exc) or type(exc).__name__
    return "ok"


async def probe_storage(blobs: BlobStore) -> None:
    """Store an object, read it and delete it. Raises `Unavailable` where that doesn't work."""
    key = f"system/{new_id('probe')}"  # its own, so that two workers' probes don't meet
    sent = key.encode()
    try:
        await blobs.put_bytes(key, sent)
        if await blobs.read(key, max_bytes=len(sent)) != sent:
            raise Unavailable("storage gave back other bytes than it was given")
    finally:
        await blobs.delete(key)


async def _probe_disk(bundle: Services) -> None:
    needed = FREE_UPLOADS * bundle.max_upload_bytes
    free = (await asyncio.to_thread(shutil.disk_usage, bundle.temp_dir)).free
    if free < needed:
        raise Unavailable(
            f"{free / 1e6:,.0f} MB are free at {bundle.temp_dir}, and {needed / 1e6:,.0f} MB should be: free some space"
        )


def _remove_older(directory: Path, limit: float) -> int:
    """Remove files last written before ``limit`` (epoch seconds), and directories that have been empty as long."""
    removed = 0
    for folder, _, names in os.walk(directory, topdown=False):  # doesn't follow links
        for name in names:
            file = Path(folder, name)
            with suppress(FileNotFoundError):  # its owner was faster
                if file.lstat().st_mtime < limit:
                    file.unlink()
                    removed += 1
        with suppress(OSError):  # not empty, or in use again
            if Path(folder) != directory and Path(folder).stat().st_mtime < limit:
                Path(folder).rmdir()
    return removed
