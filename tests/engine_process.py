"""A worker process for tests that kill, stop and signal real ones: ``python -m tests.engine_process URL LOG GRACE_S``.

Its jobs write what they did to a log outside of Redis, one JSON object a line.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.engine_support import worker_of

ROOT: Final = Path(__file__).parents[1]


def main(url: str, log: str, grace_s: str) -> None:
    """Run a worker of ``ingest`` until it is signalled."""

    def note(ctx: dict[str, Any], what: str) -> None:
        entry = {"what": what, "id": ctx["job_id"], "attempt": ctx["job_try"], "pid": os.getpid(), "at": time.time()}
        with Path(log).open("a") as file:  # one write of one line: appended whole, whoever else writes
            file.write(json.dumps(entry) + "\n")

    async def work(ctx: dict[str, Any], seconds: float) -> str:
        note(ctx, "start")
        await asyncio.sleep(seconds)
        note(ctx, "end")
        return "done"

    async def stubborn(ctx: dict[str, Any]) -> None:
        note(ctx, "start")
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                note(ctx, "swallowed")

    async def leave(ctx: dict[str, Any]) -> None:
        note(ctx, "start")
        sys.exit(3)

    worker_of(url, [work, stubborn, leave], handle_signals=True, job_completion_wait=int(grace_s), max_jobs=20).run()


@dataclass(frozen=True, slots=True)
class Effects:
    """What the jobs of all processes wrote."""

    path: Path

    def entries(self, what: str, pid: int | None = None) -> list[dict[str, Any]]:
        """The entries of one kind, in order; of one process only, when ``pid`` is given."""
        if not self.path.exists():
            return []
        found = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [entry for entry in found if entry["what"] == what and pid in {None, entry["pid"]}]


@asynccontextmanager
async def process(url: str, effects: Effects, *, grace_s: int = 0) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker process, ended with the block if it still runs; its output goes to ``<log>.<pid>``."""
    with effects.path.with_suffix(f".{time.monotonic_ns()}.err").open("wb") as output:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.engine_process", url, str(effects.path), str(grace_s)),
            cwd=ROOT, stdout=output, stderr=output,
        )  # fmt: skip
        try:
            yield child
        finally:
            if child.returncode is None:
                child.kill()
            await child.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
