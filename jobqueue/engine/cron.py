"""Cron ticks: every worker enqueues each tick, under an id made of name and time, and one of them wins."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from arq.cron import CronJob
from arq.utils import to_unix_ms

from jobqueue.broker.options import lane_of
from jobqueue.broker.scripts import EnqueueSpec
from jobqueue.job import encode, new_id, payload


def due_ticks(cron_jobs: Sequence[CronJob], now: datetime, window: timedelta) -> list[EnqueueSpec]:
    """The jobs of all ticks up to ``now + window``; moves each ``next_run`` on.

    An enqueue-once marker keeps the tick of a worker that was stalled for up to a day from running twice.
    """
    specs = []
    for job in cron_jobs:
        if job.next_run is None:
            if not job.run_at_startup:
                job.calculate_next(now)
                continue
            job.next_run = now
        if job.next_run >= now + window:
            continue
        at_ms = to_unix_ms(job.next_run)
        once = job.unique and job.job_id is None
        job_id = job.job_id or (f"{job.name}:{at_ms}" if job.unique else new_id("cron"))
        specs.append(
            EnqueueSpec(
                id=job_id,
                payload=encode(
                    payload(job.name, (), {}, enqueued_ms=to_unix_ms(now), meta={"once": 1} if once else None)
                ),
                at_ms=at_ms,
                once=once,
                lane=lane_of(job.name, {}),
            )
        )
        job.calculate_next(job.next_run)
    return specs
