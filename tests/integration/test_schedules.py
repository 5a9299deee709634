"""Schedules on a real Redis: each tick is enqueued once, whoever dies or edits meanwhile, and nobody undoes another."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from arq.worker import func

from jobqueue.broker import schedulestore
from jobqueue.broker.connection import open_pool, parse
from jobqueue.broker.keys import QueueKeys, ScheduleKeys, queue_name
from jobqueue.broker.schedules import Schedules
from jobqueue.duties.scheduler import LOOK_S, Scheduler, scheduling
from jobqueue.errors import Conflict, InvalidInput, NotFound
from jobqueue.job import decode
from jobqueue.queues import Queue
from jobqueue.queues import parse as parse_queues
from jobqueue.scheduling import Missed, Schedule
from tests.engine_support import INGEST, connected, pool_of, running_worker, wait_until
from tests.integration.cluster_support import cluster, server

START_MS: Final = int(datetime(2024, 3, 1, 12, tzinfo=UTC).timestamp() * 1000)
MINUTE_MS: Final = 60_000
_JOB: Final[dict[str, Any]] = {"timeout_s": 60, "retry": "r", "keep_result_s": 0}
QUEUES: Final[dict[str, Queue]] = parse_queues(
    {
        "retry": {"r": {"backoff": "fixed", "base_s": 1.0, "cap_s": 1.0, "max_attempts": 2}},
        "queues": {
            "ingest": {
                "weight": 1, "concurrency": 1,
                "jobs": {"tick": _JOB, "open": _JOB | {"tenants_may_schedule": True}},
            },
            "ocr": {"weight": 1, "concurrency": 1, "jobs": {"other": _JOB}},
        },
    },
    "tests",
)  # fmt: skip
EVERY_MINUTE: Final = Schedule(cron="* * * * *", queue="ingest", job="tick")


class Clock:
    """The time as the test has it."""

    def __init__(self) -> None:
        self.ms = START_MS

    def __call__(self) -> int:
        return self.ms

    def to(self, minutes: float) -> None:
        self.ms = START_MS + int(minutes * MINUTE_MS)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(pool: Any, clock: Clock) -> Schedules:
    return Schedules(pool, QUEUES, now_ms=clock)


def scheduler(book: Schedules) -> Scheduler:
    return Scheduler(book, {})


async def waiting(pool: Any, keys: QueueKeys = INGEST) -> list[str]:
    return sorted(job_id.decode() for job_id in await pool.zrange(keys.queue, 0, -1))


def job_ids(minutes: range, name: str = "every") -> list[str]:
    return [f"ingest-{name}-{START_MS + n * MINUTE_MS}" for n in minutes]


@asynccontextmanager
async def running(url: str, ran: Counter[str]) -> AsyncIterator[Any]:
    """A worker that keeps no results, so that nothing but the enqueue-once marker is left of a job that ran."""

    async def tick(ctx: dict[str, Any]) -> None:
        ran[ctx["job_id"]] += 1

    async with running_worker(url, func(tick, name="tick", keep_result=0)) as worker:
        yield worker


# ── once ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_three_schedulers_enqueue_each_of_200_ticks_once(redis_url: str, pool: Any, clock: Clock) -> None:
    ran: Counter[str] = Counter()
    books = [Schedules(pool, QUEUES, now_ms=clock) for _ in range(3)]
    await books[0].create("every", EVERY_MINUTE)
    async with running(redis_url, ran) as worker:
        for minute in range(1, 201):
            clock.to(minute)
            await asyncio.gather(*(scheduler(book).round() for book in books))
        await wait_until(lambda: sum(ran.values()) >= 200, what="200 runs")
        await wait_until(lambda: not worker.held)
    assert ran == Counter(job_ids(range(1, 201)))


async def test_a_scheduler_that_was_stalled_enqueues_nothing_again(
    redis_url: str, pool: Any, book: Schedules, clock: Clock
) -> None:
    """It looked, stood still while another dealt with the tick and its job ran, and goes on."""
    ran: Counter[str] = Counter()
    await book.create("every", EVERY_MINUTE)
    clock.to(1)
    stale = await book.store.look(10)
    async with running(redis_url, ran) as worker:
        await scheduler(book).round()
        await wait_until(lambda: bool(ran) and not worker.held)
        clock.to(2)
        await scheduler(book).round()
        await wait_until(lambda: len(ran) == 2 and not worker.held)
        await scheduler(book)._deal_with(stale.found[0], stale.now_ms)
    assert await waiting(pool) == []
    assert set(ran.values()) == {1}
    assert (await book.store.read("every")).since_ms == clock.ms, "the watermark never goes back"


class Crash(BaseException):
    """The process ends here."""


class Dying:
    """A pool of a process that ends before or after its nth call."""

    def __init__(self, pool: Any, number: int = 0, *, after: bool = False) -> None:
        self._pool = pool
        self._number, self._after = number, after
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._pool, name)
        if name not in {"evalsha", "eval", "hget", "hscan"}:
            return found

        async def call(*args: Any) -> Any:
            self.calls += 1
            if self.calls == self._number and not self._after:
                raise Crash
            answer = await found(*args)
            if self.calls == self._number:
                raise Crash
            return answer

        return call


async def test_wherever_a_scheduler_dies_another_enqueues_the_tick_once(
    redis_url: str, pool: Any, book: Schedules, clock: Clock
) -> None:
    ran: Counter[str] = Counter()
    await book.create("every", EVERY_MINUTE)
    clock.to(1)
    undisturbed = Dying(pool)
    await scheduler(Schedules(undisturbed, QUEUES, now_ms=clock)).round()
    points = [(number, after) for number in range(1, undisturbed.calls + 1) for after in (False, True)]
    assert len(points) >= 8, "look, enqueue, read and write"
    async with running(redis_url, ran) as worker:
        for minute, (number, after) in enumerate(points, start=2):
            clock.to(minute)
            with pytest.raises(Crash):
                await scheduler(Schedules(Dying(pool, number, after=after), QUEUES, now_ms=clock)).round()
            await wait_until(lambda: queue_is_empty(pool))  # what it enqueued has run before another comes
            await scheduler(book).round()
        await wait_until(lambda: queue_is_empty(pool))
        await wait_until(lambda: not worker.held)
    assert ran == Counter(job_ids(range(1, len(points) + 2)))


async def queue_is_empty(pool: Any) -> bool:
    return not await pool.zcard(INGEST.queue)


async def test_the_marker_of_a_tick_outlives_the_time_in_which_it_may_be_enqueued(
    redis_url: str, pool: Any, book: Schedules, clock: Clock
) -> None:
    ran: Counter[str] = Counter()
    await book.create("every", EVERY_MINUTE)
    clock.to(1)
    async with running(redis_url, ran) as worker:
        await scheduler(book).round()
        await wait_until(lambda: bool(ran) and not worker.held)
    (job_id,) = ran
    assert 23 * 3_600_000 < await pool.pttl(INGEST.once(job_id)) <= 24 * 3_600_000


# ── catching up ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("missed", "minutes"), [(Missed.SKIP, range(30, 31)), (Missed.ONCE, range(30, 31)), (Missed.ALL, range(1, 31))]
)
async def test_ticks_of_half_an_hour_without_a_scheduler(
    pool: Any, book: Schedules, clock: Clock, missed: Missed, minutes: range
) -> None:
    await book.create("every", replace(EVERY_MINUTE, missed=missed))
    clock.to(30)
    await scheduler(book).round()
    assert await waiting(pool) == job_ids(minutes)
    clock.to(30.5)
    await scheduler(book).round()
    assert await waiting(pool) == job_ids(minutes), "and then never again"


async def test_after_redis_was_away_the_scheduler_goes_on(tmp_path: Path, unused_tcp_port: int, clock: Clock) -> None:
    async with connected(f"redis://127.0.0.1:{unused_tcp_port}") as pool:
        book = Schedules(pool, QUEUES, now_ms=clock)
        async with server(tmp_path, unused_tcp_port):
            await book.create("every", replace(EVERY_MINUTE, missed=Missed.ALL))
        async with scheduling(book, {}):
            clock.to(3)
            async with server(tmp_path, unused_tcp_port):
                await wait_until(lambda: has(pool, 3), within_s=5 * LOOK_S, what="the missed ticks")
        assert len(asyncio.all_tasks()) == 1, "the scheduler has ended with its block"


async def has(pool: Any, count: int) -> bool:
    return bool(await pool.zcard(INGEST.queue) == count)


async def test_a_job_is_due_later_by_the_schedule_s_own_jitter(pool: Any, book: Schedules, clock: Clock) -> None:
    view = await book.create("every", replace(EVERY_MINUTE, jitter_s=50))
    clock.to(1)
    await scheduler(book).round()
    clock.to(2)
    await scheduler(book).round()
    first, second = [score for _, score in await pool.zrange(INGEST.queue, 0, -1, withscores=True)]
    assert 0 < first - START_MS - MINUTE_MS < 50_000
    assert second - first == MINUTE_MS
    assert view.next_run_at is not None
    assert view.next_run_at.timestamp() * 1000 == first
    seen = await book.get("every")
    assert seen.last_run_at is not None
    assert seen.last_run_at.timestamp() * 1000 == second


async def test_the_next_look_is_when_the_next_tick_is(book: Schedules, clock: Clock) -> None:
    assert await scheduler(book).round() == LOOK_S
    await book.create("every", EVERY_MINUTE)
    clock.to(0.995)
    assert await scheduler(book).round() == pytest.approx(0.3)


async def test_more_schedules_than_fit_one_look_are_dealt_with_at_once(
    pool: Any, book: Schedules, clock: Clock
) -> None:
    for number in range(101):
        await book.create(f"s{number}", EVERY_MINUTE)
    clock.to(1)
    assert await scheduler(book).round() == 0
    await scheduler(book).round()
    assert len(await waiting(pool)) == 101


# ── the verbs ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_schedule_lives(pool: Any, book: Schedules, clock: Clock) -> None:
    made = await book.create("every", replace(EVERY_MINUTE, kwargs={"days": 7}))
    assert made.next_run_at == datetime(2024, 3, 1, 12, 1, tzinfo=UTC)
    assert (made.origin, made.paused, made.last_run_at, made.last_job_id) == ("api", False, None, None)
    with pytest.raises(Conflict, match="already"):
        await book.create("every", EVERY_MINUTE)

    clock.to(1)
    await scheduler(book).round()
    (job_id,) = await waiting(pool)
    seen = await book.get("every")
    assert (seen.last_job_id, seen.last_run_at) == (job_id, made.next_run_at)
    payload = decode(await pool.get(INGEST.job(job_id)))
    assert (payload["f"], payload["k"], payload["m"]) == ("tick", {"days": 7}, {"schedule": "every", "once": 1})

    assert (await book.pause("every")).next_run_at is None
    clock.to(10)
    await scheduler(book).round()
    assert len(await waiting(pool)) == 1, "no tick during the pause"
    resumed = await book.resume("every")
    assert resumed.next_run_at == datetime(2024, 3, 1, 12, 11, tzinfo=UTC)
    await scheduler(book).round()
    assert len(await waiting(pool)) == 1, "those during the pause are not made up for"

    changed = await book.update("every", replace(EVERY_MINUTE, cron="30 4 * * *", timezone="Europe/Berlin"))
    assert changed.next_run_at == datetime(2024, 3, 2, 3, 30, tzinfo=UTC)
    extra = await book.run_now("every")
    assert extra in await waiting(pool)
    assert (await book.get("every")).last_job_id == extra

    await book.delete("every")
    assert await book.list() == []
    for gone in (book.get, book.pause, book.resume, book.run_now, book.delete):
        with pytest.raises(NotFound, match="every"):
            await gone("every")
    assert await pool.zcard(ScheduleKeys().due) == 0


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("Every", {}, "lower-case"),
        ("acme.every", {}, "lower-case"),
        ("a b", {}, "lower-case"),
        ("every", {"cron": "61 * * * *"}, "minute '61'"),
        ("every", {"timezone": "Europe/Berlni"}, "Europe/Berlin"),
        ("every", {"queue": "llm"}, "there is ingest, ocr"),
        ("every", {"job": "other"}, "queue 'ingest' has tick, open"),
    ],
)
async def test_what_is_no_good_is_refused(book: Schedules, name: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        await book.create(name, replace(EVERY_MINUTE, **changes))
    assert await book.list() == []


async def test_concurrent_edits_and_a_scheduler_never_undo_each_other(pool: Any, book: Schedules, clock: Clock) -> None:
    await book.create("every", EVERY_MINUTE)
    clock.to(1)
    look = await book.store.look(10)
    changed = replace(EVERY_MINUTE, kwargs={"n": 1})
    _, _, job_id, _ = await asyncio.gather(
        book.pause("every"),
        book.update("every", changed),
        book.run_now("every"),
        scheduler(book)._deal_with(look.found[0], look.now_ms),
    )
    stored = await book.store.read("every")
    assert (stored.paused, stored.schedule.kwargs, stored.since_ms) == (True, {"n": 1}, clock.ms)
    assert await waiting(pool) == sorted([*job_ids(range(1, 2)), job_id])


async def test_ticks_dealt_with_before_a_new_crontab_do_not_move_its_watermark(book: Schedules, clock: Clock) -> None:
    await book.create("every", EVERY_MINUTE)
    clock.to(1)
    look = await book.store.look(10)
    clock.to(0.5)
    await book.update("every", replace(EVERY_MINUTE, cron="1 12 * * *"))
    await scheduler(book)._deal_with(look.found[0], look.now_ms)
    assert (await book.store.read("every")).since_ms == clock.ms


async def test_other_arguments_keep_the_tick_that_is_due(pool: Any, book: Schedules, clock: Clock) -> None:
    await book.create("every", EVERY_MINUTE)
    clock.to(1)
    await book.update("every", replace(EVERY_MINUTE, kwargs={"n": 2}))
    await scheduler(book).round()
    assert await waiting(pool) == job_ids(range(1, 2))


async def test_the_number_of_schedules_is_bounded(book: Schedules, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedulestore, "MAX_SCHEDULES", 3)
    monkeypatch.setattr(schedulestore, "MAX_OF_A_TENANT", 2)
    acme, open_ = book.of("acme"), replace(EVERY_MINUTE, job="open")
    await acme.create("a", open_)
    await acme.create("b", open_)
    with pytest.raises(Conflict, match="there are 2 schedules"):
        await acme.create("c", open_)
    await book.create("c", EVERY_MINUTE)
    with pytest.raises(Conflict, match="there are 3 schedules"):
        await book.of("globex").create("d", open_)
    await acme.delete("a")
    await acme.create("c", open_)


async def test_a_record_that_cannot_be_read_stops_nobody_and_can_be_deleted(
    pool: Any, book: Schedules, clock: Clock
) -> None:
    await book.create("every", EVERY_MINUTE)
    for name, record in (("bad", b"\x80\x04."), ("worse", b"\x81\xa4cron\xa1x"), ("text", b"zzz")):
        await pool.hset(ScheduleKeys().schedules, name, record)
        await pool.zadd(ScheduleKeys().due, {name: 0})
    await pool.zadd(ScheduleKeys().due, {"orphan": 0})
    clock.to(1)
    await scheduler(book).round()
    assert await waiting(pool) == job_ids(range(1, 2))
    assert [view.name for view in await book.list()] == ["every"]
    assert [name async for name, _ in pool.zscan_iter(ScheduleKeys().due)] == [b"every"]
    for name in ("bad", "worse", "text"):
        await book.delete(name)


async def test_ticks_of_a_queue_that_is_no_longer_configured_are_passed_over(
    pool: Any, book: Schedules, clock: Clock
) -> None:
    await book.create("every", replace(EVERY_MINUTE, queue="ocr", job="other"))
    fewer = Schedules(pool, {"ingest": QUEUES["ingest"]}, now_ms=clock)
    clock.to(1)
    await scheduler(fewer).round()
    assert await waiting(pool, QueueKeys(queue_name("ocr"))) == []
    assert (await book.store.read("every")).since_ms == clock.ms
    with pytest.raises(Conflict, match="no queue 'ocr'"):
        await fewer.run_now("every")


# ── tenants ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_tenant_sees_and_runs_its_own_alone(pool: Any, book: Schedules, clock: Clock) -> None:
    await book.synchronise({"ours": EVERY_MINUTE})
    acme, globex = book.of("acme"), book.of("globex")
    open_ = replace(EVERY_MINUTE, job="open", kwargs={"n": 1})
    view = await acme.create("nightly", open_)
    assert (view.name, view.schedule.kwargs) == ("nightly", {"n": 1, "tenant_id": "acme"})
    await globex.create("nightly", open_)
    assert [view.name for view in await acme.list()] == ["nightly"]
    assert [view.name for view in await book.list()] == ["acme.nightly", "globex.nightly", "ours"]
    for name in ("ours", "globex.nightly", "acme.nightly"):
        with pytest.raises(NotFound):
            await acme.delete(name)
    clock.to(1)
    await scheduler(book).round()
    (job_id,) = [job_id for job_id in await waiting(pool) if "acme" in job_id]
    payload = decode(await pool.get(INGEST.job(job_id)))
    assert job_id == f"ingest-acme.nightly-{clock.ms}"
    assert payload["k"] == {"n": 1, "tenant_id": "acme"}
    assert (payload["m"]["tenant"], payload["m"]["schedule"]) == ("acme", "nightly")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"job": "tick"}, "queue 'ingest' has open"),
        ({"queue": "ocr", "job": "other"}, "queue 'ocr': there is ingest"),
        ({"kwargs": {"tenant_id": "globex"}}, "tenant_id is that of your key"),
    ],
)
async def test_a_tenant_reaches_no_job_that_is_not_open_to_it(
    book: Schedules, changes: dict[str, Any], said: str
) -> None:
    acme, open_ = book.of("acme"), replace(EVERY_MINUTE, job="open")
    await acme.create("nightly", open_)
    for write in (acme.create, acme.update):
        with pytest.raises(InvalidInput, match=said):
            await write("nightly", replace(open_, **changes))


@pytest.mark.parametrize("tenant_id", ["", "a.b", "a*", "a b", "x" * 65])
def test_no_tenant_has_a_name_that_reaches_others(book: Schedules, tenant_id: str) -> None:
    with pytest.raises(InvalidInput, match="tenant"):
        book.of(tenant_id)


# ── queues.toml ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_configuration_is_followed_and_an_operator_s_pause_survives(book: Schedules, clock: Clock) -> None:
    daily = replace(EVERY_MINUTE, cron="0 0 * * *")
    await book.create("mine", EVERY_MINUTE)
    await book.synchronise({"a": EVERY_MINUTE, "b": EVERY_MINUTE})
    await book.pause("a")
    since = (await book.store.read("b")).since_ms
    clock.to(0.5)
    await book.synchronise({"a": daily, "b": EVERY_MINUTE})  # a restart with another file
    views = {view.name: view for view in await book.list()}
    assert {name: view.origin for name, view in views.items()} == {"a": "config", "b": "config", "mine": "api"}
    assert (views["a"].paused, views["a"].schedule.cron) == (True, "0 0 * * *")
    assert (await book.store.read("b")).since_ms == since, "a restart loses no tick"
    await book.synchronise({"a": daily})
    assert [view.name for view in await book.list()] == ["a", "mine"]
    assert (await book.resume("a")).next_run_at == datetime(2024, 3, 2, tzinfo=UTC)


async def test_a_configured_schedule_is_changed_in_its_file_alone(book: Schedules) -> None:
    await book.synchronise({"a": EVERY_MINUTE})
    with pytest.raises(Conflict, match=r"queues\.toml"):
        await book.update("a", EVERY_MINUTE)
    with pytest.raises(Conflict, match=r"queues\.toml"):
        await book.delete("a")
    assert (await book.get("a")).origin == "config"


async def test_several_workers_synchronise_at_a_time(pool: Any, book: Schedules) -> None:
    await pool.hset(ScheduleKeys().schedules, "a", b"damaged")
    wanted = dict.fromkeys("abcdef", EVERY_MINUTE)
    await asyncio.gather(*(Schedules(pool, QUEUES).synchronise(wanted) for _ in range(3)), return_exceptions=True)
    await book.synchronise(wanted)
    assert [view.name for view in await book.list()] == list("abcdef")
    await asyncio.gather(*(Schedules(pool, QUEUES).synchronise({}) for _ in range(3)))
    assert await book.list() == []


async def test_without_a_clock_of_its_own_redis_tells_the_time(pool: Any) -> None:
    book = Schedules(pool, QUEUES)
    view = await book.create("every", EVERY_MINUTE)
    seconds, _ = await pool.time()
    assert abs(view.created_at.timestamp() - seconds) < 2
    (found,) = await book.store.all()
    await book.store.change("every", lambda stored: replace(stored, since_ms=found.since_ms - MINUTE_MS))
    async with scheduling(book, {}):
        await wait_until(lambda: has(pool, 1), what="the tick of the last minute")


async def test_schedules_work_on_a_cluster(
    tmp_path: Path, unused_tcp_port_factory: Callable[[], int], clock: Clock
) -> None:
    async with cluster(tmp_path, unused_tcp_port_factory) as url:
        pool: Any = open_pool(parse(url), queue=queue_name("ingest"))
        try:
            book = Schedules(pool, QUEUES, now_ms=clock)
            await book.synchronise({"every": EVERY_MINUTE, "other": replace(EVERY_MINUTE, queue="ocr", job="other")})
            await book.of("acme").create("mine", replace(EVERY_MINUTE, job="open"))
            clock.to(1)
            await scheduler(book).round()
            await book.pause("every")
            assert [(view.name, view.paused) for view in await book.list()] == [
                ("acme.mine", False), ("every", True), ("other", False),
            ]  # fmt: skip
            counts = [await pool.zcard(QueueKeys(queue_name(name), cluster=True).queue) for name in ("ingest", "ocr")]
            assert counts == [2, 1]
            assert (await Schedules(pool, QUEUES).store.now_ms()) > START_MS
        finally:
            await pool.aclose()


async def test_a_pool_of_its_own_per_scheduler_changes_nothing(redis_url: str, clock: Clock) -> None:
    pools: list[Any] = [pool_of(redis_url) for _ in range(3)]
    books = [Schedules(pool, QUEUES, now_ms=clock) for pool in pools]
    await books[0].create("every", replace(EVERY_MINUTE, missed=Missed.ALL))
    clock.to(20)
    await asyncio.gather(*(scheduler(book).round() for book in books))
    assert await waiting(pools[0]) == job_ids(range(1, 21))
    for pool in pools:
        await pool.aclose(close_connection_pool=True)
