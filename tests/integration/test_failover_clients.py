"""The clients of Sentinel and Cluster, on set-ups whose servers freeze, change places and ask for passwords."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import AuthenticationError, RedisError

from jobqueue.broker.connection import close_pool, open_pool, parse
from jobqueue.broker.keys import queue_name
from tests.engine_support import wait_until
from tests.ha import topology


@asynccontextmanager
async def pool_of(url: str) -> AsyncIterator[Any]:
    pool = open_pool(parse(url), queue=queue_name("ingest"))
    try:
        yield pool
    finally:
        await close_pool(pool)


def freeze(node: topology.Node) -> None:
    assert node.process is not None
    node.process.send_signal(signal.SIGSTOP)


async def accepts(pool: Any) -> bool:
    with suppress(RedisError, OSError):
        return await pool.enqueue_job("f") is not None
    return False


async def test_sentinels_have_a_password_of_their_own_and_a_frozen_one_is_passed_over(tmp_path: Path) -> None:
    async with topology.sentinel(tmp_path, password="secret", sentinel_password="other") as servers:
        async with pool_of(servers.url) as pool:
            assert await accepts(pool)
        async with pool_of(servers.url.replace("sentinel_password=other", "sentinel_password=wrong")) as pool:
            with pytest.raises(AuthenticationError):
                await pool.ping()
        freeze(servers.others[0])  # the first that the URL names
        async with pool_of(servers.url) as pool:
            began = time.monotonic()
            assert await accepts(pool)
            assert time.monotonic() - began < 4


async def test_a_primary_that_was_replaced_but_lives_is_left_within_a_few_seconds(tmp_path: Path) -> None:
    async with topology.sentinel(tmp_path) as servers, pool_of(servers.url) as pool:
        assert await accepts(pool)
        old = await servers.primary()
        # The Sentinel that leads the failover tells the others within two seconds, and a pool asks one of them.
        new = await servers.hand_over(coordinated=False)
        await wait_until(lambda: _writes_to(pool, new), within_s=4, what="writes to the new primary")
        assert old.alive


async def _writes_to(pool: Any, node: topology.Node) -> bool:
    await accepts(pool)
    return bool((await pool.info("server"))["tcp_port"] == node.port)


@pytest.mark.parametrize("kind", ["sentinel", "cluster"])
async def test_a_frozen_primary_is_given_up(tmp_path: Path, kind: str) -> None:
    """It neither answers nor closes its connections, and still takes new ones."""
    async with getattr(topology, kind)(tmp_path) as servers, pool_of(servers.url) as pool:
        assert await accepts(pool)
        freeze(await servers.primary("{jobqueue:ingest}"))
        await wait_until(lambda: accepts(pool), within_s=30, what="an accepted job")


async def test_a_cluster_that_was_away_as_a_whole_is_found_again(tmp_path: Path) -> None:
    async with topology.cluster(tmp_path) as servers, pool_of(servers.url) as pool:
        assert await accepts(pool)
        for node in servers.data:
            await node.kill()
        for _ in range(12):  # each failure has redis-py forget a node
            with pytest.raises(RedisError):
                await pool.enqueue_job("f")
        for node in servers.data:
            await node.start()
        await wait_until(lambda: accepts(pool), within_s=20, what="an accepted job")
