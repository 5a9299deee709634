"""The Redis-compatible server that all contenders use, and looks at it."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from redis.asyncio import Redis
from redis.exceptions import RedisError

from jobqueue.broker.embedded import find_server

LOOPBACK: Final = "127.0.0.1"
ROOT: Final = Path(__file__).parents[3]


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


class Server:
    """One server on a loopback port, keeping nothing; with ``durable``, an append-only file that a restart reads."""

    def __init__(self, directory: Path, *, durable: bool = False) -> None:
        self._directory = directory
        self._durable = durable
        self._process: asyncio.subprocess.Process | None = None
        self.port = free_port()
        self.url = f"redis://{LOOPBACK}:{self.port}/0"
        self.redis: Any = Redis.from_url(self.url)

    async def start(self) -> None:
        """Start, or start again on the same port and data; return when it answers."""
        self._process = await asyncio.create_subprocess_exec(
            *(find_server(), "--port", str(self.port), "--bind", LOOPBACK, "--dir", self._directory),
            *("--save", "", "--appendonly", "yes" if self._durable else "no", "--loglevel", "warning"),
            stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        async with asyncio.timeout(20):
            while True:
                try:
                    await self.redis.ping()
                except (RedisError, OSError):
                    await asyncio.sleep(0.02)
                else:
                    return

    async def kill(self) -> None:
        """SIGKILL it."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.redis.aclose()
        await self.kill()


@dataclass(slots=True)
class Calls:
    """How many commands the server ran: those that clients sent, and all, with those inside of scripts."""

    requests: int = 0
    commands: int = 0

    def each(self, jobs: int) -> dict[str, float]:
        """Per job."""
        return {"requests_per_job": self.requests / jobs, "commands_per_job": self.commands / jobs}


@asynccontextmanager
async def counted(server: Server) -> AsyncIterator[Calls]:
    """Count what the server runs during the block, by MONITOR: ``INFO commandstats`` doesn't tell clients and scripts
    apart."""
    reader, writer = await asyncio.open_connection(LOOPBACK, server.port, limit=2**22)
    writer.write(b"MONITOR\r\n")
    await reader.readline()
    calls = Calls()

    async def count() -> None:
        while line := await reader.readline():
            calls.commands += 1
            calls.requests += b" lua] " not in line[:60]

    counting = asyncio.create_task(count(), name="monitor")
    try:
        yield calls
        await asyncio.sleep(0.3)  # what was on its way
    finally:
        counting.cancel()
        writer.close()


@asynccontextmanager
async def delayed(server: Server, round_trip_ms: float, *, even_none: bool = False) -> AsyncIterator[str]:
    """A URL of the server behind that much added round trip; without any, the server's own."""
    if not round_trip_ms and not even_none:
        yield server.url
        return
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.rivals.proxy", str(server.port), str(round_trip_ms)),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield f"redis://{LOOPBACK}:{int(await process.stdout.readline())}/0"
    finally:
        process.kill()
        await process.wait()


async def pings_ms(url: str, count: int) -> list[float]:
    """How long so many PINGs took, in order of time."""
    async with Redis.from_url(url) as redis:
        await redis.ping()
        taken = []
        for _ in range(count):
            started = time.perf_counter()
            await redis.ping()
            taken.append((time.perf_counter() - started) * 1000)
    return sorted(taken)
