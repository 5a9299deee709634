"""Child processes with real ones: kept running, stopped in time, and never left behind."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from jobqueue.cli import leash
from jobqueue.cli.processes import Program, keep_running, open_log
from jobqueue.errors import Unavailable

STUBBORN = (
    "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print(os.getpid(), flush=True); time.sleep(60)"
)
TIDY = (
    "import os, signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); "
    "print(os.getpid(), flush=True); time.sleep(60)"
)


def _wait_until(condition: Callable[[], object], *, within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def _until(condition: Callable[[], object], *, within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  # what is awaited happens in other processes
            await asyncio.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _on_a_leash(script: str) -> tuple[subprocess.Popen[bytes], int]:
    """A leash and the id of the program on it, which runs."""
    held = subprocess.Popen(
        [sys.executable, "-I", leash.__file__, sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert held.stdout is not None
    return held, int(held.stdout.readline())


@pytest.mark.parametrize(("script", "code"), [(TIDY, 7), (STUBBORN, 128 + signal.SIGKILL)])
def test_a_program_ends_when_nobody_holds_its_leash_any_more(script: str, code: int) -> None:
    held, program = _on_a_leash(script)
    with held:
        assert held.stdin is not None
        held.stdin.close()
        assert held.wait(timeout=leash.PATIENCE_S + 5) == code
        assert not _runs(program)


def test_a_sigterm_to_the_leash_is_the_programs_and_its_exit_code_comes_back() -> None:
    held, program = _on_a_leash(TIDY)
    with held:
        held.terminate()
        assert held.wait(timeout=10) == 7
        assert not _runs(program)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_program_ends_even_when_the_leash_itself_is_killed() -> None:
    held, program = _on_a_leash(TIDY)
    with held:
        held.kill()
        _wait_until(lambda: not _runs(program))


def _program(script: str, log: Path, *, grace_s: float = 0.0) -> Program:
    return Program(name="worker x", command=[sys.executable, "-c", script], log=log, grace_s=grace_s)


async def test_a_program_that_ends_is_started_again_and_the_end_is_told_with_its_log(tmp_path: Path) -> None:
    log, said = tmp_path / "logs" / "x.jsonl", list[str]()
    mark = str(tmp_path / "ran")
    once = f"import os, sys\nif not os.path.exists({mark!r}):\n    os.mkdir({mark!r})\n    sys.exit(3)\n"
    keeper = asyncio.create_task(keep_running(_program(once + TIDY, log), said.append))
    await _until(lambda: log.exists() and log.read_text().strip())
    assert said == [f"worker x ended with exit code 3, starting it again in 1 s; its log: {log}"]
    keeper.cancel()
    with suppress(asyncio.CancelledError):
        await keeper
    assert not _runs(int(log.read_text()))


async def test_too_many_quick_ends_are_an_error_that_names_the_log(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(Unavailable, match=r"ended with exit code 5, 2 times in a row; its log: .*x\.jsonl"):
        await keep_running(_program("raise SystemExit(5)", tmp_path / "x.jsonl"), said.append, tries=2)
    assert len(said) == 1


async def test_a_program_that_does_not_stop_in_time_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobqueue.cli.processes._OVERTIME_S", 0.1)
    log = tmp_path / "x.jsonl"
    keeper = asyncio.create_task(keep_running(_program(STUBBORN, log), print))
    await _until(lambda: log.exists() and log.read_text().strip())
    keeper.cancel()
    with suppress(asyncio.CancelledError):
        await keeper
    assert not _runs(int(log.read_text()))


def test_a_log_is_private_and_set_aside_when_it_has_grown_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobqueue.cli.processes._LOG_BYTES", 3)
    path = tmp_path / "logs" / "x.jsonl"
    for line in (b"one\n", b"two\n"):
        with open_log(path) as log:
            log.write(line)
    assert path.read_bytes() == b"two\n"
    assert path.with_name("x.jsonl.1").read_bytes() == b"one\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
