"""Real servers on loopback ports: one that a test can stop and start again, and three that form a Cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from jobqueue.broker.embedded import find_server
from tests.engine_support import wait_until

SLOTS: Final = 16384


@asynccontextmanager
async def server(directory: Path, port: int, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """One server on 127.0.0.1 that keeps its data in ``directory``, which exists, until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *(str(find_server()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory)),
        *("--appendonly", "yes", "--appendfsync", "always", "--save", "", *options),
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        async with Redis(port=port) as redis:
            await wait_until(lambda: _answers(redis), within_s=10, what=f"the server on port {port}")
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _answers(redis: Any) -> bool:
    try:
        return bool(await redis.ping())
    except (RedisError, OSError):
        return False


@asynccontextmanager
async def cluster(
    directory: Path, free_port: Callable[[], int], *, nodes: int = 3, fronts: dict[int, int] | None = None
) -> AsyncIterator[str]:
    """A Cluster of real nodes that share the slots evenly; gives its URL.

    ``fronts`` is filled: port of a node -> the port that it names to clients as its own, where the test may listen.
    """
    ports = [free_port() for _ in range(nodes)]
    buses = [free_port() for _ in range(nodes)]
    async with AsyncExitStack() as stack:
        for port in ports:
            await asyncio.to_thread((directory / str(port)).mkdir)
        for port, bus in zip(ports, buses, strict=True):
            options = ("--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-node-timeout", "2000")
            announced: tuple[str, ...] = ()
            if fronts is not None:
                fronts[port] = free_port()
                announced = ("--cluster-announce-port", str(fronts[port]))
            await stack.enter_async_context(server(directory / str(port), port, *options, *announced))
        members: list[Any] = [await stack.enter_async_context(Redis(port=port)) for port in ports]
        for n, member in enumerate(members):
            await member.execute_command("CLUSTER ADDSLOTSRANGE", SLOTS * n // nodes, SLOTS * (n + 1) // nodes - 1)
        for port, bus in zip(ports[1:], buses[1:], strict=True):
            await members[0].execute_command("CLUSTER MEET", "127.0.0.1", port, bus)

        async def formed() -> bool:
            infos = [await member.execute_command("CLUSTER INFO") for member in members]
            return all(
                str(info["cluster_state"]) == "ok" and int(info["cluster_known_nodes"]) == nodes for info in infos
            )

        await wait_until(formed, within_s=20, what="the Cluster")
        yield "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in ports)
