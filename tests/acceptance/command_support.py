"""The command as people run it: a real process in an environment of its own, and a look at what it leaves behind."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "jobqueue.cli.main")
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A directory of a test's own, and the environment that keeps everything in it."""

    directory: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def data_dir(self) -> Path:
        return self.directory / "data"

    @property
    def environment(self) -> dict[str, str]:
        temp = self.directory / "tmp"
        temp.mkdir(exist_ok=True)
        plain = {name: value for name, value in os.environ.items() if not name.startswith("JOBQUEUE_")}
        return plain | {"JOBQUEUE_DATA_DIR": str(self.data_dir), "TMPDIR": str(temp), **self.settings}

    def run(
        self, *arguments: str | Path, command: tuple[str, ...] = COMMAND, timeout_s: float = TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        return subprocess.run(
            [*command, *arguments], cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=timeout_s, check=False,
        )  # fmt: skip

    def json(self, *arguments: str | Path, timeout_s: float = TIMEOUT_S) -> Any:
        """What the command prints with ``--json``; it must succeed."""
        done = self.run(*arguments, "--json", timeout_s=timeout_s)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @contextmanager
    def start(self, *arguments: str | Path, command: tuple[str, ...] = COMMAND) -> Iterator[subprocess.Popen[str]]:
        """The running command; it is killed in the end if it still runs."""
        with (self.directory / f"{arguments[0]}.stderr").open("w") as stderr:
            process = subprocess.Popen(
                [*command, *arguments], cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=stderr, text=True,
            )  # fmt: skip
        with process:
            try:
                yield process
            finally:
                process.kill()

    def errors(self, command: str) -> str:
        """What the started command has said on standard error so far."""
        return (self.directory / f"{command}.stderr").read_text()

    def processes(self) -> list[psutil.Process]:
        """Every living process that was started here: the directory's name is in its environment or its arguments."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                    continue
                if str(self.directory) in f"{process.environ()} {process.cmdline()}":
                    found.append(process)
        return found


def read_document(process: subprocess.Popen[str]) -> Any:
    """The JSON document that a command which goes on running has printed."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line == "}\n":
            return json.loads("".join(lines))
    raise AssertionError(f"the command ended with {process.wait()} and printed {''.join(lines)!r}")


def wait_until(condition: Callable[[], object], *, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def complaints(stderr: str) -> list[str]:
    """The lines in which the command says why it failed."""
    return [line for line in stderr.splitlines() if line.startswith("jobqueue: ")]
