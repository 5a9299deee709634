"""``jobqueue flow``: a task by its steps, as the server shows it to its tenant."""

from __future__ import annotations

import click

from jobqueue import settings
from jobqueue.cli.api import connect
from jobqueue.cli.common import emit, json_option, run
from jobqueue.cli.render import seconds, show_task, table, tell
from jobqueue.views import ChildrenPage, TaskView


@click.group()
def flow() -> None:
    """Show, cancel and replay tasks by their steps."""


@flow.command()
@click.argument("task_id")
@click.option("--children", "step", metavar="STEP", help="List the jobs of this step.")
@click.option("--offset", type=click.IntRange(0, 999_999), default=0, help="Begin with this one of them.")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="At most so many.")
@json_option
def show(*, task_id: str, step: str | None, offset: int, limit: int, as_json: bool) -> None:
    """Show a task's steps, or the jobs of one."""
    found = run(_show(task_id, step, offset=offset, limit=limit))
    if as_json:
        emit(found.model_dump(mode="json"))
    elif isinstance(found, TaskView):
        show_task(found)
    else:
        rows = [
            (c.index, c.job_id, c.state, c.attempt, seconds(c.seconds), c.error or c.message) for c in found.children
        ]
        title = f"{task_id}  {found.step}  {found.total} jobs"
        table(("Number", "Job", "State", "Attempt", "Seconds", ""), rows, title=title)


async def _show(task_id: str, step: str | None, *, offset: int, limit: int) -> TaskView | ChildrenPage:
    async with connect(settings.load()) as api:
        return await (api.children(task_id, step, offset=offset, limit=limit) if step else api.task(task_id))


@flow.command()
@click.argument("task_id")
@json_option
def cancel(task_id: str, as_json: bool) -> None:
    """Cancel a task: what waits at once, what runs within a second."""
    state = run(_cancel(task_id))
    emit({"task_id": task_id, "state": state}) if as_json else tell(f"{task_id}  {state}")


async def _cancel(task_id: str) -> str:
    async with connect(settings.load()) as api:
        return await api.cancel(task_id)


@flow.command()
@click.argument("task_id")
@click.option("--from", "step", metavar="STEP", help="Begin with this step; everything after it is done again.")
@click.option("--failed-only", is_flag=True, help="Begin with what failed or was cancelled, and do only that again.")
@json_option
def replay(*, task_id: str, step: str | None, failed_only: bool, as_json: bool) -> None:
    """Do a finished task again: the whole, or a part of it."""
    run(_replay(task_id, step, failed_only=failed_only))
    emit({"task_id": task_id, "state": "queued"}) if as_json else tell(f"{task_id}  queued")


async def _replay(task_id: str, step: str | None, *, failed_only: bool) -> None:
    async with connect(settings.load()) as api:
        await api.replay(task_id, step=step, failed_only=failed_only)
