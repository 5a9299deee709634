"""Everything runs under the rights that ``jobqueue acl`` prints, and there is none among them that nothing needs."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from arq.connections import log_redis_info
from arq.cron import cron
from arq.worker import async_check_health
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError

from jobqueue import client as client_
from jobqueue.broker.acl import CLIENT, WORKER, set_user
from jobqueue.broker.connection import arq_settings, close_pool, open_pool, parse, socket_url
from jobqueue.broker.embedded import EmbeddedRedis, Endpoint
from jobqueue.broker.keys import queue_name
from jobqueue.broker.lock import Lock
from jobqueue.broker.options import Options, Unique
from jobqueue.broker.schedules import Schedules
from jobqueue.broker.scripts import Scripts
from jobqueue.client import Client, NewJob
from jobqueue.duties.scheduler import Scheduler
from jobqueue.errors import ConfigError, InvalidInput, JobqueueError, NotFound, Transient
from jobqueue.flows import Step
from jobqueue.job import State
from jobqueue.limits import Limit
from jobqueue.queues import load
from jobqueue.retry import Backoff, RetryPolicy
from jobqueue.scheduling import Schedule
from tests.engine_support import INGEST, QUEUES, connected, flow_of, running_worker, wait_until
from tests.integration.cluster_support import cluster

PASSWORD = "p4ss"
EAGER = RetryPolicy(backoff=Backoff.FIXED, base_s=0.02, cap_s=0.02, max_attempts=2, cooldown_after=1, cooldown_s=0.2)


@pytest_asyncio.fixture
async def endpoint(tmp_path: Path) -> AsyncIterator[Endpoint]:
    """A server of this test's own: ACL log and command counts begin empty."""
    async with EmbeddedRedis(tmp_path) as endpoint:
        yield endpoint


async def granted(endpoint: Endpoint, role: Any, **options: Any) -> str:
    """The URL of a user with the rights of a role."""
    async with Redis.from_url(endpoint.url) as admin:
        line = set_user(role, role, password=PASSWORD, **options)
        await admin.execute_command(*line.split(" "))
    return socket_url(endpoint.socket, PASSWORD).replace("://:", f"://{role}:")


async def denials(endpoint: Endpoint) -> list[tuple[str, str]]:
    async with Redis.from_url(endpoint.url) as admin:
        return [(entry["context"], entry["object"]) for entry in await admin.acl_log()]


async def used(endpoint: Endpoint) -> set[str]:
    async with Redis.from_url(endpoint.url) as admin:
        stats = await admin.info("commandstats")
    return {name.removeprefix("cmdstat_") for name in stats}


async def everything(url: str) -> None:
    """What workers, the server and the commands do."""
    mended, endless = asyncio.Event(), asyncio.Event()
    ticks: list[str] = []

    async def work(ctx: dict[str, Any], n: int = 0) -> int:
        await ctx["progress"](1, 2, "half")
        await ctx["partial"](n)
        if n and ctx["job_try"] == 1:
            raise Transient("once")
        return n

    async def picky(ctx: dict[str, Any]) -> str:
        await ctx["checkpoint"].save(await ctx["checkpoint"].load())
        if not mended.is_set():
            raise Transient("not yet")
        return "mended"

    async def wait(ctx: dict[str, Any]) -> None:
        endless.set()
        await asyncio.Event().wait()

    async def tick(ctx: dict[str, Any]) -> None:
        ticks.append(ctx["job_id"])

    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(await client_.connect(url, queues=QUEUES))
        extra = {"policies": {"picky": EAGER}, "lease_s": 1.0, "park_delay_s": 0.05, "park_s": 0.1}
        for queue in ("ingest", "ocr"):
            options: dict[str, Any] = {"queue": queue, "extra": extra}
            if queue == "ocr":
                options["cron_jobs"] = [cron(tick, second=set(range(60)), microsecond=0)]
            await stack.enter_async_context(running_worker(url, work, picky, wait, **options))
        await jobs_end(client, endless)
        await dead_letters_return(client, mended)
        await a_flow_runs_and_another_is_cancelled(client)
        await wait_until(lambda: bool(ticks))
        await client.record_metrics({"depth": 1})
        await schedules_tick(Schedules(client.pool, load()))
        await limits_holds_and_pauses(client)
        async with Lock(client.pool, "one", lease_s=0.3):
            waiting = asyncio.create_task(take_the_lock(client.pool))
            until = time.monotonic() + 0.3
            await wait_until(lambda: time.monotonic() > until, what="a renewal")
        await waiting
    await a_worker_shuts_down_in_a_job(url)


async def schedules_tick(schedules: Schedules) -> None:
    await schedules.of("acme").create("a", Schedule(cron="* * * * *", queue="ocr", job="ocr_document"))
    await Scheduler(schedules, {}).round()
    for view in await schedules.list():
        await schedules.pause(view.name)
        await schedules.delete(view.name)


async def limits_holds_and_pauses(client: Client) -> None:
    pool: Any = client.pool
    control = client.control("ingest")
    await control.pause()
    await control.limit("type:work", Limit(concurrency=1, rate_per_s=1000))
    await control.hold("acme", function="work", where={"n": 0})
    jobs = [await pool.enqueue(NewJob(function="work", args=(0,), options=Options(tenant=t))) for t in "abc"]
    held = await pool.enqueue(NewJob(function="work", kwargs={"n": 0}))
    await control.resume()
    for job in jobs:
        await client.result(job.id, timeout_s=5)
    assert {rule.scope for rule in await control.rules()} == {"type:work", "hold:acme"}
    await control.lift("acme")
    await client.result(held.id, timeout_s=5)
    await control.unlimit("type:work")
    unique = NewJob(function="work", options=Options(unique=Unique(key="k", on_conflict="replace")), defer_s=60)
    assert [(await pool.enqueue(unique)).answer for _ in range(2)] == ["enqueued", "replaced"]
    assert await control.purge(expected=await control.waiting()) == 1
    await control.drain(timeout_s=5)
    await control.resume()


async def take_the_lock(pool: Any) -> None:
    async with Lock(pool, "one", lease_s=1):
        pass


async def jobs_end(client: Client, endless: asyncio.Event) -> None:
    jobs = [await client.pool.enqueue_job("work", n) for n in range(3)]
    for job in jobs:
        assert job is not None
        await client.result(job.job_id, timeout_s=5)
    later = await client.pool.enqueue_job("work", _defer_by=60)
    endless_ = await client.pool.enqueue_job("wait")
    assert later is not None
    assert endless_ is not None
    assert await client.cancel_job(later.job_id) == "cancelled"
    await endless.wait()
    assert await client.state(endless_.job_id) is State.RUNNING
    assert await client.progress(endless_.job_id) is None
    assert await client.cancel_job(endless_.job_id) == "cancelling"
    with pytest.raises(asyncio.CancelledError):
        await client.result(endless_.job_id, timeout_s=5)


async def dead_letters_return(client: Client, mended: asyncio.Event) -> None:
    letters = client.dead_letters("ingest")
    picky = await client.pool.enqueue_job("picky")
    await client.pool.enqueue_job("nobody_knows_this")
    assert picky is not None
    await wait_until(lambda: buried(letters, 2), what="two dead letters")
    assert len(await letters.list()) == len([letter async for letter in letters.all()]) == 2
    mended.set()
    for letter in await letters.list():
        await (letters.replay(letter) if letter.job_id == picky.job_id else letters.discard(letter))
    assert await client.result(picky.job_id, timeout_s=5) == "mended"
    with pytest.raises(NotFound):
        await letters.get(picky.job_id)


async def buried(letters: Any, count: int) -> bool:
    return bool(await letters.count() == count)


async def a_flow_runs_and_another_is_cancelled(client: Client) -> None:
    steps = (
        Step(name="a", queue="ingest", function="work"),
        Step(name="b", queue="ocr", function="work", needs=("a",), items=[{}, {}]),
    )
    await client.submit(flow_of("task-1", *steps))
    async with asyncio.timeout(5):
        views = [view async for view in client.watch("task-1")]
    assert views[-1].state == "succeeded"
    await client.replay_flow("task-1", "b")
    async with asyncio.timeout(5):
        views = [view async for view in client.watch("task-1")]
    assert views[-1].state == "succeeded"
    await client.submit(flow_of("task-2", Step(name="a", queue="llm", function="work")))
    assert await client.cancel("task-2") == "cancelled"
    assert {view.name for view in await client.queues()} == set(QUEUES)


async def a_worker_shuts_down_in_a_job(url: str) -> None:
    running = asyncio.Event()

    async def long(ctx: dict[str, Any]) -> None:
        running.set()
        await asyncio.Event().wait()

    async with connected(url) as pool:
        async with running_worker(url, long):
            await pool.enqueue_job("long")
            await running.wait()
        assert await pool.zcard(INGEST.queue) == 1, "handed back"


async def test_everything_runs_under_the_workers_rights_and_uses_each_of_them(endpoint: Endpoint) -> None:
    url = await granted(endpoint, "worker")
    await everything(url)
    assert await denials(endpoint) == []
    assert WORKER - await used(endpoint) == set(), "rights that nothing needs"


@pytest.mark.parametrize("command", ["info", "ping"])  # the test's own commands hide whether they are used
async def test_a_worker_needs_this_right_too(endpoint: Endpoint, command: str) -> None:
    url = await granted(endpoint, "worker")
    await start(url)
    async with Redis.from_url(endpoint.url) as admin:
        await admin.execute_command("ACL SETUSER", "worker", f"-{command}")
    with pytest.raises((NoPermissionError, ConfigError)):
        await start(url)


async def start(url: str) -> None:
    await close_pool(await client_.create_pool(url))
    async with connected(url) as pool:
        await log_redis_info(pool, lambda *_: None)


async def test_arqs_health_check_works_under_the_workers_rights(endpoint: Endpoint) -> None:
    url = await granted(endpoint, "worker")

    async def f(ctx: object) -> None: ...

    async with running_worker(url, f, health_check_key=INGEST.health_check):
        settings = arq_settings(parse(url))
        await wait_until(lambda: has_beaten(url), what="the health sentinel")
        with pytest.warns(DeprecationWarning, match="close"):  # arq's own call
            assert await async_check_health(settings, INGEST.health_check, INGEST.name) == 0
    assert await denials(endpoint) == []


async def has_beaten(url: str) -> bool:
    async with connected(url) as pool:
        return bool(await pool.exists(INGEST.health_check))


async def only_enqueues(url: str) -> None:
    pool: Any = await client_.create_pool(url)
    unique = Options(tenant="c", keys={"provider": "p"}, unique=Unique(key="k", window_s=60, on_conflict="replace"))
    try:
        assert await pool.enqueue_job("f", 1) is not None
        assert await pool.enqueue_job("f", _defer_by=60) is not None
        assert len(await pool.enqueue_many([NewJob(function="f")] * 3)) == 3
        answers = [(await pool.enqueue(NewJob(function="f", options=unique))).answer for _ in range(2)]
        assert answers == ["enqueued", "replaced"]
    finally:
        await close_pool(pool)


async def a_dead_worker_holds_a_lane_back(url: str) -> None:
    """What a client that takes a job out of its lane finds, and puts right."""
    async with connected(url) as pool, await client_.connect(url, queues=QUEUES) as client:
        await pool.flushdb()
        await client.control("ingest").limit("provider:p", Limit(concurrency=1))
        options = [Options(tenant=tenant, keys={"provider": "p"}) for tenant in "ab"]
        await pool.enqueue_many(NewJob(function="f", options=each) for each in options)
        scripts = Scripts(pool, INGEST)
        (job,) = (await scripts.claim(1, lease_ms=60_000, worker="w")).jobs
        assert (await scripts.claim(1, lease_ms=60_000, worker="w")).jobs == []
        await pool.delete(INGEST.in_progress(job.id))


async def without(endpoint: Endpoint, command: str) -> None:
    """Take one right from the client."""
    line = set_user("client", "client", password=PASSWORD)
    async with Redis.from_url(endpoint.url) as admin:
        await admin.execute_command(*[word for word in line.split(" ") if word != f"+{command}"])
        await admin.script_flush()  # so that EVAL has a part too
        await admin.acl_log_reset()


async def test_a_client_enqueues_under_its_rights_and_needs_each_of_them(endpoint: Endpoint) -> None:
    url = await granted(endpoint, "client")
    await a_dead_worker_holds_a_lane_back(endpoint.url)
    await only_enqueues(url)
    assert await denials(endpoint) == []
    missed = set()
    for command in CLIENT:
        await a_dead_worker_holds_a_lane_back(endpoint.url)
        await without(endpoint, command)
        with suppress(RedisError, JobqueueError):
            await only_enqueues(url)
        missed |= {name for _, name in await denials(endpoint)}
    assert missed == CLIENT, "a right that enqueueing does without"


async def test_a_client_can_neither_read_results_nor_touch_other_keys(endpoint: Endpoint) -> None:
    url = await granted(endpoint, "client")
    async with connected(url) as pool:
        for forbidden in (
            pool.get("arq:result:x"), pool.get("arq:job:x"), pool.get(INGEST.error("x")), pool.keys(),
            pool.hget(INGEST.checkpoint("x"), "data"), pool.flushall(), pool.config_get("*"),
            pool.set("session:1", "x"),
        ):  # fmt: skip
            with pytest.raises(NoPermissionError):
                await forbidden


async def test_missing_rights_are_told_with_what_to_do(endpoint: Endpoint) -> None:
    url = await granted(endpoint, "client")
    async with Redis.from_url(endpoint.url) as admin:
        await admin.execute_command("ACL SETUSER", "client", "-ping")
    with pytest.raises(ConfigError, match="'jobqueue acl'"):
        await client_.create_pool(url)


async def test_durable_writes_need_one_right_more(endpoint: Endpoint) -> None:
    url = await granted(endpoint, "client")
    with pytest.raises(ConfigError, match="WAITAOF"):
        await client_.create_pool(url, durable="disk")
    await close_pool(await client_.create_pool(await granted(endpoint, "client", durable="disk"), durable="disk"))


async def test_a_cluster_works_under_the_rights_for_one(
    tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> None:
    async with cluster(tmp_path, unused_tcp_port_factory) as url:
        ports = [port for _, port in parse(url).hosts]
        admin: Any
        for port in ports:
            async with Redis(port=port) as admin:
                await admin.execute_command(*set_user("w", "worker", password=PASSWORD, cluster=True).split(" "))
                await admin.execute_command(*set_user("c", "client", password=PASSWORD, cluster=True).split(" "))
        mine, clients = (url.replace("://", f"://{name}:{PASSWORD}@") for name in "wc")

        async def f(ctx: object) -> str:
            return "done"

        async def connect() -> Any:
            return open_pool(parse(mine), queue=queue_name("ingest"))

        extra = {"connect": connect, "cluster": True}
        async with (
            await client_.connect(mine, queues=["ingest"]) as client,
            running_worker("redis://unused", f, extra=extra),
            Lock(client.pool, "one"),
        ):
            await client.submit(flow_of("task-1", Step(name="a", queue="ingest", function="f")))
            async with asyncio.timeout(5):
                views = [view async for view in client.watch("task-1")]
            assert views[-1].state == "succeeded"
            control = client.control("ingest")
            await control.pause()
            await only_enqueues(clients)
            assert await control.purge(expected=await control.waiting()) == 6
            await control.drain(timeout_s=5)
            assert [(rule.scope, rule.paused) for rule in await control.rules()] == [("queue", True)]
        missing, needed = [], set()
        for port in ports:
            async with Redis(port=port) as admin:
                missing += await admin.acl_log()
                needed |= {name.removeprefix("cmdstat_") for name in await admin.info("commandstats")}
        assert missing == []
        assert needed >= {"cluster|slots", "command"}


def test_every_command_of_every_script_is_among_the_workers_rights() -> None:
    """Those that only a rare event brings too, such as a claim whose answer was lost."""
    scripts = [script.read_text() for script in files("jobqueue.broker").joinpath("lua").iterdir()]
    called = {name.lower() for text in scripts for name in re.findall(r"redis\.call\('(\w+)'", text)}
    assert len(called) > 20
    assert called - WORKER == set()


@pytest.mark.parametrize("name", ["", "a b", "a\n+@all", ">secret", "x" * 101])
def test_a_name_that_would_change_the_line_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="no name for a user"):
        set_user(name, "worker")
