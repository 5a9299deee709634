"""What the tests of the engine share: workers that run in the test's own loop, waiting, and a look at what is left."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final, cast

from arq.connections import RedisSettings
from arq.worker import Function, func
from redis.asyncio import Redis

from jobqueue.broker.connection import Pool, open_pool, parse
from jobqueue.broker.keys import QueueKeys, queue_name
from jobqueue.client import Client
from jobqueue.engine.features import Features
from jobqueue.engine.worker import Worker
from jobqueue.flows import Flow, Step
from jobqueue.job import decode, encode
from jobqueue.retry import Backoff, RetryPolicy

QUEUES: Final = ("ingest", "ocr", "llm")
INGEST: Final = QueueKeys(queue_name("ingest"))
OCR: Final = QueueKeys(queue_name("ocr"))
SOON: Final = RetryPolicy(backoff=Backoff.FIXED, base_s=0.02, cap_s=0.02, max_attempts=3)
"""A retry policy for tests that wait for the retries."""

Handler = Callable[..., Any]


async def wait_until(
    condition: Callable[[], object | Awaitable[object]], *, within_s: float = 5.0, what: str = "the condition"
) -> None:
    """Return once ``condition`` holds; fail, naming ``what``, when it doesn't within ``within_s``."""
    try:
        async with asyncio.timeout(within_s):
            while True:
                held = condition()
                if await held if inspect.isawaitable(held) else held:
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{what} didn't come about within {within_s:g} s") from None


def pool_of(url: str, queue: str = "ingest") -> Pool:
    """A pool of one server with the project's codec, over the queue of that short name."""
    return cast("Pool", open_pool(parse(url), queue=queue_name(queue)))


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    """`pool_of`, closed with the block; untyped, since redis-py's answers are."""
    pool = pool_of(url)
    try:
        yield pool
    finally:
        await pool.aclose(close_connection_pool=True)


def features(url: str, queue: str = "ingest", **extra: Any) -> Features:
    """Everything our queues switch on, with quick retries and a connection to ``url``."""

    async def connect() -> Pool:
        return pool_of(url, queue)

    arguments: dict[str, Any] = {"connect": connect, "default_policy": SOON}
    return Features(**arguments | extra)


def worker_of(
    url: str,
    functions: Iterable[Handler | Function],
    *,
    queue: str = "ingest",
    extra: dict[str, Any] | None = None,
    **arguments: Any,
) -> Worker:
    """A worker as our Settings build it, over plain functions. ``extra`` goes to its `Features`."""
    defaults: dict[str, Any] = {
        "queue_name": queue_name(queue),
        "handle_signals": False,
        "allow_abort_jobs": True,
        "job_serializer": encode,
        "job_deserializer": decode,
        "timezone": UTC,
        "features": features(url, queue, **(extra or {})),
    }
    named = [f if isinstance(f, Function) else func(f, name=f.__name__) for f in functions]
    return Worker(named, **defaults | arguments)


def bare_worker_of(url: str, functions: Iterable[Handler], **arguments: Any) -> Worker:
    """A worker without features: arq's behaviour, on arq's default queue."""
    address = parse(url)
    settings = RedisSettings(unix_socket_path=address.socket, password=address.password)
    return Worker(list(functions), redis_settings=settings, handle_signals=False, **arguments)


@asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[Worker]:
    """Run a worker in this loop, and close it as a shutdown would; its crash is raised."""
    main = asyncio.create_task(worker.main(), name=f"worker:{worker.id}")
    worker.main_task = main
    try:
        yield worker
    finally:
        crashed = main.done()
        await worker.close()
        with suppress(asyncio.CancelledError):
            await main
        assert not crashed or worker.burst, "the worker's loop ended before it was told to"


@asynccontextmanager
async def running_worker(url: str, *functions: Handler | Function, **arguments: Any) -> AsyncIterator[Worker]:
    """`running` over `worker_of`."""
    async with running(worker_of(url, functions, **arguments)) as worker:
        yield worker


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[Client]:
    """The project's client of all the tests' queues."""
    async with Client(pool_of(url), QUEUES) as client:
        yield client


async def left(redis: Redis) -> set[str]:
    """Every key there is."""
    return {key.decode() async for key in redis.scan_iter(count=1000)}


_PER_JOB: Final = (
    *("arq:job:", "arq:in-progress:", "arq:retry:", ":progress:", ":error:", ":checkpoint:"),
    *("}:job:", "}:in-progress:", "}:retry:", ":traits", ":lane:", ":using:"),
)


def per_job(keys: Iterable[str]) -> set[str]:
    """Those keys that must not outlive their job; results and once markers expire by themselves."""
    return {key for key in keys if any(part in key for part in _PER_JOB)}


async def counters(redis: Any, keys: QueueKeys) -> dict[str, int]:
    """The queue's counters: ``function:outcome`` -> count."""
    return {k.decode(): int(v) for k, v in (await redis.hgetall(keys.own("counters"))).items()}


async def calls(redis: Any, command: str) -> int:
    """How often the server has run a command, inside of scripts too."""
    stats = await redis.info("commandstats")
    return sum(stat["calls"] for name, stat in stats.items() if name == f"cmdstat_{command}")


def flow_of(flow_id: str, *steps: Step) -> Flow:
    """A flow made now."""
    return Flow(id=flow_id, kind="demo", tenant_id="acme", created_at=datetime.now(UTC), steps=steps)
