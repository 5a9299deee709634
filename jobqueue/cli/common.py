"""What every command does alike: its ``--json``, its errors, and how it runs and ends."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import unicodedata
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import click

from jobqueue.errors import JobqueueError

FAILED: Final = 1
INTERRUPTED: Final = 130
TERMINATED: Final = 143

_MAX_LINE_CHARS: Final = 2_000

T = TypeVar("T")
CommandT = TypeVar("CommandT", bound=Callable[..., Any])


class Failed(JobqueueError):
    """The command did its work, and what it worked on failed."""


def json_option(command: CommandT) -> CommandT:
    """The option ``--json``, which every command has."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")(command)


def emit(document: Any) -> None:
    """Print the one JSON document of a command on standard output."""
    print(json.dumps(document, indent=2, ensure_ascii=False, default=str), flush=True)


def one_line(text: str) -> str:
    r"""``text`` as a terminal may show it: one line of bounded length, without control or invisible characters.

    Error messages and facts quote documents, and a document may hold the sequences that steer a terminal.

    >>> one_line("deed.pdf:\n  \x1b[31mencrypted\u202e")
    'deed.pdf: [31mencrypted'
    """
    lines = (line.strip() for line in text[: 4 * _MAX_LINE_CHARS].expandtabs(1).splitlines())
    line = "".join(char for char in " ".join(filter(None, lines)) if unicodedata.category(char)[0] != "C")
    return line if len(line) <= _MAX_LINE_CHARS else f"{line[: _MAX_LINE_CHARS - 1]}…"


def complain(message: str) -> int:
    """Say on standard error, in one line, why the command failed; returns its exit code."""
    print(f"jobqueue: {one_line(message)}", file=sys.stderr, flush=True)
    return FAILED


def run(work: Coroutine[Any, Any, T], *, service: bool = False) -> T:
    """Run a command's coroutine; Ctrl-C and SIGTERM cancel it, so that it stops what it has started.

    A second Ctrl-C ends it at once. Of several errors at a time the first is raised.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        SystemExit: SIGTERM; with code 0 for a service, which is meant to run until it is told to stop.
    """
    terminated = False

    async def guarded() -> T:
        me = asyncio.current_task()
        assert me is not None

        def terminate() -> None:
            nonlocal terminated
            terminated = True
            me.cancel()

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
        return await work

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        if terminated:
            raise SystemExit(0 if service else TERMINATED) from None
        raise
    except BaseExceptionGroup as several:
        raise first_of(several) from None


def first_of(several: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first plain error in a group of groups: what made a TaskGroup call off its other tasks."""
    error: BaseException = several
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
