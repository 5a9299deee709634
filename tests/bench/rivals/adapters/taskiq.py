"""taskiq with its Redis stream broker, the one that acknowledges; results off; started by its own command."""

from __future__ import annotations

import os
import sys
from typing import Any

from taskiq import TaskiqResult
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from tests.bench.rivals.adapters import common

MODULE = "tests.bench.rivals.adapters.taskiq"


def broker_of(options: common.Options) -> Any:
    tuned: dict[str, Any] = {"idle_timeout": options.lease_s * 1000} if options.lease_s else {}
    # Without a time-out, a worker killed while it looks for abandoned entries keeps all others from looking for ever.
    broker: Any = RedisStreamBroker(options.url, xread_count=100, unacknowledged_lock_timeout=5.0, **tuned)
    return broker.with_result_backend(RedisAsyncResultBackend(options.url)) if options.keep_results else broker


broker = broker_of(common.read_options())


async def noop() -> None:
    common.noop()


async def hello() -> None:
    common.hello()


async def pickup(sent_ns: int) -> None:
    common.pickup(sent_ns)


async def work(key: str, seconds: float) -> str:
    return await common.work(key, seconds)


TASKS = {job.__name__: broker.register_task(job, task_name=job.__name__) for job in (noop, hello, pickup, work)}


class Client:
    async def bulk(self, count: int) -> None:
        await common.in_groups(count, TASKS["noop"].kiq)

    async def send(self, job: str, *args: Any) -> str:
        return str((await TASKS[job].kiq(*args)).task_id)

    async def result(self, job_id: str) -> Any:
        found: TaskiqResult[Any] = await broker.result_backend.get_result(job_id)
        return found.return_value


async def connect(_options: common.Options) -> Client:
    await broker.startup()
    return Client()


def run_worker(_options: common.Options) -> None:
    os.execv(
        sys.executable,
        [
            *(sys.executable, "-m", "taskiq", "worker", f"{MODULE}:broker", "--workers", "1", "--no-parse"),
            *("--max-async-tasks", str(common.CONCURRENCY), "--log-level", "WARNING"),
        ],
    )


if __name__ == "__main__":
    common.main(connect, run_worker)
