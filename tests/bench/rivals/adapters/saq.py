"""SAQ, keeping nothing of finished jobs. A stuck job is swept once its time-out has passed, if it has retries left."""

from __future__ import annotations

import asyncio
from typing import Any

from saq import Queue, Worker
from saq.queue.redis import RedisQueue

from tests.bench.rivals.adapters import common


class Client:
    def __init__(self, options: common.Options) -> None:
        self.queue: Queue = RedisQueue.from_url(options.url, max_concurrent_ops=common.GROUP)
        self.extra: dict[str, Any] = {} if options.keep_results else {"ttl": -1}
        if options.safe:
            self.extra["retries"] = 3  # by default 1 attempt: a job whose worker died is aborted, not retried
        if options.lease_s:
            self.extra["timeout"] = options.lease_s  # by default 10

    async def bulk(self, count: int) -> None:
        await common.in_groups(count, lambda: self.queue.enqueue("noop", **self.extra))

    async def send(self, job: str, *args: Any) -> str:
        names = {"pickup": ("sent_ns",), "work": ("name", "delay_s")}.get(job, ())
        sent = await self.queue.enqueue(job, **dict(zip(names, args, strict=True)), **self.extra)
        assert sent is not None
        return str(sent.key)

    async def result(self, job_id: str) -> Any:
        job = await self.queue.job(job_id)
        return job and job.result


async def noop(_ctx: Any) -> None:
    common.noop()


async def hello(_ctx: Any) -> None:
    common.hello()


async def pickup(_ctx: Any, *, sent_ns: int) -> None:
    common.pickup(sent_ns)


async def work(_ctx: Any, *, name: str, delay_s: float) -> str:
    return await common.work(name, delay_s)


def run_worker(options: common.Options) -> None:
    async def run() -> None:
        queue = RedisQueue.from_url(options.url, max_concurrent_ops=common.CONCURRENCY)
        timers: Any = {"sweep": 5} if options.lease_s else None  # by default 60
        await Worker(
            queue,
            [(job.__name__, job) for job in (noop, hello, pickup, work)],
            concurrency=common.CONCURRENCY,
            timers=timers,
        ).start()

    asyncio.run(run())


if __name__ == "__main__":
    common.main(Client, run_worker)
