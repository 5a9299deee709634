"""``jobqueue submit``: files to the server."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import click
from pydantic import SecretStr

from jobqueue import settings
from jobqueue.cli.api import connect
from jobqueue.cli.common import FAILED, complain, emit, json_option, run
from jobqueue.cli.follow import Outcome, complaints, send_all
from jobqueue.cli.render import board, show_facts, tell
from jobqueue.errors import InvalidInput

_MAX_PASSWORD_LINE = 1_000  # characters; the server refuses more than 127


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--wait", is_flag=True, help="Follow every file to its end and print what was found.")
@click.option(
    "--password-stdin", is_flag=True, help="Read the files' password from standard input, or ask for it on a terminal."
)
@json_option
def submit(files: tuple[Path, ...], wait: bool, password_stdin: bool, as_json: bool) -> None:
    """Send files to the server, which is JOBQUEUE_SERVER_URL or the one on this machine.

    Prints each file's task id. Fails when a file is refused, or with --wait when its task fails.
    """
    password = _password() if password_stdin else None
    outcomes = run(_submit(settings.load(), files, wait=wait, password=password))
    if as_json:
        emit({"files": [outcome.summary() for outcome in outcomes]})
    else:
        show(outcomes)
    for complaint in complaints(outcomes):
        complain(complaint)
    if complaints(outcomes):
        sys.exit(FAILED)


def _password() -> SecretStr:
    """One line; never an argument, which everybody on the machine could read."""
    if sys.stdin.isatty():
        return SecretStr(click.prompt("Password of the files", hide_input=True, err=True))
    line = sys.stdin.readline(_MAX_PASSWORD_LINE).rstrip("\r\n")
    if not line:
        raise InvalidInput("--password-stdin: there is no password on standard input: pipe it in, as its first line")
    return SecretStr(line)


async def _submit(
    config: settings.Settings, files: tuple[Path, ...], *, wait: bool, password: SecretStr | None
) -> list[Outcome]:
    async with connect(config) as api:
        with board() if wait else nullcontext() as shown:
            return await send_all(api, files, shown, password=password)


def show(outcomes: list[Outcome]) -> None:
    """Print each file's task id and what was found in it."""
    for outcome in outcomes:
        if outcome.accepted:
            tell(f"{outcome.accepted.task_id}  {outcome.path}")
        if outcome.extraction:
            show_facts(outcome.path.name, outcome.extraction)
