"""Flows as they are read: how one stands, its jobs and their results, and what a group's children are made from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from jobqueue.broker.keys import FlowKeys, QueueKeys, queue_name
from jobqueue.broker.scripts import answered
from jobqueue.broker.storedflow import StoredFlow, decode_result, stored_flow
from jobqueue.errors import InvalidInput, NotFound
from jobqueue.flows import Step, StepState
from jobqueue.flows.model import fault_of

GROUP: Final = 1000
"""Jobs in one call, and items in one field."""
_RESULTS: Final = 100
"""Results in one answer: up to 64 kB each."""
_BAD: Final = frozenset({StepState.FAILED, StepState.CANCELLED})
_LETTERS: Final = {
    None: StepState.WAITING, b"s": StepState.SUCCEEDED, b"f": StepState.FAILED, b"c": StepState.CANCELLED,
}  # fmt: skip


class FlowReader:
    """Reads the flows of one Redis."""

    def __init__(self, redis: Any, *, cluster: bool) -> None:
        self._redis = redis
        self._cluster = cluster

    def keys(self, step: Step) -> QueueKeys:
        """The keys of the queue that a step runs on."""
        return QueueKeys(queue_name(step.queue), cluster=self._cluster)

    def flow_keys(self, flow_id: str) -> FlowKeys:
        """The keys of a flow."""
        return FlowKeys(flow_id, cluster=self._cluster)

    async def read(self, flow_id: str) -> StoredFlow | None:
        """The flow as it stands; None when Redis doesn't know it (any more)."""
        fields = await answered(self._redis.hgetall(self.flow_keys(flow_id).flow))
        return stored_flow({name.decode(): value for name, value in fields.items()})

    async def get(self, flow_id: str) -> StoredFlow:
        """As `read`. Raises `NotFound`."""
        if (stored := await self.read(flow_id)) is None:
            raise NotFound(f"no task {flow_id}")
        return stored

    async def child_states(self, stored: StoredFlow, step: Step, indexes: Sequence[int]) -> list[StepState]:
        """How these children of a group ended; ``WAITING`` for those that haven't."""
        names = [f"{step.name}.{index}" for index in indexes]
        letters = await answered(self._redis.hmget(self.flow_keys(stored.flow.id).children, names)) if names else []
        return [_LETTERS[letter] for letter in letters]

    async def jobs(self, stored: StoredFlow, step: Step, *, bad: bool = False) -> AsyncIterator[list[str]]:
        """The ids of a step's jobs that haven't ended (``bad``: that failed or were cancelled), in thousands."""
        wanted = _BAD if bad else {StepState.WAITING}
        if not step.is_group:
            if stored.states.get(step.name, StepState.WAITING) in wanted:
                yield [stored.job_id(step)]
            return
        if bad and not (stored.counts[step.name].failed or stored.counts[step.name].cancelled):
            return
        for start in range(0, stored.size(step), GROUP):
            indexes = range(start, min(start + GROUP, stored.size(step)))
            states = await self.child_states(stored, step, indexes)
            if chosen := [index for index, state in zip(indexes, states, strict=True) if state in wanted]:
                yield [stored.job_id(step, index) for index in chosen]

    async def results(self, stored: StoredFlow, step: Step) -> AsyncIterator[tuple[int, StepState, Any]]:
        """Index, state and result of each of a step's jobs, in order; results are there where a step reads them."""
        for start in range(0, stored.size(step), _RESULTS):
            indexes = range(start, min(start + _RESULTS, stored.size(step)))
            names = [f"{step.name}.{index}" for index in indexes] if step.is_group else [step.name]
            raw = await answered(self._redis.hmget(self.flow_keys(stored.flow.id).results, names))
            states = [stored.states.get(step.name, StepState.WAITING)]
            if step.is_group:
                states = await self.child_states(stored, step, indexes)
            for index, state, value in zip(indexes, states, raw, strict=True):
                succeeded = state is StepState.SUCCEEDED and value is not None
                yield index, state, decode_result(value) if succeeded else None

    async def each(self, stored: StoredFlow, step: Step) -> list[Any]:
        """The items that another step's result gives. Raises `InvalidInput` when it gives none."""
        source, _, name = (step.each or "").partition(".")
        raw = await answered(self._redis.hget(self.flow_keys(stored.flow.id).results, source))
        if raw is None:
            raise InvalidInput(f"there is no result of {source} to make children from")
        value = decode_result(raw)
        if name:
            if not isinstance(value, Mapping) or name not in value:
                raise InvalidInput(f"the result of {source} has no field {name!r}")
            value = value[name]
        if (fault := fault_of(value)) is not None:
            raise InvalidInput(f"what {step.each} gives {fault}")
        return list(value)

    async def items(self, stored: StoredFlow, step: Step, start: int) -> list[Any]:
        """Some of a step's own items, from that index on. Raises `InvalidInput` when they are gone."""
        raw = await answered(self._redis.hget(self.flow_keys(stored.flow.id).items, f"{step.name}.{start // GROUP}"))
        if raw is None:
            raise InvalidInput("its items are gone")
        return list(decode_result(raw))[start % GROUP :]
