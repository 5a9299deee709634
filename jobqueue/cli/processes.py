"""Child processes that are kept running, and that never outlive the command that started them (see `leash`)."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from jobqueue.cli import leash
from jobqueue.errors import Unavailable

_LOG_BYTES: Final = 10_000_000
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0
_SETTLED_S: Final = 30.0  # having run so long, a program starts again without the pauses of earlier failures
_OVERTIME_S: Final = 5.0  # past its grace, for what a program does after its last job


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program to keep running.

    Attributes:
        name: what people call it.
        command: the program and its arguments.
        log: where all that it writes goes.
        grace_s: how long it may take to stop once it was asked to.
        environment: what it finds there besides what this process has.
    """

    name: str
    command: Sequence[str]
    log: Path
    grace_s: float
    environment: Mapping[str, str] = field(default_factory=dict)


def open_log(path: Path) -> IO[bytes]:
    """A log file to append to, readable by this user alone; one that has grown large is set aside first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        if path.stat().st_size > _LOG_BYTES:
            path.replace(path.with_suffix(path.suffix + ".1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")


async def keep_running(program: Program, say: Callable[[str], None], *, tries: int | None = None) -> None:
    """Run a program, and start it again whenever it ends, after a growing pause; stop it when cancelled.

    Args:
        program: what to run.
        say: told of every end that nobody asked for.
        tries: how many quick ends in a row are too many; None: no number is.

    Raises:
        Unavailable: it ended ``tries`` times in a row soon after its start; names its log.
    """
    failures = 0
    while True:
        started = time.monotonic()
        async with _running(program) as process:
            code = await process.wait()
        failures = 1 if time.monotonic() - started > _SETTLED_S else failures + 1
        ended = f"{program.name} ended with exit code {code}"
        if failures == tries:
            raise Unavailable(f"{ended}, {tries} times in a row; its log: {program.log}")
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (failures - 1))
        say(f"{ended}, starting it again in {pause_s:g} s; its log: {program.log}")
        await asyncio.sleep(pause_s)


@asynccontextmanager
async def _running(program: Program) -> AsyncIterator[Process]:
    with open_log(program.log) as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", leash.__file__, *program.command,
            stdin=PIPE, stdout=log, stderr=log, env={**os.environ, **program.environment},
            start_new_session=True,  # out of reach of the terminal's Ctrl-C: the order of stopping is ours
        )  # fmt: skip
    try:
        yield process
    finally:
        await _stop(process, program.grace_s)


async def _stop(process: Process, grace_s: float) -> None:
    assert process.stdin is not None
    try:
        if process.returncode is None:
            process.terminate()
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_s + _OVERTIME_S):
                    await process.wait()
    finally:
        process.stdin.close()  # lets go of the leash: what still runs is killed
        await process.wait()
