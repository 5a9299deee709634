"""``jobqueue schedule``: jobs that run by the clock, straight from Redis, so that it works while the server doesn't."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, TypeVar

import click

from jobqueue import queues, settings
from jobqueue.broker.schedules import Schedules
from jobqueue.cli.common import emit, json_option, run
from jobqueue.cli.render import table, tell
from jobqueue.client import Client, create_pool
from jobqueue.scheduling import Missed, Schedule, ScheduleView

T = TypeVar("T")

_NAME: Final = click.argument("name")


@click.group()
def schedule() -> None:
    """List, add, pause, resume, run and delete schedules: jobs that run by the clock."""


@schedule.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List all, by name; a tenant's begin with its id and a dot."""
    views = run(_list())
    if as_json:
        emit({"schedules": [view.to_data() for view in views]})
    else:
        columns = ("Schedule", "Cron", "Zone", "Job", "Next run (UTC)", "Last run (UTC)", "Last job")
        table(columns, [_row(view) for view in views])


def _row(view: ScheduleView) -> Sequence[object]:
    plan, following = view.schedule, "paused" if view.paused else _time(view.next_run_at)
    job = f"{plan.queue}: {plan.job}"
    return view.name, plan.cron, plan.timezone, job, following, _time(view.last_run_at), view.last_job_id or "-"


def _time(moment: datetime | None) -> str:
    return f"{moment:%F %T}" if moment else "-"


def _kwargs(_ctx: click.Context, _param: click.Parameter, value: str) -> dict[str, Any]:
    try:
        found = json.loads(value)
    except ValueError as exc:
        raise click.BadParameter(f"give a JSON object, such as '{{\"days\": 7}}' ({exc})") from None
    if not isinstance(found, dict):
        raise click.BadParameter("give a JSON object, such as '{\"days\": 7}'")
    return found


@schedule.command()
@_NAME
@click.option("--cron", required=True, metavar="CRONTAB", help="Five fields, such as '30 4 * * MON-FRI', or @daily.")
@click.option("--queue", required=True, metavar="NAME", help="On which the job runs.")
@click.option("--job", required=True, metavar="TYPE", help="A job type of that queue.")
@click.option("--timezone", default="UTC", show_default=True, metavar="ZONE", help="Such as Europe/Berlin.")
@click.option("--kwargs", default="{}", callback=_kwargs, metavar="JSON", help="What the job is called with.")
@click.option(
    "--missed", type=click.Choice([str(each) for each in Missed]), default="skip", show_default=True,
    help="What becomes of ticks while no worker was there: nothing, one run for all of them, each of them.",
)  # fmt: skip
@click.option("--jitter", type=click.FloatRange(0), default=0.0, metavar="SECONDS", help="Spread its start so far.")
@click.option("--paused", is_flag=True, help="Start with 'jobqueue schedule resume'.")
@json_option
def add(*, name: str, missed: str, jitter: float, paused: bool, as_json: bool, **plan: Any) -> None:
    """Add one, from now on."""
    view = run(_add(name, Schedule(missed=Missed(missed), jitter_s=jitter, **plan), paused=paused))
    _show("added paused" if paused else "added", view, as_json=as_json)


@schedule.command()
@_NAME
@json_option
def pause(name: str, as_json: bool) -> None:
    """Pause one: no tick enqueues anything."""
    _show("paused", run(_do(Schedules.pause, name)), as_json=as_json)


@schedule.command()
@_NAME
@json_option
def resume(name: str, as_json: bool) -> None:
    """Resume a paused one; ticks during the pause are not made up for."""
    _show("resumed", run(_do(Schedules.resume, name)), as_json=as_json)


@schedule.command("run")
@_NAME
@json_option
def run_(name: str, as_json: bool) -> None:
    """Enqueue its job once more, now."""
    job_id = run(_do(Schedules.run_now, name))
    if as_json:
        emit({"job_id": job_id})
    else:
        tell(f"enqueued {job_id}")


@schedule.command()
@_NAME
@json_option
def delete(name: str, as_json: bool) -> None:
    """Delete one; those of queues.toml can only be paused."""
    run(_do(Schedules.delete, name))
    if as_json:
        emit({"deleted": name})
    else:
        tell(f"deleted {name}")


def _show(done: str, view: ScheduleView, *, as_json: bool) -> None:
    if as_json:
        emit(view.to_data())
    else:
        following = "" if view.paused else f": next run {_time(view.next_run_at)} UTC"
        tell(f"{done} {view.name}{following}")


# ── the work ─────────────────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def _open() -> AsyncIterator[Schedules]:
    config = settings.load()
    pool = await create_pool(config.redis_url, data_dir=config.data_dir, tls=config.redis_tls)
    async with Client(pool, queues.load(config.queues_file)) as client:
        yield client.schedules


async def _list() -> list[ScheduleView]:
    async with _open() as schedules:
        return await schedules.list()


async def _add(name: str, plan: Schedule, *, paused: bool) -> ScheduleView:
    async with _open() as schedules:
        return await schedules.create(name, plan, paused=paused)


async def _do(verb: Callable[[Schedules, str], Awaitable[T]], name: str) -> T:
    async with _open() as schedules:
        return await verb(schedules, name)
