"""What all adapters share: the jobs, the log outside of Redis that they write to, and the driver's protocol.

An adapter is started as ``python -m tests.bench.rivals.adapters.NAME drive|work``, in the contender's own environment,
with its options in environment variables. ``work`` runs one worker until it is killed. ``drive`` reads one JSON list
a line, ``[verb, argument, …]``, and answers each with one JSON value a line. Standard library only.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

CONCURRENCY: Final = 100
GROUP: Final = 100
"""How many enqueues a client without a bulk call has under way at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the bench asks of an adapter.

    Attributes:
        lease_s: set the visibility time-out, lease or heartbeat near this; None: leave the library's default.
        keep_results: results are kept; otherwise off, where the library can.
        safe: the library's documented way to survive a crash is on; off for the speed parts, where it costs.
    """

    url: str
    log: Path
    lease_s: int | None
    keep_results: bool
    safe: bool


def read_options() -> Options:
    """The options in the environment."""
    lease = os.environ["RIVALS_LEASE_S"]
    return Options(
        url=os.environ["RIVALS_URL"],
        log=Path(os.environ["RIVALS_LOG"]),
        lease_s=int(lease) if lease else None,
        keep_results=os.environ["RIVALS_RESULTS"] == "1",
        safe=os.environ["RIVALS_SAFE"] == "1",
    )


def _append(name: str) -> int:
    return os.open(read_options().log / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


_DONE: Final = _append("done")
_EVENTS: Final = _append("events")


def noop() -> None:
    """The job of the speed parts: one byte to a file, the same for every contender; about a microsecond."""
    os.write(_DONE, b".")


def note(what: str, **facts: Any) -> None:
    """One line of the log; appended whole, whoever else writes."""
    line = json.dumps({"what": what, "pid": os.getpid(), "parent": os.getppid(), "at": time.time(), **facts}) + "\n"
    os.write(_EVENTS, line.encode())


def hello() -> None:
    """A job that shows that this worker runs jobs."""
    note("hello")


def pickup(sent_ns: int) -> None:
    """A job that notes how long it took from its enqueue to here."""
    note("pickup", ms=(time.time_ns() - sent_ns) / 1e6)


async def work(key: str, seconds: float) -> str:
    """A job that takes its time; its result tells which process ran it."""
    note("start", key=key)
    await asyncio.sleep(seconds)
    note("end", key=key)
    return str(os.getpid())


def work_blocking(key: str, seconds: float) -> str:
    """`work` for libraries whose jobs are plain functions."""
    note("start", key=key)
    time.sleep(seconds)
    note("end", key=key)
    return str(os.getpid())


class Client(Protocol):
    """The enqueueing side of a library; methods may be coroutines or plain."""

    def bulk(self, count: int) -> Any:
        """Enqueue so many no-op jobs by the library's fastest documented way."""

    def send(self, job: str, *args: Any) -> Any:
        """Enqueue one job, and return its id."""

    def result(self, job_id: str) -> Any:
        """The kept result, or None."""


async def _settled(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def _do(client: Client, verb: str, *args: Any) -> Any:
    started = time.perf_counter()
    match verb:
        case "bulk":
            await _settled(client.bulk(*args))
            return time.perf_counter() - started
        case "single":
            for _ in range(args[0]):
                await _settled(client.send("noop"))
            return time.perf_counter() - started
        case "pickup":
            for index in range(args[0]):
                await _settled(client.send("pickup", time.time_ns()))
                await asyncio.sleep(0.03 + 0.0007 * (index % 10))  # not in step with anyone's poll
            return time.perf_counter() - started
        case "send":
            return await _settled(client.send(*args))
        case "result":
            return await _settled(client.result(*args))
    raise ValueError(verb)


async def _drive(connect: Callable[[Options], Any]) -> None:
    client = await _settled(connect(read_options()))
    print(json.dumps("ready"), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            answer = await _do(client, *json.loads(line))
        except Exception as exc:  # noqa: BLE001 (the bench prints it)
            answer = {"error": f"{type(exc).__name__}: {exc}"}
        print(json.dumps(answer), flush=True)


async def in_groups(count: int, enqueue: Callable[[], Any]) -> None:
    """Enqueue one by one, a hundred under way at once: for libraries without a bulk call."""
    for start in range(0, count, GROUP):
        await asyncio.gather(*(enqueue() for _ in range(min(GROUP, count - start))))


def main(connect: Callable[[Options], Any], run_worker: Callable[[Options], Any]) -> None:
    """Be the driver or a worker, as the command line says."""
    if sys.argv[1] == "drive":
        asyncio.run(_drive(connect))
    else:
        run_worker(read_options())
