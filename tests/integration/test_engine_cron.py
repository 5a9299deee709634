"""Cron: a tick is enqueued once, however many workers there are and however late one of them is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from arq import cron
from arq.cron import CronJob

from jobqueue.broker.scripts import Scripts
from jobqueue.engine.cron import due_ticks
from tests.engine_support import INGEST, left, per_job, running_worker, wait_until


def ticking(ran: list[str], **options: Any) -> CronJob:
    async def tick(ctx: dict[str, Any]) -> None:
        ran.append(ctx["job_id"])

    arguments: dict[str, Any] = {"name": "tick", "second": set(range(60)), "microsecond": 0, "keep_result": 0} | options
    return cron(tick, **arguments)


async def test_three_workers_run_each_tick_once(redis_url: str, pool: Any) -> None:
    ran: list[str] = []
    jobs = [[ticking(ran)] for _ in range(3)]
    async with (
        running_worker(redis_url, cron_jobs=jobs[0]),
        running_worker(redis_url, cron_jobs=jobs[1]),
        running_worker(redis_url, cron_jobs=jobs[2]) as last,
    ):
        await wait_until(lambda: len(ran) >= 2, within_s=4)
        await wait_until(lambda: not last.held)
    assert len(set(ran)) == len(ran), "a tick ran twice"
    assert per_job(await left(pool)) - {key for key in await left(pool) if "tick" in key} == set()


async def test_a_late_worker_does_not_run_a_tick_again(redis_url: str, pool: Any) -> None:
    """A worker that was stalled enqueues the tick after it ran, was recorded, and kept no result."""
    ran: list[str] = []
    now = datetime.now(UTC).replace(microsecond=0)
    window = timedelta(seconds=1)

    def stale() -> list[CronJob]:
        job = ticking(ran)
        job.next_run = now
        return [job]

    (first,), (second,) = due_ticks(stale(), now, window), due_ticks(stale(), now, window)
    assert first.id == second.id
    assert [e.answer for e in await Scripts(pool, INGEST).enqueue([first])] == ["enqueued"]
    idle = ticking(ran, month=1, day=1, hour=0, minute=0, second=0)
    async with running_worker(redis_url, cron_jobs=[idle]) as worker:
        await wait_until(lambda: worker.jobs_complete == 1 and not worker.held)
        assert not await pool.exists(INGEST.result(first.id))
        assert [e.answer for e in await Scripts(pool, INGEST).enqueue([second])] == ["once"]
    assert ran == [first.id]
    assert 23 * 3_600_000 < await pool.pttl(INGEST.once(first.id)) <= 24 * 3_600_000


async def test_a_tick_that_is_not_unique_runs_in_every_worker(redis_url: str, pool: Any) -> None:
    """arq: ``unique`` says "whether the job should only be executed once at each time"."""
    ran: list[str] = []
    now = datetime.now(UTC).replace(microsecond=0)
    ids = set()
    for _ in range(2):
        job = ticking(ran, unique=False)
        job.next_run = now
        (spec,) = due_ticks([job], now, timedelta(seconds=1))
        ids.add(spec.id)
    assert len(ids) == 2


async def test_a_tick_with_an_id_of_its_own_runs_again_after_it_has_finished(redis_url: str, pool: Any) -> None:
    ran: list[str] = []
    async with running_worker(redis_url, cron_jobs=[ticking(ran, job_id="the-only-one")]):
        await wait_until(lambda: len(ran) == 2, within_s=4)
    assert ran == ["the-only-one"] * 2
