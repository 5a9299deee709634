"""What follows from how a flow's steps stand: pure decisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from jobqueue.errors import Conflict, InvalidInput
from jobqueue.flows.model import Flow, FlowState, OnFailure, Step, StepState

_BAD: Final = frozenset({StepState.FAILED, StepState.CANCELLED})
States = Mapping[str, StepState]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The children of a group. ``total`` is None while it isn't known yet."""

    total: int | None = None
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def ended(self) -> int:
        return self.succeeded + self.failed + self.cancelled

    def state(self, on_failure: OnFailure) -> StepState:
        """The state of the group.

        >>> Counts(total=3, failed=1).state(OnFailure.FAIL), Counts(total=3, failed=1).state(OnFailure.CONTINUE)
        (<StepState.FAILED: 'failed'>, <StepState.WAITING: 'waiting'>)
        """
        if self.total is None:
            return StepState.WAITING
        if self.failed and on_failure is OnFailure.FAIL:
            return StepState.FAILED
        if self.ended < self.total:
            return StepState.WAITING
        if self.failed:
            return StepState.FAILED
        return StepState.CANCELLED if self.cancelled else StepState.SUCCEEDED


def settle(flow: Flow, states: States) -> dict[str, StepState]:
    """The state of every step, those included that can't start any more."""
    settled: dict[str, StepState] = {}
    for step in flow.order:
        state = states.get(step.name, StepState.WAITING)
        if state is StepState.WAITING and any(_skips(flow.step(need), settled[need]) for need in step.needs):
            state = StepState.SKIPPED
        settled[step.name] = state
    return settled


def _skips(step: Step, state: StepState) -> bool:
    return state is StepState.SKIPPED or (state in _BAD and step.on_failure is OnFailure.SKIP)


def ready(flow: Flow, states: States) -> list[Step]:
    """The steps that may start, as far as their needs go: not ended, and everything they need has ended well enough.

    A step already enqueued is named again; enqueueing once is the enqueuer's promise.
    """
    settled = settle(flow, states)

    def lets_go(need: str) -> bool:
        state = settled[need]
        return state is StepState.SUCCEEDED or (state in _BAD and flow.step(need).on_failure is OnFailure.CONTINUE)

    return [s for s in flow.steps if settled[s.name] is StepState.WAITING and all(lets_go(n) for n in s.needs)]


def outcome(flow: Flow, states: States, *, cancelled: bool = False) -> FlowState:
    """The state of the whole.

    Failed as soon as a step has whose failure means that; cancelled as soon as that was asked for, unless everything
    was done by then.
    """
    settled = settle(flow, states)
    decisive = {settled[step.name] for step in flow.steps if step.on_failure is OnFailure.FAIL}
    found = set(settled.values())
    stopped = cancelled and StepState.CANCELLED in found
    if StepState.WAITING not in found and not decisive & _BAD and not stopped:
        return FlowState.SUCCEEDED
    if cancelled or StepState.CANCELLED in decisive:
        return FlowState.CANCELLED
    if StepState.FAILED in decisive:
        return FlowState.FAILED
    return FlowState.RUNNING


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """A step that a replay begins anew. ``failed_only``: the children of a group that succeeded stay."""

    step: Step
    failed_only: bool = False


def replayed(
    flow: Flow, states: States, counts: Mapping[str, Counts], *, step: str | None = None, failed_only: bool = False
) -> list[Reset]:
    """What a replay begins anew: a step (None: all of them) and everything that comes after it.

    Args:
        flow: one that is over.
        states: how its steps stand.
        counts: how the children of its groups do.
        step: where to begin.
        failed_only: begin with what failed or was cancelled (of ``step``, where it is given), and do only those
            children of groups again.

    Raises:
        InvalidInput: it has no such step.
        Conflict: nothing of it failed.
    """
    if step is not None and step not in {one.name for one in flow.steps}:
        raise InvalidInput(f"flow {flow.id} has no step {step!r}: there are {', '.join(s.name for s in flow.steps)}")
    begin = {s.name for s in flow.steps} if step is None else {step}
    if not failed_only:
        return [Reset(step=s) for s in flow.order if s.name in _with_downstream(flow, begin)]

    def bad(one: Step) -> bool:
        of = counts.get(one.name, Counts())
        return states.get(one.name) in _BAD or bool(of.failed or of.cancelled)

    begin = {s.name for s in flow.steps if s.name in begin and bad(s)}
    if not begin and StepState.WAITING not in settle(flow, states).values():
        raise Conflict(f"nothing of {f'step {step}' if step else f'flow {flow.id}'} has failed: replay it whole")
    after = _with_downstream(flow, begin)
    further = {s.name for s in flow.order if after & set(s.needs)}
    return [Reset(step=s, failed_only=s.is_group and s.name not in further) for s in flow.order if s.name in after]


def _with_downstream(flow: Flow, names: Iterable[str]) -> set[str]:
    found = set(names)
    for step in flow.order:
        if found & set(step.needs):
            found.add(step.name)
    return found
