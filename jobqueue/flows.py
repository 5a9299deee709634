"""Flows: jobs over several queues under one id, as pure data and pure decisions.

A flow is a directed acyclic graph of steps. What a step needs is known when the flow is made; what it passes on
lies in storage and records, so a step's arguments never depend on another step's result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from jobqueue.errors import InvalidInput


class StepState(StrEnum):
    """Where a step stands in its flow's record (finer states are the job's own)."""

    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class FlowState(StrEnum):
    """Where a flow stands as a whole."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One job of a flow: ``function`` on the queue with the short name ``queue``, after all of ``needs``."""

    name: str
    queue: str
    function: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A graph of steps under one id.

    Raises:
        InvalidInput: no steps, a doubled or unknown name, or a cycle; names the step.

    >>> flow = Flow(id="task-1", kind="demo", tenant_id="t", created_at=datetime.now().astimezone(), steps=(
    ...     Step(name="a", queue="ocr", function="f"), Step(name="b", queue="llm", function="g", needs=("a",))))
    >>> [s.name for s in ready(flow, {})], [s.name for s in ready(flow, {"a": StepState.SUCCEEDED})]
    (['a'], ['b'])
    """

    id: str
    kind: str
    tenant_id: str
    created_at: datetime
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        names = [step.name for step in self.steps]
        if not names:
            raise InvalidInput(f"flow {self.id} has no steps")
        if len(set(names)) != len(names):
            raise InvalidInput(f"flow {self.id} has two steps of one name: {sorted(names)}")
        done: set[str] = set()
        left = list(self.steps)
        while left:
            free = [step for step in left if done.issuperset(step.needs)]
            if not free:
                stuck = ", ".join(f"{step.name} needs {sorted(set(step.needs) - done)}" for step in left)
                raise InvalidInput(f"flow {self.id} can never finish: {stuck}")
            done.update(step.name for step in free)
            left = [step for step in left if step.name not in done]

    def job_id(self, step: Step) -> str:
        """The id of a step's job: the same however often the step is enqueued, led by its queue's name."""
        return f"{step.queue}-{self.id.partition('-')[2] or self.id}-{step.name}"

    def step(self, name: str) -> Step:
        """The step of that name; KeyError when there is none."""
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(name)

    def to_data(self) -> dict[str, Any]:
        """Plain data for Redis and the records."""
        return {
            "id": self.id,
            "kind": self.kind,
            "tenant": self.tenant_id,
            "created": self.created_at.isoformat(),
            "steps": [
                {"name": s.name, "queue": s.queue, "function": s.function, "kwargs": dict(s.kwargs), "needs": s.needs}
                for s in self.steps
            ],
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_data`."""
        return cls(
            id=data["id"],
            kind=data["kind"],
            tenant_id=data["tenant"],
            created_at=datetime.fromisoformat(data["created"]),
            steps=tuple(Step(**{**step, "needs": tuple(step["needs"])}) for step in data["steps"]),
        )


def ready(flow: Flow, states: Mapping[str, StepState]) -> list[Step]:
    """The steps that may start: not finished, and everything they need has succeeded.

    A step already enqueued is named again; enqueueing once is the enqueuer's promise.
    """
    return [
        step
        for step in flow.steps
        if states.get(step.name, StepState.WAITING) is StepState.WAITING
        and all(states.get(need) is StepState.SUCCEEDED for need in step.needs)
    ]


def outcome(flow: Flow, states: Mapping[str, StepState], *, cancelled: bool = False) -> FlowState:
    """The state of the whole.

    Failed as soon as a step has failed, for then it can't succeed any more; cancelled as soon as that was asked for,
    unless everything was done by then.
    """
    found = [states.get(step.name, StepState.WAITING) for step in flow.steps]
    if set(found) == {StepState.SUCCEEDED}:
        return FlowState.SUCCEEDED
    if cancelled or StepState.CANCELLED in found:
        return FlowState.CANCELLED
    if StepState.FAILED in found:
        return FlowState.FAILED
    return FlowState.RUNNING
