"""Tasks, jobs and queues as people and programs see them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from jobqueue.tasks import Model


class StepView(Model):
    """One step of a task as people see it.

    Attributes:
        job_id: of its job; what the ids of its jobs begin with, for a group.
        state: as `jobqueue.job.State`, or ``waiting`` for what comes before it, or ``skipped``.
        done, total: as its job reports; of a group how many children have ended, and how many there are.
        children: how many, for a group as soon as they are known; 0 for a step that is one job.
        succeeded, failed, cancelled: of its children.
    """

    name: str
    job_id: str
    queue: str
    function: str
    state: str
    attempt: int = 0
    done: int = 0
    total: int = 0
    message: str = ""
    seconds: float | None = None
    error: str | None = None
    children: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0


class ChildView(Model):
    """One child of a group of jobs as people see it; ``state`` as `jobqueue.job.State`, or ``waiting``."""

    index: int
    job_id: str
    state: str
    attempt: int = 0
    done: int = 0
    total: int = 0
    message: str = ""
    seconds: float | None = None
    error: str | None = None


class ChildrenPage(Model):
    """Some children of a group, from index ``offset`` on; ``total`` in all, 0 while it isn't known."""

    step: str
    total: int
    offset: int
    children: list[ChildView]


class TaskView(Model):
    """One task (a flow of jobs under one id) as people see it.

    Attributes:
        state: ``queued``, ``running``, ``succeeded``, ``failed``, ``cancelled``.
        progress: 0..1 over all steps.
        result: what the finished task gives: storage keys of reports, extracted facts.
    """

    id: str
    kind: str
    tenant_id: str
    state: str
    progress: float
    steps: list[StepView]
    created_at: datetime
    finished_at: datetime | None = None
    error: str | None = None
    result: dict[str, Any] | None = None


class JobView(Model):
    """One job as people see it.

    Attributes:
        state: as `jobqueue.job.State`.
        partial: pieces of its result that are newer than asked for, each with id, number, attempt and data.
        event_id: what has been seen with this view; ``after`` it comes what is new.
        result: what it returned, once it has succeeded.
    """

    id: str
    queue: str
    function: str
    tenant_id: str | None
    state: str
    attempt: int = 0
    done: int = 0
    total: int = 0
    message: str = ""
    seconds: float | None = None
    error: str | None = None
    result: Any = None
    partial: list[dict[str, Any]] = Field(default_factory=list)
    event_id: str = ""


class JobEvent(Model):
    """Something that happened to a job; whoever gives ``id`` as ``after`` goes on behind it.

    Attributes:
        kind: ``state``: state, attempt, error, done, total, message as they are now; ``progress``: the last three.
            Older ones may have been left out. ``partial``: one piece of the result: number (from 1 in each attempt),
            attempt, data; none is left out but those older than the newest thousand.
    """

    id: str
    kind: Literal["state", "progress", "partial"]
    data: dict[str, Any]


class QueueView(Model):
    """One queue as people see it. Counts are of this moment; ``counters`` since the queue was first used."""

    name: str
    waiting: int
    deferred: int
    running: int
    dead: int
    workers: int
    counters: dict[str, int] = Field(default_factory=dict)
