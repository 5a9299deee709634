"""``jobqueue job``: one job, whoever enqueued it, as the server shows it to its tenant."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from jobqueue import settings
from jobqueue.cli.api import connect
from jobqueue.cli.common import Failed, emit, json_option, run
from jobqueue.cli.render import say, seconds, table, tell
from jobqueue.views import JobView


@click.group()
def job() -> None:
    """Show, follow and cancel single jobs: a task's stages, or what other services have enqueued."""


@job.command()
@click.argument("job_id")
@json_option
def show(job_id: str, as_json: bool) -> None:
    """Show a job: its state, progress, error and result, and the pieces of its result so far."""
    view = run(_show(settings.load(), job_id))
    if as_json:
        emit(view.model_dump())
    else:
        _show_job(view)


async def _show(config: settings.Settings, job_id: str) -> JobView:
    async with connect(config) as api:
        return await api.job(job_id)


def _show_job(view: JobView) -> None:
    progress = f"{view.done} of {view.total} {view.message}" if view.total else view.message
    rows: list[tuple[str, object]] = [
        ("job", view.id), ("queue", view.queue), ("function", view.function), ("state", view.state),
        ("attempt", view.attempt), ("progress", progress), ("seconds", seconds(view.seconds)),
        ("error", view.error or ""), ("result", "" if view.result is None else _plain(view.result)),
        *((f"piece {piece['number']}", _plain(piece["data"])) for piece in view.partial),
    ]  # fmt: skip
    table(("Field", "Value"), [row for row in rows if row[1] != ""])


@job.command()
@click.argument("job_id")
@json_option
def watch(job_id: str, as_json: bool) -> None:
    """Follow a job until it has ended; fails when the job does.

    Prints the pieces of its result as they come, each as a line of JSON; states go to standard error.
    """
    pieces: list[dict[str, Any]] = []
    view = run(_watch(settings.load(), job_id, pieces.append if as_json else _tell_piece))
    if as_json:
        emit(view.model_dump(exclude={"partial"}) | {"partial": pieces})
    if view.state != "succeeded":
        raise Failed(f"{job_id}: {view.error or view.state}")


def _tell_piece(piece: dict[str, Any]) -> None:
    print(_plain(piece["data"]), flush=True)


async def _watch(config: settings.Settings, job_id: str, on_piece: Callable[[dict[str, Any]], None]) -> JobView:
    async with connect(config) as api:
        async for event in api.watch_job(job_id):
            if event.kind == "partial":
                on_piece(event.data)
            else:
                told = (event.data.get(name) for name in ("state", "message", "error"))
                say(" ".join(str(text) for text in told if text))
        return await api.job(job_id)


@job.command()
@click.argument("job_id")
@json_option
def cancel(job_id: str, as_json: bool) -> None:
    """Cancel a job: one that waits at once, one that runs within a second. Fails when it has finished before."""
    state = run(_cancel(settings.load(), job_id))
    if as_json:
        emit({"job_id": job_id, "state": state})
    else:
        tell(f"{job_id}  {state}")


async def _cancel(config: settings.Settings, job_id: str) -> str:
    async with connect(config) as api:
        return await api.cancel_job(job_id)


def _plain(value: Any) -> str:
    """A value of a job's as one line of JSON; ASCII, so that nothing in it steers a terminal."""
    return json.dumps(value)
