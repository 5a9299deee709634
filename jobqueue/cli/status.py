"""``jobqueue status`` and ``jobqueue watch``: how things stand, and how they go on."""

from __future__ import annotations

import click

from jobqueue import settings
from jobqueue.cli.api import connect
from jobqueue.cli.common import Failed, emit, json_option, run
from jobqueue.cli.follow import follow
from jobqueue.cli.render import board, show_queues, show_task
from jobqueue.views import QueueView, TaskView


@click.command()
@click.argument("task_id", required=False)
@json_option
def status(task_id: str | None, as_json: bool) -> None:
    """Show the queues, or one task."""
    found = run(_look(settings.load(), task_id))
    if isinstance(found, TaskView):
        emit(found.model_dump(mode="json")) if as_json else show_task(found)
    elif as_json:
        emit({"queues": [queue.model_dump(mode="json") for queue in found]})
    else:
        show_queues(found)


async def _look(config: settings.Settings, task_id: str | None) -> TaskView | list[QueueView]:
    async with connect(config) as api:
        return await api.task(task_id) if task_id else await api.queues()


@click.command()
@click.argument("task_id")
@json_option
def watch(task_id: str, as_json: bool) -> None:
    """Follow a task until it has finished; fails when the task does."""
    view = run(_watch(settings.load(), task_id))
    if as_json:
        emit(view.model_dump(mode="json"))
    else:
        show_task(view)
    if view.state != "succeeded":
        raise Failed(f"{task_id}: {view.error or view.state}")


async def _watch(config: settings.Settings, task_id: str) -> TaskView:
    async with connect(config) as api:
        with board() as shown:
            return await follow(api, task_id, task_id, shown)
