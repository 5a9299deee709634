"""Durable writes on real servers: what was acknowledged is there after the server's death, or wasn't acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from jobqueue.broker.connection import AnyPool, close_pool, open_pool, parse
from jobqueue.broker.durable import Durability, Unconfirmed, demand, refusal
from jobqueue.broker.enqueue import NewJob
from jobqueue.broker.keys import queue_name
from jobqueue.client import Client
from jobqueue.errors import ConfigError
from jobqueue.flows import Step
from tests.engine_support import INGEST, QUEUES, flow_of, running, wait_until, worker_of
from tests.ha import topology
from tests.integration.cluster_support import server

EVERY_SECOND = ("--appendfsync", "everysec")


@asynccontextmanager
async def durable_pool(url: str, level: Durability, *, replicas: int = 1) -> AsyncIterator[Any]:
    pool: AnyPool = open_pool(parse(url), queue=queue_name("ingest"))
    try:
        await demand(pool, level, replicas=replicas)
        yield pool
    finally:
        await close_pool(pool)


@pytest.mark.parametrize("options", [EVERY_SECOND, ()], ids=["everysec", "always"])
async def test_what_was_acknowledged_is_there_after_the_server_was_killed(
    tmp_path: Path, unused_tcp_port: int, options: tuple[str, ...]
) -> None:
    url = f"redis://127.0.0.1:{unused_tcp_port}"
    async with server(tmp_path, unused_tcp_port, *options) as process, durable_pool(url, "disk") as pool:
        await pool.enqueue_many([NewJob(function="f", id=f"ingest-{n}") for n in range(50)])
        await pool.enqueue_job("f", _job_id="ingest-last")
        await Client(pool, QUEUES).submit(flow_of("task-1", Step(name="a", queue="ocr", function="f")))
        process.kill()
        await process.wait()
    async with server(tmp_path, unused_tcp_port, *options), durable_pool(url, "disk") as pool:
        assert await pool.zcard(INGEST.queue) == 51
        assert await pool.exists(INGEST.job("ingest-last")) == 1
        client = Client(pool, QUEUES)
        assert (await client.view("task-1")).state == "queued"


async def test_a_recorded_outcome_is_there_after_the_server_was_killed(tmp_path: Path, unused_tcp_port: int) -> None:
    url = f"redis://127.0.0.1:{unused_tcp_port}"
    process: asyncio.subprocess.Process

    async def f(ctx: dict[str, Any]) -> str:
        return "done"

    async def connect() -> Any:
        pool = open_pool(parse(url), queue=queue_name("ingest"))
        await demand(pool, "disk")
        return pool

    async with server(tmp_path, unused_tcp_port, *EVERY_SECOND) as process:
        worker = worker_of("redis://unused", [f], extra={"connect": connect})
        async with durable_pool(url, "disk") as pool, running(worker):
            await pool.enqueue_job("f", _job_id="ingest-1")
            # The worker lets a job go when its record is acknowledged.
            await wait_until(lambda: worker.jobs_complete == 1 and not worker.held)
            process.kill()
            await process.wait()
            worker.allow_pick_jobs = False
            async with server(tmp_path, unused_tcp_port, *EVERY_SECOND):
                await wait_until(pool.ping, what="the connection")
                assert await pool.exists(INGEST.result("ingest-1")) == 1
                assert await pool.exists(INGEST.job("ingest-1")) == 0


async def test_an_enqueue_that_no_replica_has_is_not_acknowledged_and_may_be_repeated(
    tmp_path: Path, unused_tcp_port_factory: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobqueue.broker.durable.barrier", lambda level, **_: ("WAIT", 1, 100))
    first, second = unused_tcp_port_factory(), unused_tcp_port_factory()
    for port in (first, second):
        (tmp_path / str(port)).mkdir()
    async with (
        server(tmp_path / str(first), first),
        durable_pool(f"redis://127.0.0.1:{first}", "replica") as pool,
    ):
        for _ in range(2):  # the second time the job is there: that writes nothing, and must be confirmed all the same
            with pytest.raises(Unconfirmed, match="0 replicas of 1"):
                await pool.enqueue_job("f", _job_id="ingest-1")
        async with server(tmp_path / str(second), second, "--replicaof", f"127.0.0.1 {first}"), Redis(port=second) as r:

            async def follows() -> bool:
                return str((await r.info("replication"))["master_link_status"]) == "up"

            await wait_until(follows, within_s=10)
            assert await pool.enqueue_job("f", _job_id="ingest-1") is None  # waits already, and is confirmed now
            assert await r.exists(INGEST.job("ingest-1")) == 1


async def test_a_record_waits_until_a_replica_has_it_and_counts_once(
    tmp_path: Path, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobqueue.broker.durable.barrier", lambda level, **_: ("WAIT", 1, 50))
    url = f"redis://127.0.0.1:{unused_tcp_port}"
    replica_port = topology.free_ports(1)[0]
    (tmp_path / "replica").mkdir()

    async def f(ctx: dict[str, Any]) -> str:
        return "done"

    async def connect() -> Any:
        pool = open_pool(parse(url), queue=queue_name("ingest"))
        await demand(pool, "replica")
        return pool

    async with server(tmp_path, unused_tcp_port), durable_pool(url, "off") as pool:
        worker = worker_of("redis://unused", [f], extra={"connect": connect})
        async with running(worker):
            await pool.enqueue_job("f", _job_id="ingest-1")
            await wait_until(lambda: "ingest-1" in worker.held and worker.held["ingest-1"].recording)
            assert "ingest-1" in worker.held, "no replica has the record"
            options = ("--replicaof", f"127.0.0.1 {unused_tcp_port}")
            async with server(tmp_path / "replica", replica_port, *options):
                await wait_until(lambda: not worker.held, within_s=10, what="the record")
                async with Redis(port=replica_port) as replica:
                    assert await replica.exists(INGEST.result("ingest-1")) == 1
                assert int(await pool.hget(INGEST.own("counters"), "f:succeeded")) == 1


async def test_a_server_without_an_append_only_file_is_refused(tmp_path: Path, unused_tcp_port: int) -> None:
    async with server(tmp_path, unused_tcp_port, "--appendonly", "no"):
        with pytest.raises(ConfigError, match="set appendonly yes"):
            async with durable_pool(f"redis://127.0.0.1:{unused_tcp_port}", "disk"):
                pass


async def test_a_user_who_may_not_wait_is_refused_by_the_commands_name(tmp_path: Path, unused_tcp_port: int) -> None:
    async with server(tmp_path, unused_tcp_port):
        async with Redis(port=unused_tcp_port) as redis:
            await redis.execute_command("ACL SETUSER", "app", "on", ">secret", "~*", "+@all", "-waitaof")  # type: ignore[no-untyped-call]  # redis-py
        with pytest.raises(ConfigError, match="may not call WAITAOF"):
            async with durable_pool(f"redis://app:secret@127.0.0.1:{unused_tcp_port}", "disk"):
                pass


def test_a_server_that_does_not_know_the_command_is_told_apart() -> None:
    assert "Redis 7.2 or later" in refusal("ERR unknown command 'WAITAOF', with args beginning with: '1' '0' '1'")
