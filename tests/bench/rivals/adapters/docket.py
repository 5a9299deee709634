"""Docket, keeping nothing of finished jobs. It renews its leases; a dead worker's job is redelivered when they end."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

from docket import Docket, Worker

from tests.bench.rivals.adapters import common


async def noop() -> None:
    common.noop()


async def hello() -> None:
    common.hello()


async def pickup(sent_ns: int) -> None:
    common.pickup(sent_ns)


async def work(key: str, seconds: float) -> str:
    return await common.work(key, seconds)


JOBS: dict[str, Any] = {job.__name__: job for job in (noop, hello, pickup, work)}


async def open_docket(options: common.Options) -> Docket:
    ttl: dict[str, Any] = {} if options.keep_results else {"execution_ttl": timedelta(0)}
    docket = await Docket("bench", options.url, **ttl).__aenter__()
    for job in JOBS.values():
        docket.register(job)
    return docket


class Client:
    def __init__(self, docket: Docket) -> None:
        self.docket: Any = docket

    async def bulk(self, count: int) -> None:
        await self.docket.add_many([self.docket.call(noop)() for _ in range(count)])

    async def send(self, job: str, *args: Any) -> str:
        return str((await self.docket.add(JOBS[job])(*args)).key)

    async def result(self, job_id: str) -> Any:
        execution = await self.docket.get_execution(job_id)
        return await execution.get_result(timeout=timedelta(seconds=1)) if execution else None


async def connect(options: common.Options) -> Client:
    return Client(await open_docket(options))


def run_worker(options: common.Options) -> None:
    tuned: dict[str, Any] = {"redelivery_timeout": timedelta(seconds=options.lease_s)} if options.lease_s else {}

    async def run() -> None:
        docket = await open_docket(options)
        # By default it looks for due tasks every 250 ms, which caps it at four times its concurrency a second.
        often = timedelta(milliseconds=10)
        async with Worker(docket, concurrency=common.CONCURRENCY, minimum_check_interval=often, **tuned) as worker:
            await worker.run_forever()

    logging.disable(logging.INFO)
    asyncio.run(run())


if __name__ == "__main__":
    common.main(connect, run_worker)
