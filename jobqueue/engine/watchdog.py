"""Notices that a handler blocks the event loop, and says in the log where.

A blocked loop beats no heart, so its jobs go to other workers once their leases have run out, which is right: a handler
that blocks for good must not keep its jobs. Without a word in the log, though, nobody would know why. A thread watches:

- ``loop.blocked``: the loop hasn't run for three seconds (half a lease, where that is less), with its stack;
- ``loop.hopeless``: nor for a whole lease, with the jobs that other workers take up now;
- ``loop.resumed``: it runs again, and after how long. This line is the loop's own.

The thread writes by itself, to standard error: the loop may be blocked with a lock of ``logging`` in its hand. It
counts its own ticks instead of reading a clock, so a process that was stopped as a whole (SIGSTOP, a suspended machine)
doesn't pass for a blocked loop. Native code that never lets go of the interpreter stops the thread too; of such a
blockage only the end is told.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import select
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final
from weakref import WeakKeyDictionary

import structlog

from jobqueue.engine.outcomes import Held

logger = structlog.get_logger(__name__)

_BLOCKED_S: Final = 3.0
_TICKS: Final = 6
"""From the loop's last beat until it counts as blocked."""
_MAX_FRAMES: Final = 30
_MAX_TEXT_CHARS: Final = 120
_MAX_JOBS: Final = 20
_MAX_LINE_BYTES: Final = 4096  # what a pipe that can be written to takes without blocking: PIPE_BUF of Linux
_STDERR: Final = 2
_WRITE_S: Final = 1.0


def write_line(line: bytes) -> None:
    """Write one line to standard error past every lock and buffer; given up when nobody reads there for a second."""
    try:
        writable = select.poll()
        writable.register(_STDERR, select.POLLOUT)
        if writable.poll(_WRITE_S * 1000):
            os.write(_STDERR, line)
    except OSError:
        pass  # standard error is closed: there is nobody to tell


class Watchdog:
    """Watches one event loop by a thread of its own while at least one worker runs in it.

    Args:
        thread_id: of the thread that the loop runs in.
        lease_s: of the jobs at stake.
        write: takes a line from the watching thread.
    """

    def __init__(self, thread_id: int, *, lease_s: float, write: Callable[[bytes], None] = write_line) -> None:
        self._thread_id = thread_id
        self._tick_s = min(_BLOCKED_S, lease_s / 2) / _TICKS
        self._hopeless_ticks = int(lease_s / self._tick_s)
        self._write = write
        self._held: dict[int, Mapping[str, Held]] = {}
        self._beats = 0
        self._last = 0.0
        self._told = False
        self._levels: frozenset[str] = frozenset()
        self._stop = threading.Event()

    async def watch(self, held: Mapping[str, Held]) -> None:
        """Watch on behalf of a worker with these jobs, until cancelled."""
        self._held[id(held)] = held
        if len(self._held) == 1:
            self._start()
        try:
            while True:
                self._beat()
                await asyncio.sleep(self._tick_s)
        finally:
            del self._held[id(held)]
            if not self._held:
                self._stop.set()

    def _start(self) -> None:
        self._last, self._told, self._stop = time.monotonic(), False, threading.Event()
        # Asked for here, since the answer may take a lock of `logging`.
        wanted = logging.getLogger(__name__).isEnabledFor
        levels = {"warning": logging.WARNING, "error": logging.ERROR}
        self._levels = frozenset(name for name, level in levels.items() if wanted(level))
        threading.Thread(target=self._run, args=(self._stop,), name="jobqueue-watchdog", daemon=True).start()

    def _beat(self) -> None:
        now = time.monotonic()
        blocked_s, self._last = now - self._last, now
        self._beats += 1
        if self._told or blocked_s > _TICKS * self._tick_s:
            self._told = False
            logger.warning("loop.resumed", seconds=round(blocked_s, 1))

    # ── the thread ───────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self, stop: threading.Event) -> None:
        seen, ticks = self._beats, 0
        while not stop.wait(self._tick_s):
            if seen != self._beats:
                seen, ticks = self._beats, 0
                continue
            ticks += 1
            if ticks == _TICKS:
                self._told = True
                self._tell("warning", "loop.blocked", "stack", self._stack())
            if ticks == self._hopeless_ticks and (jobs := self._jobs()):
                self._tell("error", "loop.hopeless", "taken_up_elsewhere", jobs[:_MAX_JOBS], count=len(jobs))

    def _stack(self) -> list[str]:
        """Where the loop stands, innermost first: ``file:line function``."""
        frame = sys._current_frames().get(self._thread_id)  # noqa: SLF001  # what faulthandler shows, as data
        if frame is None:
            return []
        # Without the source lines: a blockage may well be one of the file system.
        places = islice(traceback.walk_stack(frame), _MAX_FRAMES)
        return [f"{f.f_code.co_filename}:{line} {f.f_code.co_qualname}"[-_MAX_TEXT_CHARS:] for f, line in places]

    def _jobs(self) -> list[str]:
        held = [job for jobs in tuple(self._held.values()) for job in tuple(jobs.values())]
        return [f"{job.id}:{job.function}"[:_MAX_TEXT_CHARS] for job in held if not job.recording]

    def _tell(self, level: str, event: str, what: str, items: list[str], **fields: Any) -> None:
        if level not in self._levels:
            return
        line = {
            **fields, what: items, "event": event, "logger": __name__, "level": level,
            "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        }  # fmt: skip
        while len(raw := json.dumps(line).encode() + b"\n") > _MAX_LINE_BYTES:
            items.pop()  # the outermost frames give way, the last jobs
        self._write(raw)


_watchdogs: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, Watchdog]] = WeakKeyDictionary()


async def watch_loop(held: Mapping[str, Held], *, lease_s: float) -> None:
    """Have the running loop watched on behalf of a worker with these jobs, until cancelled.

    The workers of one loop share the thread, and with it each line.
    """
    loop = asyncio.get_running_loop()
    if loop not in _watchdogs:
        _watchdogs[loop] = Watchdog(threading.get_ident(), lease_s=lease_s)
    await _watchdogs[loop].watch(held)
