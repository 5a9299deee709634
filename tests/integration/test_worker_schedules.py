"""The worker of the ``system`` queue runs what queues.toml schedules."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from jobqueue import settings
from jobqueue.broker.keys import METRICS
from jobqueue.broker.schedules import Schedules
from jobqueue.engine.worker import Worker
from jobqueue.ports import Services
from jobqueue.queues import load, load_schedules
from jobqueue.worker import SCHEDULER, worker_settings
from tests.engine_support import running, wait_until

QUEUES = load()


class NoServices:
    """What neither the start-up nor ``roll_up_metrics`` uses."""

    records = None


@asynccontextmanager
async def no_services() -> AsyncIterator[Services]:
    yield cast("Services", NoServices())


def system_worker(url: str, directory: Path) -> Worker:
    config = settings.load(redis_url=url, data_dir=directory)
    return Worker(**worker_settings(SCHEDULER, config, QUEUES, no_services), handle_signals=False)


async def configured(book: Schedules, names: set[str]) -> bool:
    return {view.name for view in await book.list() if view.origin == "config"} == names


async def test_its_schedules_are_there_when_it_runs_and_their_jobs_run(
    redis_url: str, pool: Any, tmp_path: Path
) -> None:
    book = Schedules(pool, QUEUES)
    async with running(system_worker(redis_url, tmp_path)) as worker:
        await wait_until(lambda: configured(book, set(load_schedules())), what="the configured schedules")
        await book.run_now("roll_up_metrics")
        await wait_until(lambda: worker.jobs_complete >= 1, what="the job")
    assert await pool.xlen(METRICS) >= 1


async def test_an_operators_pause_survives_a_restart(redis_url: str, pool: Any, tmp_path: Path) -> None:
    book = Schedules(pool, QUEUES)
    async with running(system_worker(redis_url, tmp_path)):
        await wait_until(lambda: configured(book, set(load_schedules())), what="the configured schedules")
        await book.pause("expire")
    await book.store.delete("resubmit", configured=True)  # what a worker synchronises when it starts
    async with running(system_worker(redis_url, tmp_path)):
        await wait_until(lambda: configured(book, set(load_schedules())), what="the configured schedules, again")
    assert (await book.get("expire")).paused
