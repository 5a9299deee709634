"""The processes of a run: how much memory each kind took at its peak, and which workers were lost."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

_PAUSE_S: Final = 0.2
_WORKER: Final = re.compile(r"jobqueue\.worker\.(\w+)Settings")
_PEAK: Final = re.compile(r"VmHWM:\s+(\d+) kB")


@dataclass(slots=True)
class Census:
    """Fills while `taking` runs.

    Attributes:
        peaks: kind of process (``worker ocr``, ``sandbox child``) -> bytes that the largest one of it had in memory.
        lost: what was said of each worker that ended by itself.
    """

    peaks: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    def note(self, said: str) -> None:
        """Hear what `jobqueue.cli.local.everything` says: it tells of every worker that ended unasked."""
        if "ended with exit code" in said:
            self.lost.append(said)

    @asynccontextmanager
    async def taking(self) -> AsyncIterator[None]:
        """Look at all descendants of this process, five times a second."""
        looking = asyncio.create_task(self._look_on(), name="census")
        try:
            yield
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking

    async def _look_on(self) -> None:
        while True:
            await asyncio.to_thread(self._look)
            await asyncio.sleep(_PAUSE_S)

    def _look(self) -> None:
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error, OSError):
                if (kind := _kind(process.cmdline())) is not None:
                    self.peaks[kind] = max(self.peaks.get(kind, 0), _peak_bytes(process))


def _kind(command: list[str]) -> str | None:
    """What a command line is of; None: of nothing that is counted.

    >>> _kind(["python", "/venv/bin/arq", "jobqueue.worker.OcrSettings"]), _kind(["python", "leash.py", "arq"])
    ('worker ocr', None)
    """
    line = " ".join(command)
    if "leash.py" in line:
        return None
    if found := _WORKER.search(line):
        return f"worker {found[1].lower()}"
    return "sandbox child" if "jobqueue.services.sandbox.forkserver" in line else None


def _peak_bytes(process: psutil.Process) -> int:
    """The most it ever had; where the kernel doesn't tell, what it has now."""
    with suppress(OSError):
        if found := _PEAK.search(Path(f"/proc/{process.pid}/status").read_text()):
            return int(found[1]) * 1024
    return int(process.memory_info().rss)
