"""The table of job types: which coroutine runs a name, and how. Filled by the composition root, never by import."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from arq.worker import Function, func

from jobqueue.binding import Handler, bind, task_taken
from jobqueue.errors import ConfigError
from jobqueue.queues import Queue
from jobqueue.retry import RetryPolicy
from jobqueue.typed import Task

__all__ = ["Handler", "QueuePlan", "plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePlan:
    """All that a worker of one queue is built from."""

    queue: Queue
    functions: tuple[Function, ...]
    policies: Mapping[str, RetryPolicy]
    versions: Mapping[str, int]
    """Of the declared job types: the newest version of the payload that their handlers read."""


def plan(queue: Queue, handlers: Mapping[str, Handler], tasks: Iterable[type[Task[Any]]] = ()) -> QueuePlan:
    """Join a queue's configuration with its handlers, and with the tasks that declare what these are given.

    A task that a handler takes, by its annotation, needn't be among ``tasks``. Without one, a handler gets whatever
    arguments come.

    Raises:
        ConfigError: a job type has no handler, or a handler no job type, or takes another's task; names each.
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
    declared = _declared(queue, handlers, tasks)
    bound = {name: bind(handlers[name], task) for name, task in declared.items()}
    functions = tuple(
        func(
            bound.get(name, handlers[name]), name=name, timeout=job.timeout_s, keep_result=job.keep_result_s,
            max_tries=job.policy.max_attempts,
        )
        for name, job in queue.jobs.items()
    )  # fmt: skip
    return QueuePlan(
        queue=queue,
        functions=functions,
        policies={name: job.policy for name, job in queue.jobs.items()},
        versions={name: task.declared.version for name, task in declared.items()},
    )


def _declared(
    queue: Queue, handlers: Mapping[str, Handler], tasks: Iterable[type[Task[Any]]]
) -> dict[str, type[Task[Any]]]:
    """Job type -> its task, as far as one is declared."""
    found = {task.declared.function: task for task in tasks if task.declared.queue == queue.name}
    for name, handler in handlers.items():
        if (task := task_taken(handler)) is None:
            continue
        declared = getattr(task, "declared", None)
        if declared is None or (declared.queue, declared.function) != (queue.name, name):
            raise ConfigError(
                f"the handler of {name!r} on queue {queue.name!r} takes a {task.__name__}: it declares another job type"
            )
        found[name] = task
    return {name: task for name, task in found.items() if name in handlers}
