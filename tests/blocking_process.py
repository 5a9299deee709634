"""A worker process whose handlers block its event loop: ``python -m tests.blocking_process URL LOG LEASE_S``."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from jobqueue.telemetry import logs
from tests.engine_support import worker_of


def main(url: str, log: str, lease_s: str) -> None:
    """Run a worker of ``ingest`` until it is signalled; its jobs write to ``log`` as `tests.engine_process` does."""

    def note(ctx: dict[str, Any], what: str) -> None:
        entry = {"what": what, "id": ctx["job_id"], "attempt": ctx["job_try"], "pid": os.getpid(), "at": time.time()}
        with Path(log).open("a") as file:
            file.write(json.dumps(entry) + "\n")

    async def sleep(ctx: dict[str, Any], seconds: float) -> str:
        note(ctx, "start")
        time.sleep(seconds)  # noqa: ASYNC251  # the mistake that the test is about
        note(ctx, "end")
        return "late"

    async def compute(ctx: dict[str, Any], seconds: float) -> str:
        note(ctx, "start")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass
        note(ctx, "end")
        return "late"

    async def hold_the_log(ctx: dict[str, Any], seconds: float) -> str:
        note(ctx, "start")
        for handler in logging.getLogger().handlers:
            handler.acquire()
        time.sleep(seconds)  # noqa: ASYNC251  # as above
        for handler in logging.getLogger().handlers:
            handler.release()
        note(ctx, "end")
        return "late"

    logs.configure()
    extra = {"lease_s": float(lease_s)}
    worker_of(url, [sleep, compute, hold_the_log], handle_signals=True, extra=extra).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
