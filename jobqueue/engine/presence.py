"""What a worker tells the others with each heartbeat, and learns from them."""

from __future__ import annotations

import contextlib
import logging
from typing import Final

from arq.connections import log_redis_info
from arq.utils import timestamp_ms
from redis.exceptions import RedisError

from jobqueue.broker.scripts import answered
from jobqueue.engine.host import Host

ABORT_AGE_MS: Final = 24 * 3600 * 1000
"""A plain `Job.abort()` of a job that has ended, or never was, leaves its id behind for so long."""


async def arrive(worker: Host) -> None:
    """Arq's line about the server. A Redis that is away goes without: the worker's loop waits for it."""
    with contextlib.suppress(RedisError, OSError):
        await answered(log_redis_info(worker.pool, logging.getLogger("arq.worker").info))


async def leave(worker: Host) -> None:
    """Off the list of workers, as far as Redis answers; else the next heartbeat of another one sees to it."""
    with contextlib.suppress(RedisError, OSError):
        await answered(worker.pool.zrem(worker.keys.own("workers"), worker.id))


class Beat:
    """The shared part of a heartbeat: presence, arq's health sentinel, cooldowns."""

    def __init__(self, worker: Host) -> None:
        self._worker = worker

    async def __call__(self) -> None:
        worker, keys = self._worker, self._worker.keys
        features = worker.features
        assert features is not None
        now = timestamp_ms()
        ttl_ms = int(features.health_ttl_s * 1000)
        info = (
            f"{worker.id} j_complete={worker.jobs_complete} j_failed={worker.jobs_failed} "
            f"j_retried={worker.jobs_retried} j_ongoing={len(worker.held)}"
        )
        async with worker.pool.pipeline(transaction=False) as pipe:
            pipe.set(worker.health_check_key, info, px=ttl_ms)
            pipe.zadd(keys.own("workers"), {worker.id: now})
            pipe.zremrangebyscore(keys.own("workers"), "-inf", now - ttl_ms)
            pipe.zremrangebyscore(keys.abort, "-inf", now - ABORT_AGE_MS)
            await pipe.execute()
        if worker.cooldowns is not None:
            await worker.cooldowns.exchange(worker.pool)
