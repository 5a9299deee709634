"""One look at a job or a queue: the keys that tell where it stands, read in one round trip."""

from __future__ import annotations

import asyncio
from typing import Any

import msgpack
from arq.jobs import deserialize_result
from arq.utils import timestamp_ms

from jobqueue.broker.keys import HELD, QueueKeys
from jobqueue.job import State, decode
from jobqueue.views import QueueView


async def look_at_queue(redis: Any, name: str, keys: QueueKeys) -> QueueView:
    """A queue's depth, workers and counters at this moment."""
    now = timestamp_ms()
    async with redis.pipeline(transaction=False) as pipe:
        pipe.zcount(keys.queue, "-inf", now)
        pipe.zcount(keys.queue, HELD, "+inf")
        pipe.zcount(keys.queue, f"({now}", f"({HELD}")
        pipe.xlen(keys.own("dead"))
        pipe.zcount(keys.own("workers"), now - 15_000, "+inf")
        pipe.hgetall(keys.own("counters"))
        due, held, later, dead, workers, counters = await pipe.execute()
    counts = {key.decode(): int(value) for key, value in counters.items()}
    running = await _running(redis, keys)
    return QueueView(
        name=name, waiting=due + held, deferred=max(later - running, 0), running=running, dead=dead, workers=workers,
        counters=counts,
    )  # fmt: skip


async def _running(redis: Any, keys: QueueKeys) -> int:
    """Leased jobs: ids due within the longest lease whose in-progress key lives; at most 1,000 are looked at."""
    now = timestamp_ms()
    ids = await redis.zrangebyscore(keys.queue, f"({now}", now + 600_000, start=0, num=1000)
    if not ids:
        return 0
    async with redis.pipeline(transaction=False) as pipe:
        for job_id in ids:
            pipe.exists(keys.in_progress(job_id.decode()))
        return sum(await pipe.execute())


async def look_at_job(redis: Any, keys: QueueKeys, job_id: str) -> tuple[State, dict[str, Any]]:
    """Where a job stands, and what is known of it: attempt, done, total, message, seconds, error, result."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.get(keys.result(job_id))
        pipe.exists(keys.in_progress(job_id))
        pipe.zscore(keys.queue, job_id)
        pipe.get(keys.retry(job_id))
        pipe.get(keys.progress(job_id))
        pipe.get(keys.error(job_id))
        result, running, score, attempts, progress, error = await pipe.execute()
    facts: dict[str, Any] = {"attempt": int(attempts or 0)}
    if progress:
        facts["done"], facts["total"], facts["message"] = msgpack.unpackb(progress)
    if error:
        facts["error"] = msgpack.unpackb(error)[1]
    if result:
        found = deserialize_result(result, deserializer=decode)
        facts |= {
            "attempt": found.job_try,
            "seconds": (found.finish_time - found.start_time).total_seconds(),
            "error": None if found.success else str(found.result) or type(found.result).__name__,
            "result": found.result if found.success else None,
        }
        if found.success:
            return State.SUCCEEDED, facts
        return (State.CANCELLED if isinstance(found.result, asyncio.CancelledError) else State.FAILED), facts
    if running and score is not None:
        return State.RUNNING, facts | {"error": None}
    if score is None:
        return State.UNKNOWN, facts
    if error:
        return State.RETRYING, facts
    return (State.DEFERRED if timestamp_ms() < score < HELD else State.QUEUED), facts
