"""arq, its results off. Its lease is the job's time-out and ten seconds."""

from __future__ import annotations

from typing import Any

from arq.connections import RedisSettings, create_pool
from arq.jobs import Job
from arq.worker import Worker, func

from tests.bench.rivals.adapters import common

POLL_DELAY_S = 0.01  # by default 0.5; it takes at most `max_jobs` jobs a poll


class Client:
    def __init__(self, pool: Any) -> None:
        self.pool = pool

    async def bulk(self, count: int) -> None:
        await common.in_groups(count, lambda: self.pool.enqueue_job("noop"))

    async def send(self, job: str, *args: Any) -> str:
        return (await self.pool.enqueue_job(job, *args)).job_id  # type: ignore[no-any-return]  # arq's own text

    async def result(self, job_id: str) -> Any:
        info = await Job(job_id, self.pool).result_info()
        return info and info.result


async def connect(options: common.Options) -> Client:
    return Client(await create_pool(RedisSettings.from_dsn(options.url)))


async def noop(_ctx: dict[Any, Any]) -> None:
    common.noop()


async def hello(_ctx: dict[Any, Any]) -> None:
    common.hello()


async def pickup(_ctx: dict[Any, Any], sent_ns: int) -> None:
    common.pickup(sent_ns)


async def work(_ctx: dict[Any, Any], key: str, seconds: float) -> str:
    return await common.work(key, seconds)


JOBS: tuple[Any, ...] = (noop, hello, pickup, work)  # arq's types want coroutine functions that take anything


def run_worker(options: common.Options) -> None:
    Worker(
        [func(job, name=job.__name__) for job in JOBS],
        redis_settings=RedisSettings.from_dsn(options.url),
        max_jobs=common.CONCURRENCY,
        poll_delay=POLL_DELAY_S,
        keep_result=3600 if options.keep_results else 0,
        job_timeout=options.lease_s or 300,
    ).run()


if __name__ == "__main__":
    common.main(connect, run_worker)
