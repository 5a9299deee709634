"""A job's progress, told to watchers at most a few times a second."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import msgpack
import structlog
from redis.exceptions import RedisError

from jobqueue.broker.keys import QueueKeys
from jobqueue.broker.scripts import ANSWER_TIMEOUT_S

logger = structlog.get_logger(__name__)

_INTERVAL_S: Final = 0.25
_TTL_MS: Final = 24 * 3600 * 1000


class Progress:
    """``await progress(done, total, message)``: called as often as the job likes, written when it is worth it.

    Written are the first report, the last (``done >= total``), and one each quarter of a second between. A Redis that
    is away costs the watchers an update, never the job its attempt.
    """

    __slots__ = ("_job_id", "_keys", "_next", "_redis")

    def __init__(self, redis: Any, keys: QueueKeys, job_id: str) -> None:
        self._redis = redis
        self._keys = keys
        self._job_id = job_id
        self._next = 0.0

    async def __call__(self, done: int, total: int, message: str = "") -> None:
        now = time.monotonic()
        if now < self._next and done < total:
            return
        self._next = now + _INTERVAL_S
        report = (done, total, message[:200])
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S), self._redis.pipeline(transaction=False) as pipe:
                pipe.set(self._keys.progress(self._job_id), msgpack.packb(report), px=_TTL_MS)
                event = msgpack.packb([("progress", self._job_id, report)])
                pipe.xadd(self._keys.own("events"), {"e": event}, maxlen=10_000, approximate=True)
                await pipe.execute()
        except (RedisError, OSError) as exc:
            logger.debug("progress.dropped", job_id=self._job_id, error=repr(exc))
