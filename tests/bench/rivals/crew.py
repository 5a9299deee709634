"""The processes of one contender: its driver, which enqueues, and its workers; and what they wrote outside of Redis."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from tests.bench.rivals.environments import Environment
from tests.bench.rivals.server import ROOT

READY_S: Final = 30.0
_VERB_S: Final = 120.0


class Failed(Exception):
    """A contender didn't do what a part needs; the message is printed in the place of its figure."""


async def until(condition: Callable[[], Any], within_s: float, *, every_s: float = 0.01) -> bool:
    """Whether ``condition`` held within the time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(every_s)
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Under which options a contender's processes run."""

    environment: Environment
    url: str
    log: Path
    lease_s: int | None = None
    keep_results: bool = False
    safe: bool = False

    def variables(self) -> dict[str, str]:
        """The options, as adapters read them."""
        return os.environ | {
            "RIVALS_URL": self.url,
            "RIVALS_LOG": str(self.log),
            "RIVALS_LEASE_S": str(self.lease_s or ""),
            "RIVALS_RESULTS": str(int(self.keep_results)),
            "RIVALS_SAFE": str(int(self.safe)),
            "RIVALS_NODE_MODULES": str(self.environment.directory),
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
        }

    def done(self) -> int:
        """How many no-op jobs have run."""
        path = self.log / "done"
        return path.stat().st_size if path.exists() else 0

    def events(self, what: str, **facts: Any) -> list[dict[str, Any]]:
        """The noted lines of one kind, in order."""
        path = self.log / "events"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [event for event in map(json.loads, lines) if event["what"] == what]
        return [event for event in found if facts.items() <= event.items()]

    def last_words(self) -> str:
        """The end of what its processes printed, in one line."""
        text = "\n".join(path.read_text(errors="replace") for path in sorted(self.log.glob("*.out")))
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1][:160] if lines else "it printed nothing"


@asynccontextmanager
async def setup(environment: Environment, url: str, **options: Any) -> AsyncIterator[Setup]:
    """A `Setup` with a log directory of its own."""
    with tempfile.TemporaryDirectory(prefix="jobqueue-rivals-") as directory:
        yield Setup(environment=environment, url=url, log=Path(directory), **options)


class Driver:
    """The enqueueing side."""

    def __init__(self, process: asyncio.subprocess.Process, setup: Setup) -> None:
        self._process = process
        self._setup = setup

    async def ask(self, *verb: Any) -> Any:
        """Do one thing; see `adapters.common` for the verbs. Raises `Failed` with the library's error."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(verb).encode() + b"\n")
        return await self.answer()

    async def answer(self) -> Any:
        """The next line."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(_VERB_S):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise Failed(f"its client didn't answer within {_VERB_S:.0f} s") from None
        if not line:
            raise Failed(f"its client ended: {self._setup.last_words()}")
        answer = json.loads(line)
        if isinstance(answer, dict) and "error" in answer:
            raise Failed(answer["error"][:160])
        return answer


async def end(process: asyncio.subprocess.Process) -> None:
    """SIGKILL it, unless it has ended."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)  # Process.kill() may take the status that asyncio waits for
    await process.wait()


@asynccontextmanager
async def driver(of: Setup) -> AsyncIterator[Driver]:
    """The contender's driver, connected."""
    with (of.log / "driver.out").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *of.environment.command("drive"),
            cwd=ROOT, env=of.variables(), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=output, start_new_session=True,
        )  # fmt: skip
        try:
            found = Driver(process, of)
            await found.answer()
            yield found
        finally:
            await end(process)


class Worker:
    """One worker: the process that was started, and its children."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._root = psutil.Process(process.pid)

    @property
    def alive(self) -> bool:
        """Whether the process that was started still runs."""
        return self._process.returncode is None

    def tree(self) -> list[psutil.Process]:
        """All its processes."""
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def ran(self, event: dict[str, Any]) -> bool:
        """Whether the event is from one of its processes; that may have ended, if it was forked for one job."""
        return any(process.pid in (event["pid"], event["parent"]) for process in self.tree())

    def signal(self, number: signal.Signals) -> None:
        """To all of them."""
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def rss_mb(self) -> float:
        """Resident memory of all of them; what they share counts once."""
        return sum(process.memory_full_info().pss for process in self.tree()) / 2**20

    async def kill(self) -> None:
        """SIGKILL all of them."""
        self.signal(signal.SIGKILL)
        await self._process.wait()


@asynccontextmanager
async def workers(of: Setup, count: int) -> AsyncIterator[list[Worker]]:
    """So many workers, starting up; killed with the block."""
    crew: list[Worker] = []
    try:
        for index in range(count):
            with (of.log / f"worker{index}.out").open("wb") as output:
                process = await asyncio.create_subprocess_exec(
                    *of.environment.command("work"),
                    cwd=ROOT, env=of.variables(), stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
                    start_new_session=True,
                )  # fmt: skip
            crew.append(Worker(process))
        yield crew
    finally:
        for worker in crew:
            await worker.kill()


async def all_ready(of: Setup, crew: list[Worker], client: Driver) -> None:
    """Return when every worker has run a job. Raises `Failed`."""
    deadline = time.monotonic() + READY_S
    waiting = list(crew)
    while waiting:
        if not all(worker.alive for worker in crew):
            raise Failed(f"a worker ended at its start: {of.last_words()}")
        if time.monotonic() > deadline:
            raise Failed(f"{len(waiting)} of {len(crew)} workers ran no job within {READY_S:.0f} s: {of.last_words()}")
        for _ in crew:
            await client.ask("send", "hello")
        await asyncio.sleep(0.1)
        greetings = of.events("hello")[-50:]
        waiting = [worker for worker in waiting if not any(map(worker.ran, greetings))]
    await asyncio.sleep(0.2)  # the rest of the greetings


def each_signal(crew: list[Worker], number: signal.Signals) -> None:
    """To all processes of all workers."""
    for worker in crew:
        worker.signal(number)
