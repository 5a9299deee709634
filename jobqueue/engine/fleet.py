"""Several queues in one process: their workers side by side in one event loop, sharing its slots by weight."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from functools import partial
from typing import Final

import structlog

from jobqueue.engine.worker import Worker

logger = structlog.get_logger(__name__)

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


async def run_workers(workers: Sequence[Worker]) -> None:
    """Run workers (made with ``handle_signals=False``) until a signal stops them all, or one of them fails.

    A first SIGINT or SIGTERM lets running jobs finish within each worker's ``job_completion_wait``; a second one stops
    at once. Every worker is closed in any case: what was interrupted is back on its queue when this returns.
    """
    loop = asyncio.get_running_loop()
    for signum in _SIGNALS:
        loop.add_signal_handler(signum, partial(_stop, workers, signum))
    mains = [asyncio.create_task(worker.async_run(), name=f"worker:{worker.queue_name}") for worker in workers]
    try:
        await asyncio.wait(mains, return_when=asyncio.FIRST_EXCEPTION)
        failed = [task.exception() for task in mains if task.done() and not task.cancelled() and task.exception()]
        if failed:
            logger.error("fleet.failed", error=repr(failed[0]))
    finally:
        for task in mains:
            task.cancel()
        await asyncio.gather(*mains, return_exceptions=True)
        await asyncio.gather(*(worker.close() for worker in workers))
        for signum in _SIGNALS:
            loop.remove_signal_handler(signum)
    if failed and failed[0] is not None:
        raise failed[0]


def _stop(workers: Sequence[Worker], signum: signal.Signals) -> None:
    for worker in workers:
        worker.handle_sig_wait_for_completion(signum)
