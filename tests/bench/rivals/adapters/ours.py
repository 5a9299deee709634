"""Ours, with everything on: leases, fences, retries, streams, events, results, aborting, and three user's hooks."""

from __future__ import annotations

from typing import Any

from arq.worker import func

from jobqueue.broker.connection import open_pool, parse
from jobqueue.broker.enqueue import NewJob
from jobqueue.client import Client as Jobs
from jobqueue.engine.features import Features
from jobqueue.engine.lease import LEASE_S
from jobqueue.engine.worker import Worker
from jobqueue.errors import NotFound
from jobqueue.job import decode, encode
from tests.bench.rivals.adapters import common

QUEUE = "jobqueue:bench"


class Client:
    def __init__(self, options: common.Options) -> None:
        self.pool = open_pool(parse(options.url), queue=QUEUE)
        self.jobs = Jobs(self.pool, ["bench"])

    async def bulk(self, count: int, defer_s: float = 0.0) -> None:
        await self.pool.enqueue_many(NewJob(function="noop", defer_s=defer_s) for _ in range(count))

    async def send(self, job: str, *args: Any) -> str:
        enqueued = await self.pool.enqueue_job(job, *args)
        assert enqueued is not None
        return enqueued.job_id

    async def result(self, job_id: str) -> Any:
        try:
            return await self.jobs.result(job_id, timeout_s=1.0)
        except (NotFound, TimeoutError):
            return None


async def noop(_ctx: dict[Any, Any]) -> None:
    common.noop()


async def hello(_ctx: dict[Any, Any]) -> None:
    common.hello()


async def pickup(_ctx: dict[Any, Any], sent_ns: int) -> None:
    common.pickup(sent_ns)


async def work(_ctx: dict[Any, Any], key: str, seconds: float) -> str:
    return await common.work(key, seconds)


JOBS: tuple[Any, ...] = (noop, hello, pickup, work)  # arq's types want coroutine functions that take anything


async def hook(ctx: dict[Any, Any]) -> None:
    """A user's hook that does nothing."""


def run_worker(options: common.Options) -> None:
    async def connect() -> Any:
        return open_pool(parse(options.url), queue=QUEUE)

    features = Features(connect=connect, lease_s=options.lease_s or LEASE_S)
    Worker(
        [func(job, name=job.__name__) for job in JOBS],
        queue_name=QUEUE,
        max_jobs=common.CONCURRENCY,
        job_serializer=encode,
        job_deserializer=decode,
        allow_abort_jobs=True,
        on_job_start=hook,
        on_job_end=hook,
        after_job_end=hook,
        features=features,
    ).run()


if __name__ == "__main__":
    common.main(Client, run_worker)
