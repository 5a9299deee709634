"""What the commands share: lines a terminal may be shown, and how work begins and ends."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from jobqueue.cli.common import one_line, run
from jobqueue.errors import Unavailable


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("two\r\nlines\n\n  and a third", "two lines and a third"),
        ("\x1b]0;title\x07\x9b31mred", "]0;title31mred"),
        ("deed\u202efdp.exe\u2066\ud800", "deedfdp.exe"),
        ("/home/two  blanks/a.pdf", "/home/two  blanks/a.pdf"),
        ("x" * 1_000_000, "x" * 1_999 + "…"),
    ],
)
def test_a_line_for_the_terminal_holds_nothing_that_steers_it(text: str, line: str) -> None:
    assert one_line(text) == line


@pytest.mark.parametrize(("service", "code"), [(True, 0), (False, 143)])
def test_sigterm_lets_the_work_clean_up(service: bool, code: int) -> None:
    steps: list[str] = []
    with pytest.raises(SystemExit) as ended:
        run(_work(signal.SIGTERM, steps), service=service)
    assert (ended.value.code, steps) == (code, ["cleaned up"])


def test_ctrl_c_lets_the_work_clean_up() -> None:
    steps: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        run(_work(signal.SIGINT, steps))
    assert steps == ["cleaned up"]


async def _work(number: signal.Signals, steps: list[str]) -> None:
    try:
        os.kill(os.getpid(), number)
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        steps.append("cleaned up")


def test_of_several_errors_at_once_the_first_is_raised_plain() -> None:
    async def fail() -> None:
        raise Unavailable("the server is gone")

    async def work() -> None:
        async with asyncio.TaskGroup() as outer, asyncio.TaskGroup() as inner:
            outer.create_task(fail())
            inner.create_task(asyncio.Event().wait())

    with pytest.raises(Unavailable, match="the server is gone"):
        run(work())
