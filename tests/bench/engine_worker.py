"""One worker under test, in a process of its own: runs no-op jobs and prints what that took, as JSON.

``python -m tests.bench.engine_worker WHICH URL QUEUE JOBS MAX_JOBS POLL_DELAY``; ``WHICH`` is ``ours`` or ``arq``.
With ``JOBS`` 0 it stays idle between jobs and prints, on SIGTERM, each job's delay from enqueue to start in ms.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from typing import Any

import arq.worker
from arq.connections import RedisSettings
from arq.worker import func

from jobqueue.broker.connection import open_pool, parse
from jobqueue.engine.features import Features
from jobqueue.engine.worker import Worker
from jobqueue.job import decode, encode


class Meter:
    """Counts finished jobs and measures from the first one's start to the last one's record."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.done = 0
        self.delays_ms: list[float] = []
        self.started = self.cpu = 0.0
        self.finished = asyncio.Event()
        self.report: dict[str, float] = {}

    async def noop(self, _ctx: dict[Any, Any], enqueued_ns: int = 0) -> None:
        """The job."""
        if not self.started:
            self.started, self.cpu = time.perf_counter(), time.process_time()
        if enqueued_ns:
            self.delays_ms.append((time.time_ns() - enqueued_ns) / 1e6)

    async def hook(self, ctx: dict[Any, Any]) -> None:  # arq's signature, by name
        """A user's hook that does nothing."""

    async def recorded(self, ctx: dict[Any, Any]) -> None:  # arq's signature, by name
        """A user's ``after_job_end``: the job's record has landed."""
        self.done += 1
        if self.done == self.jobs:
            seconds, cpu = time.perf_counter() - self.started, time.process_time() - self.cpu
            self.report = {"jobs_per_s": self.jobs / seconds, "cpu_us_per_job": cpu / self.jobs * 1e6}
            self.finished.set()


def ours(meter: Meter, url: str, common: dict[str, Any]) -> Worker:
    """Our worker with everything on: streams, leases, retries, events, results, all three hooks."""
    return Worker(
        redis_pool=open_pool(parse(url)),  # type: ignore[arg-type]  # a Pool is an ArqRedis here: no Cluster URL is given
        job_serializer=encode,
        job_deserializer=decode,
        allow_abort_jobs=True,
        on_job_start=meter.hook,
        on_job_end=meter.hook,
        after_job_end=meter.recorded,
        features=Features(),
        **common,
    )


def stock(meter: Meter, url: str, common: dict[str, Any], poll_delay: float) -> arq.worker.Worker:
    """arq's worker with nothing on that it can do without: no results, no aborting, pickle."""
    address = parse(url)
    return arq.worker.Worker(
        redis_settings=RedisSettings(unix_socket_path=address.socket, password=address.password),
        keep_result=0,
        poll_delay=poll_delay,
        after_job_end=meter.recorded,
        **common,
    )


async def main(which: str, url: str, queue: str, *numbers: str) -> None:
    """Run until all jobs are done; idle workers until standard input ends."""
    jobs, max_jobs, poll_delay = int(numbers[0]), int(numbers[1]), float(numbers[2])
    meter = Meter(jobs)
    noop: Any = meter.noop  # arq's types want a coroutine function that takes anything
    common: dict[str, Any] = {
        "functions": [func(noop, name="noop")],
        "queue_name": queue,
        "max_jobs": max_jobs,
        "handle_signals": False,
    }
    worker = ours(meter, url, common) if which == "ours" else stock(meter, url, common, poll_delay)
    running = asyncio.create_task(worker.main())
    if jobs:
        await meter.finished.wait()
    else:
        await asyncio.to_thread(sys.stdin.read)  # until the bench closes it
        meter.report = {f"{i}": delay for i, delay in enumerate(meter.delays_ms)}
    print(json.dumps(meter.report))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await worker.close()


if __name__ == "__main__":
    logging.disable(logging.INFO)
    asyncio.run(main(*sys.argv[1:]))
