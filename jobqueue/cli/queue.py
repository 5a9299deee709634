"""``jobqueue queue``: an operator's hand on the queues, through Redis, so that it works while the server doesn't."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import click

from jobqueue import queues, settings
from jobqueue.broker.control import QueueControl
from jobqueue.cli.common import CommandT, Failed, emit, json_option, run
from jobqueue.cli.render import show_queues, table, tell
from jobqueue.client import Client, create_pool
from jobqueue.limits import QUEUE, Limit, Rule, limit_of
from jobqueue.views import QueueView

T = TypeVar("T")

_NAME: Final = click.argument("name")
_SCOPE: Final = click.argument("scope")
_HOLD: Final = click.argument("hold_name", metavar="HOLD")


def _scope_options(command: CommandT) -> CommandT:
    for option in (
        click.option("--scope", metavar="SCOPE", help="Any scope, such as provider:openai."),
        click.option("--tenant", metavar="T", help="The jobs of this tenant, or of each (*)."),
        click.option("--type", "function", metavar="F", help="The jobs of this type, or of each (*)."),
    ):
        command = option(command)
    return command


def _scope(scope: str | None, tenant: str | None, function: str | None) -> str:
    given = [scope, tenant and f"tenant:{tenant}", function and f"type:{function}"]
    found = [each for each in given if each]
    if len(found) > 1:
        raise click.UsageError("give one of --type, --tenant and --scope, or none for the whole queue")
    return found[0] if found else QUEUE


@click.group()
def queue() -> None:
    """Show, pause, resume, limit, hold, drain and purge queues."""


@queue.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List all, with their counts."""
    found = run(_views())
    if as_json:
        emit({"queues": [view.model_dump(mode="json") for view in found]})
    else:
        show_queues(found)


@queue.command()
@_NAME
@json_option
def show(name: str, as_json: bool) -> None:
    """Show one: its counts, and its rules with what each does now."""
    view, rules = run(_show(name))
    if as_json:
        emit(view.model_dump(mode="json") | {"rules": [rule.to_data() for rule in rules]})
        return
    show_queues([view])
    if rules:
        columns = ("Scope", "Limits", "Paused", "Running", "Lanes held back", "From", "")
        table(columns, [_row(rule) for rule in rules])


def _row(rule: Rule) -> Sequence[object]:
    paused = "yes" if rule.paused else "-"
    return rule.scope, str(rule.limit), paused, rule.running, rule.held_back, rule.source, _held(rule)


def _held(rule: Rule) -> str:
    what = f"{rule.function} {' '.join(f'{key}={value}' for key, value in rule.where.items())}" if rule.function else ""
    return ": ".join(filter(None, (what.strip(), rule.reason)))


@queue.command()
@_NAME
@_scope_options
@json_option
def pause(*, name: str, scope: str | None, tenant: str | None, function: str | None, as_json: bool) -> None:
    """Start no job of a queue, a type, a tenant or another scope; what runs ends."""
    which = _scope(scope, tenant, function)
    run(_do(name, lambda control: control.pause(which)))
    _report({"queue": name, "scope": which, "paused": True}, f"paused {_called(name, which)}", as_json=as_json)


@queue.command()
@_NAME
@_scope_options
@json_option
def resume(*, name: str, scope: str | None, tenant: str | None, function: str | None, as_json: bool) -> None:
    """Go on after a pause of the same scope."""
    which = _scope(scope, tenant, function)
    run(_do(name, lambda control: control.resume(which)))
    _report({"queue": name, "scope": which, "paused": False}, f"resumed {_called(name, which)}", as_json=as_json)


def _called(name: str, scope: str) -> str:
    return name if scope == QUEUE else f"{scope} on {name}"


@queue.command()
@_NAME
@_SCOPE
@click.option("--concurrency", type=int, metavar="N", help="Jobs that run at once, over all workers.")
@click.option("--rate", metavar="N/UNIT", help="Jobs that start: 5/s, 60/m, 1000/h, 20000/d.")
@click.option("--burst", type=int, metavar="N", help="Of these, at once after a quiet time.")
@click.option("--weight", type=float, metavar="W", help="A tenant's turns beside the others' one.")
@json_option
def limit(*, name: str, scope: str, as_json: bool, **fields: Any) -> None:
    """Limit a scope: queue, type:FUNCTION, tenant:ID, NAME:VALUE, or tenant:* and its like for each one.

    What the scope was limited to before is forgotten.
    """
    limits: Limit = limit_of(fields)
    run(_do(name, lambda control: control.limit(scope, limits)))
    data = {
        "queue": name, "scope": scope, "concurrency": limits.concurrency, "rate_per_s": limits.rate_per_s,
        "burst": limits.burst, "weight": limits.weight,
    }  # fmt: skip
    _report(data, f"limited {_called(name, scope)}: {limits}", as_json=as_json)


@queue.command()
@_NAME
@_SCOPE
@json_option
def unlimit(name: str, scope: str, as_json: bool) -> None:
    """Remove the rule of a scope, its pause too; one of queues.toml is back when the next worker starts."""
    run(_do(name, lambda control: control.unlimit(scope)))
    _report({"queue": name, "scope": scope}, f"removed the rule of {_called(name, scope)}", as_json=as_json)


def _pairs(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    if not all(key and found for key, found, _ in pairs):
        raise click.BadParameter("give NAME=VALUE, such as tenant_id=acme")
    return {key: value for key, _, value in pairs}


@queue.command()
@_NAME
@_HOLD
@click.option("--type", "function", required=True, metavar="F", help="Of this type, or of any (*).")
@click.option("--where", multiple=True, callback=_pairs, metavar="NAME=VALUE", help="A keyword argument; repeatable.")
@click.option("--reason", default="", metavar="TEXT", help="For people; who looks at the rules sees it.")
@json_option
def hold(*, name: str, hold_name: str, function: str, where: dict[str, str], reason: str, as_json: bool) -> None:
    """Hold back the jobs of a type that have these arguments, under a name by which 'lift' finds them."""
    run(_do(name, lambda control: control.hold(hold_name, function=function, where=where, reason=reason)))
    data = {"queue": name, "hold": hold_name, "function": function, "where": where, "reason": reason or None}
    _report(data, f"holding {hold_name} on {name}", as_json=as_json)


@queue.command()
@_NAME
@_HOLD
@json_option
def lift(name: str, hold_name: str, as_json: bool) -> None:
    """End a hold."""
    run(_do(name, lambda control: control.lift(hold_name)))
    _report({"queue": name, "lifted": hold_name}, f"lifted {hold_name} on {name}", as_json=as_json)


@queue.command()
@_NAME
@click.option("--timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="Give up after so long.")
@json_option
def drain(name: str, timeout: float | None, as_json: bool) -> None:
    """Pause a queue and wait until nothing of it runs; it stays paused until 'resume'."""
    try:
        run(_do(name, lambda control: control.drain(timeout_s=timeout)))
    except TimeoutError:
        raise Failed(f"jobs of {name} still run after {timeout:g} s; it stays paused: drain it again") from None
    _report({"queue": name, "drained": True}, f"drained {name}: it is paused, and nothing runs", as_json=as_json)


@queue.command()
@_NAME
@click.option("--yes-purge", "expected", type=click.IntRange(0), metavar="N", help="Don't ask: about N jobs will go.")
@json_option
def purge(name: str, expected: int | None, as_json: bool) -> None:
    """Cancel every job that waits, is deferred or waits for another attempt."""
    number = _confirmed(name, asked=not as_json) if expected is None else expected
    cancelled = run(_do(name, lambda control: control.purge(expected=number)))
    _report({"queue": name, "cancelled": cancelled}, f"cancelled {cancelled:,} jobs of {name}", as_json=as_json)


def _confirmed(name: str, *, asked: bool) -> int:
    number = run(_do(name, QueueControl.waiting))
    if not asked or not sys.stdin.isatty():
        raise click.UsageError(f"{number:,} jobs would go: to purge without being asked, add --yes-purge {number}")
    click.confirm(f"Cancel all {number:,} jobs that wait on {name}?", abort=True, err=True)
    return number


def _report(document: dict[str, Any], line: str, *, as_json: bool) -> None:
    if as_json:
        emit(document)
    else:
        tell(line)


# ── the work ─────────────────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def _open() -> AsyncIterator[Client]:
    config = settings.load()
    pool = await create_pool(config.redis_url, data_dir=config.data_dir, tls=config.redis_tls)
    async with Client(pool, queues.load(config.queues_file)) as client:
        yield client


async def _views() -> list[QueueView]:
    async with _open() as client:
        return await client.queues()


async def _show(name: str) -> tuple[QueueView, list[Rule]]:
    async with _open() as client:
        rules = await client.control(name).rules()
        (view,) = [view for view in await client.queues() if view.name == name]
        return view, rules


async def _do(name: str, verb: Callable[[QueueControl], Awaitable[T]]) -> T:
    async with _open() as client:
        return await verb(client.control(name))
