"""The five workers as operators start them: by arq's own command, in processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from jobqueue.broker.embedded import EmbeddedRedis
from tests.engine_support import wait_until

ARQ = Path(sys.executable).with_name("arq")
QUEUES = ("Ingest", "Ocr", "Llm", "Export", "System")


@pytest.fixture
async def redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Redis]:
    monkeypatch.setenv("JOBQUEUE_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("JOBQUEUE_REDIS_URL", raising=False)
    async with EmbeddedRedis(tmp_path) as endpoint, Redis.from_url(endpoint.url) as client:
        yield client


@asynccontextmanager
async def arq_worker(queue: str, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            ARQ, f"jobqueue.worker.{queue}Settings", stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def stop(process: asyncio.subprocess.Process) -> int:
    process.send_signal(signal.SIGTERM)
    return await asyncio.wait_for(process.wait(), 15)


async def check(queue: str) -> int:
    """The exit code of arq's own health check."""
    process = await asyncio.create_subprocess_exec(
        ARQ, f"jobqueue.worker.{queue}Settings", "--check", stderr=asyncio.subprocess.DEVNULL
    )
    return await asyncio.wait_for(process.wait(), 30)


async def beaten_by(redis: Redis, queue: str) -> int | None:
    """The process that wrote arq's health sentinel last; only our engine names itself there."""
    sentinel = await redis.get(f"jobqueue:{queue.lower()}:health-check")
    return int(sentinel.split(b":")[1]) if sentinel else None


async def test_each_of_the_five_runs_our_engine_under_arqs_command_and_logs_json_alone(
    redis: Redis, tmp_path: Path
) -> None:
    logs = {queue: tmp_path / f"{queue}.log" for queue in QUEUES}
    async with AsyncExitStack() as stack:
        workers = {queue: await stack.enter_async_context(arq_worker(queue, log)) for queue, log in logs.items()}
        for queue, process in workers.items():

            async def ours(queue: str = queue, pid: int = process.pid) -> bool:
                return await beaten_by(redis, queue) == pid

            await wait_until(ours, within_s=60)
        assert await asyncio.gather(*map(check, QUEUES)) == [0] * 5
        assert [await stop(process) for process in workers.values()] == [0] * 5
    for queue, log in logs.items():
        lines = log.read_text().splitlines()
        assert any("Starting worker" in json.loads(line)["event"] for line in lines), queue  # arq's own words
        for line in lines:
            assert {"event", "level", "timestamp", "logger"} <= json.loads(line).keys()


async def test_the_check_succeeds_exactly_while_some_worker_has_beaten_within_fifteen_seconds(
    redis: Redis, tmp_path: Path
) -> None:
    assert await check("Ingest") == 1
    async with arq_worker("Ingest", tmp_path / "1.log") as first, arq_worker("Ingest", tmp_path / "2.log") as second:

        async def both_live() -> bool:
            return bool(await redis.zcard("jobqueue:ingest:workers") == 2)

        await wait_until(both_live, within_s=60)
        assert await stop(first) == 0
        assert await check("Ingest") == 0  # one worker's end never clears another's beat

        async def second_beats() -> bool:
            return await beaten_by(redis, "Ingest") == second.pid

        await wait_until(second_beats, within_s=10)
        second.kill()
        await second.wait()
    assert 0 < await redis.pttl("jobqueue:ingest:health-check") <= 15_000

    async def silent() -> bool:
        return bool(await redis.exists("jobqueue:ingest:health-check") == 0)

    await wait_until(silent, within_s=17)
    assert await check("Ingest") == 1


async def test_a_mistake_in_the_settings_ends_the_command_with_one_line_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBQUEUE_LEASE_S", "soon")
    process = await asyncio.create_subprocess_exec(
        ARQ, "jobqueue.worker.IngestSettings", stderr=asyncio.subprocess.PIPE, env=dict(os.environ)
    )
    _, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert err.decode().startswith("jobqueue: settings are wrong: JOBQUEUE_LEASE_S: ")
    assert len(err.decode().splitlines()) == 1
