"""The lock over a pool with JOBQUEUE_DURABLE: no number is given that a crash or a failover could give out again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from jobqueue.broker.durable import demand
from jobqueue.broker.keys import LockKeys
from jobqueue.broker.lock import Lock
from jobqueue.errors import InvalidInput, Unavailable
from tests.engine_support import calls, connected, wait_until
from tests.integration.cluster_support import server

NAME = "report"
KEYS = LockKeys(NAME)


async def hold_for_a_moment(pool: Any) -> int:
    async with Lock(pool, NAME, wait_s=10) as held:
        return held.fence


async def blocked(pool: Any) -> bool:
    return bool((await pool.info("clients"))["blocked_clients"])


async def test_a_holder_s_number_is_on_the_replica_and_none_is_given_while_there_is_none(
    tmp_path: Path, unused_tcp_port_factory: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobqueue.broker.durable.barrier", lambda level, **_: ("WAIT", 1, 200))
    first, second = unused_tcp_port_factory(), unused_tcp_port_factory()
    for port in (first, second):
        (tmp_path / str(port)).mkdir()
    async with (
        server(tmp_path / str(first), first, "--repl-diskless-sync-delay", "0") as primary,
        connected(f"redis://127.0.0.1:{first}") as pool,
    ):
        await demand(pool, "replica")
        with pytest.raises(Unavailable, match=r"lock 'report': not durable within 0\.1 s .*JOBQUEUE_DURABLE"):
            async with Lock(pool, NAME, wait_s=0.1):
                pass
        assert await pool.exists(KEYS.lock) == 0
        async with (
            server(tmp_path / str(second), second, "--replicaof", f"127.0.0.1 {first}"),
            Redis(port=second) as replica,
            connected(f"redis://127.0.0.1:{second}") as there,
        ):
            async with Lock(pool, NAME, wait_s=10) as held:
                assert int(await replica.get(KEYS.fence) or 0) == held.fence
            primary.kill()
            await primary.wait()
            await replica.execute_command("REPLICAOF", "NO", "ONE")  # type: ignore[no-untyped-call]  # redis-py
            await replica.delete(KEYS.lock)  # whether its release got there is a matter of luck
            async with Lock(there, NAME, wait_s=0) as next_one:
                assert next_one.fence > held.fence


async def test_only_the_one_that_gets_it_waits_for_the_disk(tmp_path: Path, unused_tcp_port: int) -> None:
    async with (
        server(tmp_path, unused_tcp_port, "--appendfsync", "everysec"),
        connected(f"redis://127.0.0.1:{unused_tcp_port}") as pool,
        connected(f"redis://127.0.0.1:{unused_tcp_port}") as other,
    ):
        await demand(pool, "disk")
        await demand(other, "disk")
        asked = await calls(pool, "waitaof")
        async with Lock(pool, NAME, wait_s=5):
            assert await calls(pool, "waitaof") == asked + 1
            waiting = asyncio.create_task(hold_for_a_moment(other))
            await wait_until(lambda: blocked(pool), what="a waiter")
            assert await calls(pool, "waitaof") == asked + 1
        assert await waiting == 2
        assert await calls(pool, "waitaof") == asked + 2


async def test_a_lease_that_could_end_before_it_is_durable_is_refused(redis_url: str) -> None:
    async with connected(redis_url) as pool:
        await demand(pool, "disk")
        with pytest.raises(InvalidInput, match=r"a lease of 1 s could end before it is durable: give it 3 s at least"):
            async with Lock(pool, NAME, lease_s=1):
                pass
        assert await pool.exists(KEYS.lock, KEYS.fence) == 0
