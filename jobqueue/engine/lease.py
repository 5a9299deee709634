"""The heartbeat: renews the leases of all running jobs in one round trip, and tells jobs that theirs is lost.

Crash recovery needs nothing else. A claimed job's score is the end of its lease, so when its worker dies, the job is
due again by itself as soon as the lease has run out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog
from redis.exceptions import RedisError

from jobqueue.broker.scripts import ANSWER_TIMEOUT_S, Scripts
from jobqueue.engine.outcomes import Held

logger = structlog.get_logger(__name__)

LEASE_S: Final = 10.0
_BEATS_A_LEASE: Final = 4


class Heart:
    """Beats while a worker holds jobs.

    Args:
        held: the worker's jobs by id, live.
        lose: called with a job whose lease is no longer this worker's.
        also: further work of each beat (worker registry, cooldowns); its Redis errors are this loop's.
    """

    def __init__(
        self,
        scripts: Scripts,
        held: Mapping[str, Held],
        *,
        lease_s: float,
        lose: Callable[[Held], None],
        also: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._scripts = scripts
        self._held = held
        self._lease_ms = int(lease_s * 1000)
        self._interval_s = min(lease_s / _BEATS_A_LEASE, 2.5)
        self._lose = lose
        self._also = also

    async def beat_forever(self) -> None:
        """Beat until cancelled; a Redis that is away is tried again at twice the pace."""
        while True:
            pause = self._interval_s
            try:
                await self.beat()
                if self._also is not None:
                    async with asyncio.timeout(ANSWER_TIMEOUT_S):
                        await self._also()
            except (RedisError, OSError) as exc:
                logger.warning("lease.unrenewed", jobs=len(self._held), error=repr(exc))
                pause /= 2
            await asyncio.sleep(pause)

    async def beat(self) -> None:
        """Renew every lease once."""
        held = {job_id: job for job_id, job in self._held.items() if not job.recording}
        if not held:
            return
        lost = await self._scripts.extend(
            [(job.id, job.token, job.claimed) for job in held.values()], lease_ms=self._lease_ms
        )
        for job_id in lost:
            job = held[job_id]
            # While the answer was under way the job may have been recorded, which ends its lease too.
            if self._held.get(job_id) is job and not job.recording:
                self._lose(job)
