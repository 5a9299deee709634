"""The table of job types: which coroutine runs a name, and how. Filled by the composition root, never by import."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from arq.cron import CronJob, cron
from arq.worker import Function, func

from jobqueue.errors import ConfigError
from jobqueue.queues import Queue
from jobqueue.retry import RetryPolicy

Handler = Callable[..., Coroutine[Any, Any, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePlan:
    """All that a worker of one queue is built from."""

    queue: Queue
    functions: tuple[Function, ...]
    cron_jobs: tuple[CronJob, ...]
    policies: Mapping[str, RetryPolicy]


Clock = Mapping[str, Mapping[str, Any]]
"""Job type -> the time fields of `arq.cron.cron` at which it is enqueued by itself, such as ``{"second": 0}``."""


def plan(queue: Queue, handlers: Mapping[str, Handler], clock: Clock | None = None) -> QueuePlan:
    """Join a queue's configuration with its handlers, and with the clock that starts some of them.

    Raises:
        ConfigError: a job type has no handler, or a handler no job type; names each.
    """
    missing = sorted(queue.jobs.keys() - handlers.keys())
    unconfigured = sorted(handlers.keys() - queue.jobs.keys())
    if missing or unconfigured:
        raise ConfigError(
            f"queues.toml: queues.{queue.name}.jobs: "
            + "; ".join(
                [f"{name} has no handler" for name in missing] + [f"{name} is not configured" for name in unconfigured]
            )
        )
    functions = tuple(
        func(
            handlers[name], name=name, timeout=job.timeout_s, keep_result=job.keep_result_s,
            max_tries=job.policy.max_attempts,
        )
        for name, job in queue.jobs.items()
    )  # fmt: skip
    ticks = tuple(
        cron(
            handlers[name], name=name, timeout=queue.jobs[name].timeout_s, keep_result=queue.jobs[name].keep_result_s,
            max_tries=queue.jobs[name].policy.max_attempts, **when,
        )
        for name, when in (clock or {}).items()
    )  # fmt: skip
    return QueuePlan(
        queue=queue,
        functions=functions,
        cron_jobs=ticks,
        policies={name: job.policy for name, job in queue.jobs.items()},
    )
