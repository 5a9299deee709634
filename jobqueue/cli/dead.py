"""``jobqueue dead``: jobs that failed for good, straight from Redis, so that it works while the server doesn't."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import click

from jobqueue import queues, settings
from jobqueue.broker.deadletter import DeadLetter, DeadLetters
from jobqueue.cli.common import FAILED, complain, emit, json_option, run
from jobqueue.cli.render import show_letter, table, tell
from jobqueue.client import Client, connect
from jobqueue.errors import Conflict, NotFound

Verb = Callable[[DeadLetters, DeadLetter], Awaitable[None]]

_QUEUE_OPTION: Final = click.option("--queue", metavar="NAME", help="Of this queue only.")
_YES_OPTION: Final = click.option("--yes", is_flag=True, help="Don't ask.")
_ALL_OPTION: Final = click.option("--all", "every", is_flag=True, help="All of the queue that --queue names.")


@click.group()
def dead() -> None:
    """List, show, replay and discard dead letters: jobs that failed for good."""


@dead.command("list")
@_QUEUE_OPTION
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many a queue.")
@json_option
def list_(queue: str | None, limit: int, as_json: bool) -> None:
    """List the newest first."""
    letters = run(_list(queue, limit))
    if as_json:
        emit({"dead_letters": [letter.summary() for letter in letters]})
    else:
        columns = ("Job", "Function", "Attempts", "Buried", "Error")
        table(columns, [(x.job_id, x.function, x.attempts, f"{x.buried_at:%F %T}", _error(x)) for x in letters])


def _error(letter: DeadLetter) -> str:
    return f"{letter.error_class.rpartition('.')[2]}: {letter.message}"


@dead.command()
@click.argument("job_id")
@json_option
def show(job_id: str, as_json: bool) -> None:
    """Show one: its arguments, its error with the traceback, its history."""
    letter = run(_show(job_id))
    if as_json:
        emit(letter.detail())
    else:
        show_letter(letter.detail())


def _rate(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        rate = float(value.removesuffix("/s"))
    except ValueError:
        rate = 0.0
    if not 0.001 <= rate <= 100_000:  # noqa: PLR2004  # also refuses nan
        raise click.BadParameter("give jobs per second, like 20/s")
    return rate


@dead.command()
@click.argument("job_ids", nargs=-1, metavar="[JOB_ID]...")
@_ALL_OPTION
@_QUEUE_OPTION
@click.option("--rate", callback=_rate, metavar="N/s", help="Jobs a second at most.")
@_YES_OPTION
@json_option
def replay(
    *, job_ids: tuple[str, ...], every: bool, queue: str | None, rate: float | None, yes: bool, as_json: bool
) -> None:
    """Put dead jobs back on their queues, with their history; their tasks go on when they succeed."""
    _check(job_ids, every=every, queue=queue)
    _confirm("replay", queue, asked=every and not yes, as_json=as_json)
    _report(
        "replayed", run(_each(job_ids, queue, DeadLetters.replay, pause_s=1 / rate if rate else 0.0)), as_json=as_json
    )


@dead.command()
@click.argument("job_ids", nargs=-1, metavar="[JOB_ID]...")
@_ALL_OPTION
@_QUEUE_OPTION
@_YES_OPTION
@json_option
def discard(*, job_ids: tuple[str, ...], every: bool, queue: str | None, yes: bool, as_json: bool) -> None:
    """Remove dead jobs for good."""
    _check(job_ids, every=every, queue=queue)
    _confirm("discard", queue, asked=every and not yes, as_json=as_json)
    _report("discarded", run(_each(job_ids, queue, DeadLetters.discard)), as_json=as_json)


def _check(job_ids: Sequence[str], *, every: bool, queue: str | None) -> None:
    if bool(job_ids) == every:
        raise click.UsageError("name the jobs, or give --all with --queue NAME")
    if every != (queue is not None):
        raise click.UsageError("--all and --queue NAME belong together")


def _confirm(verb: str, queue: str | None, *, asked: bool, as_json: bool) -> None:
    if not asked:
        return
    if as_json or not sys.stdin.isatty():
        raise click.UsageError(f"to {verb} all without being asked, add --yes")
    count = run(_count(str(queue)))
    click.confirm(f"{verb.capitalize()} all {count} dead letters of queue {queue}?", abort=True, err=True)


def _report(done: str, outcome: tuple[list[str], list[str]], *, as_json: bool) -> None:
    succeeded, failures = outcome
    if as_json:
        emit({done: succeeded, "failed": failures})
    else:
        tell(f"{done} {len(succeeded)}")
    for failure in failures:
        complain(failure)
    if failures:
        sys.exit(FAILED)


# ── the work ─────────────────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def _open() -> AsyncIterator[tuple[Client, list[str]]]:
    config = settings.load()
    names = list(queues.load(config.queues_file))
    async with await connect(config.redis_url, queues=names, data_dir=config.data_dir) as client:
        yield client, names


async def _list(queue: str | None, limit: int) -> list[DeadLetter]:
    async with _open() as (client, names):
        found = [await client.dead_letters(name).list(limit=limit) for name in ([queue] if queue else names)]
    return sorted((letter for some in found for letter in some), key=lambda letter: letter.buried_at, reverse=True)


async def _show(job_id: str) -> DeadLetter:
    async with _open() as (client, names):
        return (await _find(client, names, job_id))[1]


async def _count(queue: str) -> int:
    async with _open() as (client, _):
        return await client.dead_letters(queue).count()


async def _find(client: Client, names: Sequence[str], job_id: str) -> tuple[DeadLetters, DeadLetter]:
    """Look in every queue: the ids of cron ticks and of other clients' jobs don't tell theirs."""
    for name in names:
        letters = client.dead_letters(name)
        with suppress(NotFound):
            return letters, await letters.get(job_id)
    raise NotFound(f"no queue has a dead letter of job {job_id}: see 'jobqueue dead list'")


async def _each(
    job_ids: Sequence[str], queue: str | None, verb: Verb, *, pause_s: float = 0.0
) -> tuple[list[str], list[str]]:
    """Do it to each of these jobs, or to all of a queue: the ids done, and why the others were not."""
    done: list[str] = []
    failures: list[str] = []
    async with _open() as (client, names):

        async def found() -> AsyncIterator[tuple[DeadLetters, DeadLetter]]:
            if queue is not None:
                letters = client.dead_letters(queue)
                async for letter in letters.all():
                    yield letters, letter
            for job_id in job_ids:
                try:
                    yield await _find(client, names, job_id)
                except NotFound as exc:
                    failures.append(str(exc))

        async for letters, letter in found():
            try:
                await verb(letters, letter)
                done.append(letter.job_id)
            except (NotFound, Conflict) as exc:
                failures.append(str(exc))
            await asyncio.sleep(pause_s)
    return done, failures
