"""What a step's function sees of its flow, as ``ctx["flow"]``; and what the flow keeps of a step's result."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from jobqueue.broker.flowreader import FlowReader
from jobqueue.broker.storedflow import encode_result
from jobqueue.errors import LimitExceeded
from jobqueue.flows import Counts, StepState

MAX_CHILD_RESULT_BYTES: Final = 64_000
MAX_STEP_RESULT_BYTES: Final = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """How a step, or one child of it, ended. ``value`` is None unless it succeeded."""

    index: int
    state: StepState
    value: Any = None


class FlowContext:
    """The flow of the job that is running.

    Attributes:
        id: of the flow.
        step: name of the job's step.
        child: the job's index in its group; None where the step is one job.
    """

    __slots__ = ("_flows", "child", "id", "step")

    def __init__(self, flows: FlowReader, meta: Mapping[str, Any]) -> None:
        self._flows = flows
        self.id: str = meta["flow"]
        self.step: str = meta["step"]
        self.child: int | None = meta.get("child")

    async def counts(self, step: str) -> Counts:
        """How the jobs of a step ended; a step of one job counts as one child.

        Raises:
            NotFound: the flow has expired.
            KeyError: it has no such step.
        """
        stored = await self._flows.get(self.id)
        if stored.flow.step(step).is_group:
            return stored.counts[step]
        state = stored.states.get(step, StepState.WAITING)
        return Counts(
            total=1,
            succeeded=int(state is StepState.SUCCEEDED),
            failed=int(state is StepState.FAILED),
            cancelled=int(state is StepState.CANCELLED),
        )

    async def error(self, step: str) -> str | None:
        """The last error of a step; None when there was none. Raises `NotFound` as `counts`."""
        return (await self._flows.get(self.id)).errors.get(step)

    async def results(self, step: str) -> AsyncIterator[StepResult]:
        """How each job of a step ended, in the order of the children, with its result.

        The step has to stand in ``reads`` of this one (or of another one), or its results aren't kept. Raises as
        `counts`.
        """
        stored = await self._flows.get(self.id)
        async for index, state, value in self._flows.results(stored, stored.flow.step(step)):
            yield StepResult(index=index, state=state, value=value)


def passed_on(meta: Mapping[str, Any], value: Any) -> bytes | None:
    """What the flow keeps of a step's result; None when no later step wants it.

    Raises:
        InvalidInput: it isn't plain data.
        LimitExceeded: it takes more than 64 kB, or 2 MB of a step that is one job.
    """
    if not meta.get("wants"):
        return None
    raw = encode_result(value)
    limit = MAX_CHILD_RESULT_BYTES if "child" in meta else MAX_STEP_RESULT_BYTES
    if len(raw) > limit:
        raise LimitExceeded(
            f"the result that step {meta['step']} passes on takes {len(raw):,} bytes; at most {limit:,} are kept: "
            "put large things into storage and return their key"
        )
    return raw


def check_meta(meta: Mapping[str, Any]) -> None:
    """Raise TypeError where a job's metadata don't name a step: whoever can write to Redis can write anything."""
    if "flow" not in meta:
        return
    if not (isinstance(meta["flow"], str) and isinstance(meta["step"], str)):
        raise TypeError("the flow or the step is no text")
    for name in ("child", "gen"):
        if name in meta and (type(meta[name]) is not int or meta[name] < 0):
            raise TypeError(f"the step's {name} is no number")
