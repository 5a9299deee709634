"""The scheduler: enqueues the ticks of all schedules. Every worker of the ``system`` queue runs it, and none leads.

First the jobs, each under an id made of schedule and tick with its enqueue-once marker, then the watermark. So whoever
dies between the two leaves ticks that another enqueues again, which the marker swallows; and of two that are at the
same tick, one enqueues it. Which time it is, Redis says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import structlog

from jobqueue.broker.schedules import Schedules
from jobqueue.broker.schedulestore import Stored, from_ms
from jobqueue.errors import JobqueueError, Unavailable
from jobqueue.scheduling import Schedule, due

logger = structlog.get_logger(__name__)

LOOK_S: Final = 1.0
"""The longest pause between two looks: what a new schedule, or a resumed one, may be late by."""
_AT_ONCE: Final = 100


class Scheduler:
    """Enqueues what is due, round after round.

    Args:
        schedules: the operator's, who sees everybody's.
        configured: the schedules of queues.toml, by name.
    """

    def __init__(self, schedules: Schedules, configured: Mapping[str, Schedule]) -> None:
        self._schedules = schedules
        self._configured = configured

    async def run(self) -> None:
        """Do so until cancelled; while Redis is away, try again every second."""
        synchronised = False
        while True:
            try:
                if not synchronised:
                    await self._schedules.synchronise(self._configured)
                    synchronised = True
                wait_s = await self.round()
            except Unavailable as exc:
                logger.warning("scheduler.redis_away", error=str(exc), retry_in_s=LOOK_S)
                wait_s = LOOK_S
            except Exception:
                logger.exception("scheduler.failed", retry_in_s=LOOK_S)  # the next round may go well
                wait_s = LOOK_S
            await asyncio.sleep(wait_s)

    async def round(self) -> float:
        """Enqueue the ticks that are due, of some schedules; how many seconds later to look again."""
        look = await self._schedules.store.look(_AT_ONCE)
        for stored in look.found:
            await self._deal_with(stored, look.now_ms)
        if look.full:
            return 0.0
        return LOOK_S if look.next_ms is None else min(LOOK_S, (look.next_ms - look.now_ms) / 1000)

    async def _deal_with(self, stored: Stored, now_ms: int) -> None:
        last = None
        try:
            if ticks := due(stored.schedule, from_ms(stored.since_ms), from_ms(now_ms)):
                last = await self._schedules.enqueue_ticks(stored, ticks, now_ms=now_ms)
        except Unavailable:
            raise
        except JobqueueError as exc:  # it would fail again: its ticks are passed over, and the others' go on
            logger.warning("schedule.refused", schedule=stored.name, error=str(exc))
        await self._schedules.store.advance(stored, now_ms=now_ms, last=last)


@asynccontextmanager
async def scheduling(schedules: Schedules, configured: Mapping[str, Schedule]) -> AsyncIterator[None]:
    """Run a scheduler beside the block."""
    task = asyncio.create_task(Scheduler(schedules, configured).run(), name="scheduler")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
