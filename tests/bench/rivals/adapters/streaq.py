"""streaQ, results off. Its stream's entries are claimed from a worker that hasn't renewed them for `idle_timeout`."""

from __future__ import annotations

import logging
from typing import Any

from streaq import Worker

from tests.bench.rivals.adapters import common


def worker_of(options: common.Options) -> tuple[Any, dict[str, Any]]:
    """A worker, which is the client too, and its tasks by name."""
    worker: Any = Worker(
        redis_url=options.url,
        concurrency=common.CONCURRENCY,
        **({"idle_timeout": options.lease_s} if options.lease_s else {}),
    )
    register = worker.task(ttl=300 if options.keep_results else 0, silent=True)
    return worker, {job.__name__: register(job) for job in (noop, hello, pickup, work)}


async def noop() -> None:
    common.noop()


async def hello() -> None:
    common.hello()


async def pickup(sent_ns: int) -> None:
    common.pickup(sent_ns)


async def work(key: str, seconds: float) -> str:
    return await common.work(key, seconds)


class Client:
    def __init__(self, worker: Any, tasks: dict[str, Any]) -> None:
        self.worker, self.tasks = worker, tasks

    async def bulk(self, count: int) -> None:
        for start in range(0, count, 1000):
            await self.worker.enqueue_many([self.tasks["noop"].enqueue() for _ in range(min(1000, count - start))])

    async def send(self, job: str, *args: Any) -> str:
        return str((await self.tasks[job].enqueue(*args)).id)

    async def result(self, job_id: str) -> Any:
        return (await self.worker.result_by_id(job_id, timeout=1)).result


async def connect(options: common.Options) -> Client:
    worker, tasks = worker_of(options)
    await worker.__aenter__()
    return Client(worker, tasks)


def run_worker(options: common.Options) -> None:
    logging.disable(logging.INFO)
    worker_of(options)[0].run_sync()


if __name__ == "__main__":
    common.main(connect, run_worker)
