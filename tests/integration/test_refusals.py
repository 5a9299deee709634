"""A running worker whose password or rights are taken away: it ends, and says what to mend, over a Unix socket too."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from jobqueue.broker.connection import parse
from jobqueue.broker.embedded import EmbeddedRedis
from jobqueue.errors import ConfigError
from tests.engine_support import INGEST, wait_until, worker_of
from tests.integration.cluster_support import server


async def f(ctx: dict[str, Any]) -> None: ...


async def end_of_a_worker(admin: str, url: str) -> BaseException | None:
    """How a worker ends whose user gets another password, and whose connections are cut."""
    async with Redis.from_url(admin) as redis:
        await redis.execute_command("ACL SETUSER", "app", "on", ">secret", "~*", "&*", "+@all")
        worker = worker_of(url, [f])
        main = asyncio.create_task(worker.main())
        try:
            await wait_until(lambda: redis.zcard(INGEST.own("workers")), what="the worker's beat")
            await redis.execute_command("ACL SETUSER", "app", "resetpass", ">another")
            await redis.client_kill_filter(skipme=True, _type="normal")
            await wait_until(main.done, what="the worker's end")
        finally:
            await redis.execute_command("ACL SETUSER", "app", ">secret")  # for the worker's own goodbye
            await worker.close()
    return main.exception()


async def test_another_password_ends_a_worker_with_what_to_mend(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path) as endpoint:
        error = await end_of_a_worker(endpoint.url, f"unix://app:secret@{parse(endpoint.url).socket}")
    assert isinstance(error, ConfigError)
    assert "mend the user and password in JOBQUEUE_REDIS_URL" in str(error)


async def test_so_it_does_over_tcp(tmp_path: Path, unused_tcp_port: int) -> None:
    host = f"127.0.0.1:{unused_tcp_port}"
    async with server(tmp_path, unused_tcp_port):
        error = await end_of_a_worker(f"redis://{host}", f"redis://app:secret@{host}")
    assert isinstance(error, ConfigError)
    assert "mend the user and password in JOBQUEUE_REDIS_URL" in str(error)
