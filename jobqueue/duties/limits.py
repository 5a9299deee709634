"""Takes over a queue's limits from queues.toml when a worker starts.

Beside the start and not before it: a Redis that is slow holds up no worker. Limits taken over before are in force
meanwhile. Of workers with different files, the one that started last has said which limits hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import structlog

from jobqueue.broker.control import QueueControl
from jobqueue.errors import Unavailable
from jobqueue.limits import Limit

logger = structlog.get_logger(__name__)

AGAIN_S: Final = 1.0


async def configure(control: QueueControl, limits: Mapping[str, Limit]) -> None:
    """Put these limits in the place of those configured before; while Redis is away, try again every second."""
    while True:
        try:
            await control.configure(limits)
        except Unavailable as exc:
            logger.warning("limits.redis_away", error=str(exc), retry_in_s=AGAIN_S)
            await asyncio.sleep(AGAIN_S)
        except Exception:
            logger.exception("limits.failed")  # it would fail again; what was in force stays so
            return
        else:
            return


@asynccontextmanager
async def configuring(control: QueueControl, limits: Mapping[str, Limit]) -> AsyncIterator[None]:
    """Do so beside the block."""
    task = asyncio.create_task(configure(control, limits), name="limits")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
