"""A worker process that is there to be hurt: ``python -m tests.chaos.worker SPEC``, the fields of `Spec` as JSON.

Its jobs write what they do into the effect log.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arq.cron import CronJob
from arq.worker import Function, func

from jobqueue.engine.fleet import run_workers
from jobqueue.engine.worker import Worker
from jobqueue.errors import InvalidInput, Transient
from jobqueue.flows import Flow, FlowState
from jobqueue.job import decode
from jobqueue.retry import Backoff, RetryPolicy
from tests.chaos.effects import EffectLog
from tests.engine_support import INGEST, worker_of

POLICY = RetryPolicy(backoff=Backoff.FIXED, base_s=0.05, cap_s=0.05, max_attempts=1000, cooldown_after=10**6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One worker process."""

    url: str
    log: str
    queues: Sequence[str] = ("ingest",)
    lease_s: float = 10.0
    grace_s: int = 0
    max_jobs: int = 20
    keep_result_s: int = 3600


def job_types(log: EffectLog, *, hurry: bool = False) -> list[Function]:
    """The jobs of all scenarios. With ``hurry``, those that would never end do so at once."""

    async def work(ctx: dict[str, Any], seconds: float = 0.0) -> str:
        log.write("start", ctx)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            log.write("told", ctx)
            raise
        log.write("end", ctx)
        return f"{os.getpid()}/{ctx['job_try']}/{ctx['fence']}"  # each run's own, so that an overwriting shows

    async def once(ctx: dict[str, Any]) -> str:
        return await work(ctx)

    async def reporting(ctx: dict[str, Any], seconds: float) -> str:
        await ctx["progress"](1, 2, "half")
        return await work(ctx, seconds)

    async def shaky(ctx: dict[str, Any]) -> str:
        if ctx["job_try"] == 1:
            raise Transient("the first attempt fails")
        return await work(ctx)

    async def bad(ctx: dict[str, Any]) -> str:
        """Fails for good, until it is replayed."""
        if not ctx["meta"].get("history"):
            raise InvalidInput("no")
        return await work(ctx)

    async def paging(ctx: dict[str, Any]) -> str:
        """Goes on from its checkpoint; fails for good where a piece of its result is missing, or there twice."""
        for page in range((await ctx["checkpoint"].load() or 0) + 1, 4):
            await ctx["partial"](page)
            await ctx["checkpoint"].save(page)
        told = [decode(row[b"p"])["d"] for _, row in await ctx["redis"].xrange(INGEST.partial(ctx["job_id"]))]
        if told != [1, 2, 3]:
            raise InvalidInput(f"the pieces are {told}")
        return await work(ctx)

    async def linger(ctx: dict[str, Any]) -> str:
        return await work(ctx, 0.0 if hurry else 60.0)

    async def census(ctx: dict[str, Any]) -> None:
        log.write("census", ctx, tasks=len(asyncio.all_tasks()))

    plain = [func(f, name=f.__name__) for f in (work, reporting, shaky, bad, paging, linger, census)]
    return [*plain, func(once, name="once", max_tries=1)]


def workers(
    spec: Spec, log: EffectLog, *, hurry: bool = False, cron_jobs: Mapping[str, Sequence[CronJob]] | None = None
) -> list[Worker]:
    """The workers of one process, which has yet to run them."""

    async def ready(ctx: dict[Any, Any]) -> None:
        log.write("ready")

    async def flow_ended(flow: Flow, state: FlowState, error: str | None) -> None:
        log.write("flow", {"job_id": flow.id})

    return [
        worker_of(
            spec.url, job_types(log, hurry=hurry), queue=queue, max_tries=POLICY.max_attempts, on_startup=ready,
            job_completion_wait=spec.grace_s, max_jobs=spec.max_jobs, keep_result=spec.keep_result_s,
            extra={"lease_s": spec.lease_s, "default_policy": POLICY, "on_flow_ended": flow_ended},
            cron_jobs=(cron_jobs or {}).get(queue),
        )
        for queue in spec.queues
    ]  # fmt: skip


async def main(spec: Spec) -> None:
    """Run until signalled."""
    await run_workers(workers(spec, EffectLog(Path(spec.log))))


if __name__ == "__main__":
    logging.disable(logging.INFO)
    asyncio.run(main(Spec(**json.loads(sys.argv[1]))))
