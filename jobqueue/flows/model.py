"""What a flow is: a directed acyclic graph of steps, each one job or a group of them.

A group's children are known when the flow is made (``items``), or only once another step has succeeded (``each``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final, Self

from jobqueue.errors import InvalidInput

MAX_STEPS: Final = 500
MAX_CHILDREN: Final = 100_000
"""Of one step."""
MAX_SPEC_BYTES: Final = 900_000
"""Of a flow without its items; what fits here, fits into a job."""
MAX_GROUP_KWARGS_BYTES: Final = 10_000
"""Of what all children of a step have in common, which each of them carries."""
MAX_ITEMS_BYTES: Final = 32_000_000

_STEP_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FLOW_ID: Final = re.compile(r"[!-z|~]{1,100}")  # printable, no space, and no braces, which mark a Cluster's slots
_HIGHEST_PRIORITY: Final = 9


class StepState(StrEnum):
    """Where a step stands in its flow's record (finer states are the job's own)."""

    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    """Never to start, since what it needs has failed or is skipped itself; follows from the others' states."""


class FlowState(StrEnum):
    """Where a flow stands as a whole."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class OnFailure(StrEnum):
    """What the failure of a step means for its flow. A step that was cancelled by itself counts as failed."""

    FAIL = "fail"
    """The flow fails: nothing new starts."""
    SKIP = "skip"
    """What depends on the step is skipped; the rest goes on, and may succeed."""
    CONTINUE = "continue"
    """What depends on the step runs all the same, and can see the failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One job of a flow, or a group of them: ``function`` on the queue with the short name ``queue``.

    Attributes:
        name: unique in its flow; 1 to 64 letters, digits, ``-`` and ``_``.
        kwargs: the job's arguments; those of every child, for a group.
        needs: names of the steps that come before it.
        on_failure: what its failure means; a group has failed when a child has.
        each: makes it a group: one child for each item of the result of that step, or of one field of it
            (``"split.pages"``). An item is a mapping of further arguments.
        items: makes it a group, of these.
        reads: steps whose results this one reads through ``ctx["flow"]``. These, and that of ``each``, are needed too.
        priority: 0 to 9, as a job's.

    Raises:
        InvalidInput: something of it can't be used; names the step.

    >>> Step(name="ocr", queue="ocr", function="read", each="split.pages", reads=("plan",)).needs
    ('split', 'plan')
    """

    name: str
    queue: str
    function: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    on_failure: OnFailure = OnFailure.FAIL
    each: str | None = None
    items: Sequence[Mapping[str, Any]] | None = field(default=None, repr=False)
    reads: tuple[str, ...] = ()
    priority: int = 0
    count: int | None = None
    """How many ``items`` there are; stays when they are stored apart."""

    def __post_init__(self) -> None:
        if not _STEP_NAME.fullmatch(self.name):
            raise InvalidInput(f"step {self.name!r}: a name is 1 to 64 letters, digits, '-' and '_'")
        try:
            object.__setattr__(self, "on_failure", OnFailure(self.on_failure))
        except ValueError:
            raise InvalidInput(f"step {self.name}: on_failure is one of {', '.join(OnFailure)}") from None
        if type(self.priority) is not int or not 0 <= self.priority <= _HIGHEST_PRIORITY:
            raise InvalidInput(f"step {self.name}: priority is a whole number from 0 to {_HIGHEST_PRIORITY}")
        needs = (*self.needs, *([self.source] if self.source else ()), *self.reads)
        object.__setattr__(self, "needs", tuple(dict.fromkeys(needs)))
        if self.items is not None:
            self._check_items(self.items)
            object.__setattr__(self, "count", len(self.items))

    def _check_items(self, items: Sequence[Mapping[str, Any]]) -> None:
        if self.each is not None:
            raise InvalidInput(f"step {self.name}: give either each or items")
        if (fault := fault_of(items)) is not None:
            raise InvalidInput(f"step {self.name}: items {fault}")
        object.__setattr__(self, "items", tuple(items))

    @property
    def is_group(self) -> bool:
        return self.each is not None or self.count is not None

    @property
    def source(self) -> str | None:
        """The step whose result the children are made from."""
        return self.each.partition(".")[0] if self.each is not None else None

    def to_data(self, *, items: bool = True) -> dict[str, Any]:
        """Plain data; the fields that say something."""
        data: dict[str, Any] = {
            "name": self.name, "queue": self.queue, "function": self.function, "kwargs": dict(self.kwargs),
            "needs": list(self.needs), "on_failure": self.on_failure.value, "each": self.each,
            "items": [dict(item) for item in self.items] if items and self.items is not None else None,
            "reads": list(self.reads), "priority": self.priority, "count": self.count,
        }  # fmt: skip
        return {name: value for name, value in data.items() if name in _ALWAYS or value not in _SILENT}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_data`; fields of a newer version are refused."""
        return cls(**{**data, "needs": tuple(data["needs"]), "reads": tuple(data.get("reads", ()))})


_ALWAYS: Final = frozenset({"name", "queue", "function", "kwargs", "needs", "items", "count"})
_SILENT: Final[tuple[Any, ...]] = (None, 0, [], OnFailure.FAIL.value)


def fault_of(items: object) -> str | None:
    """Why these can't be the items of a group, or None.

    >>> fault_of([{"page": 1}]), fault_of([1])
    (None, "must be mappings of arguments by name; number 0 is a 'int'")
    """
    if not isinstance(items, list | tuple):
        return f"must be a list, not a {type(items).__name__!r}"
    if len(items) > MAX_CHILDREN:
        return f"are {len(items):,}; a step has at most {MAX_CHILDREN:,} children"
    for number, item in enumerate(items):
        if not isinstance(item, Mapping) or not all(isinstance(name, str) for name in item):
            return f"must be mappings of arguments by name; number {number} is a {type(item).__name__!r}"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A graph of steps under one id.

    Attributes:
        order: the steps, each after what it needs.

    Raises:
        InvalidInput: no steps or too many, a doubled or unknown name, or a cycle; names the step.

    >>> flow = Flow(id="task-1", kind="demo", tenant_id="t", created_at=datetime.now().astimezone(), steps=(
    ...     Step(name="b", queue="llm", function="g", needs=("a",)), Step(name="a", queue="ocr", function="f")))
    >>> [step.name for step in flow.order]
    ['a', 'b']
    """

    id: str
    kind: str
    tenant_id: str
    created_at: datetime
    steps: tuple[Step, ...]
    order: tuple[Step, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not _FLOW_ID.fullmatch(self.id):
            raise InvalidInput(f"flow id {self.id!r}: up to 100 printable ASCII characters, no white space or braces")
        if not 0 < len(self.steps) <= MAX_STEPS:
            raise InvalidInput(f"flow {self.id} has {len(self.steps) or 'no'} steps; it may have 1 to {MAX_STEPS}")
        by_name = {step.name: step for step in self.steps}
        if len(by_name) != len(self.steps):
            raise InvalidInput(f"flow {self.id} has two steps of one name: {sorted(s.name for s in self.steps)}")
        for step in self.steps:
            if unknown := sorted(set(step.needs) - by_name.keys()):
                raise InvalidInput(f"flow {self.id} can never finish: {step.name} needs {unknown}, not steps of it")
            if step.source and by_name[step.source].is_group:
                raise InvalidInput(f"step {step.name}: each={step.each!r} is a group; name a step of one job")
        try:
            names = tuple(TopologicalSorter({step.name: step.needs for step in self.steps}).static_order())
        except CycleError as exc:
            circle = " needs ".join(reversed(exc.args[1]))
            raise InvalidInput(f"flow {self.id} can never finish: {circle}") from None
        object.__setattr__(self, "order", tuple(by_name[name] for name in names))

    def job_id(self, step: Step, child: int | None = None, generation: int = 0) -> str:
        """The id of a step's job: the same however often it is enqueued, led by its queue's name.

        Args:
            step: of this flow.
            child: index of the child, for a group.
            generation: how often the step was replayed: a replay's jobs are others.
        """
        index = "" if child is None else f".{child}"
        again = f".r{generation}" if generation else ""
        return f"{step.queue}-{self.id.partition('-')[2] or self.id}-{step.name}{index}{again}"

    def step(self, name: str) -> Step:
        """The step of that name; KeyError when there is none."""
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(name)

    def wants(self, name: str) -> bool:
        """Whether a later step makes something of this one's result."""
        return any(name == step.source or name in step.reads for step in self.steps)

    def to_data(self, *, items: bool = True) -> dict[str, Any]:
        """Plain data for Redis and the records; without the items where they are stored apart."""
        return {
            "id": self.id,
            "kind": self.kind,
            "tenant": self.tenant_id,
            "created": self.created_at.isoformat(),
            "steps": [step.to_data(items=items) for step in self.steps],
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_data`."""
        return cls(
            id=data["id"],
            kind=data["kind"],
            tenant_id=data["tenant"],
            created_at=datetime.fromisoformat(data["created"]),
            steps=tuple(Step.from_data(step) for step in data["steps"]),
        )
