"""A flow as Redis has it: what its fields say, and what its outbox entries say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import msgpack

from jobqueue.broker.flowscripts import Fields, StepEnd
from jobqueue.flows import Counts, Flow, FlowState, OnFailure, Step, StepState, outcome, ready, settle
from jobqueue.flows.model import MAX_CHILDREN
from jobqueue.job import decode, encode

SPEC: Final = "spec"
_ENDS: Final = frozenset({StepState.SUCCEEDED, StepState.FAILED, StepState.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFlow:
    """A flow and how it stands.

    Attributes:
        states: of the steps that have ended.
        counts: of its groups' children.
        errors: the last one of each step that had any.
        generations: how often steps were replayed.
        queued: jobs of a step enqueued so far in this round.
        began_ms, last_ms: when a group was begun, and when its last child so far ended.
        round: as ``lua/flow_advance.lua`` tells.
        ended_ms: since when it is over, epoch milliseconds; None while it isn't, or its jobs are still being withdrawn.
        told: the end that `on_flow_ended` was told.
    """

    flow: Flow
    states: dict[str, StepState]
    counts: dict[str, Counts]
    errors: dict[str, str]
    generations: dict[str, int]
    queued: dict[str, int]
    began_ms: dict[str, int]
    last_ms: dict[str, int]
    round: int = 0
    cancelled: bool = False
    ended_ms: int | None = None
    told: str | None = None

    @property
    def state(self) -> FlowState:
        return outcome(self.flow, self.states, cancelled=self.cancelled)

    @property
    def error(self) -> str | None:
        """Why it failed, where it has."""
        if self.state is not FlowState.FAILED:
            return None
        failed = [s.name for s in self.flow.steps if s.on_failure is OnFailure.FAIL and self._failed(s)]
        return next((self.errors[name] for name in failed if name in self.errors), None)

    def _failed(self, step: Step) -> bool:
        return self.states.get(step.name) is StepState.FAILED

    def settled(self) -> dict[str, StepState]:
        """The state of every step."""
        return settle(self.flow, self.states)

    def due(self) -> list[Step]:
        """The steps that may start, and whose jobs aren't all enqueued."""
        return [step for step in ready(self.flow, self.states) if self.queued.get(step.name, -1) < self.size(step)]

    def size(self, step: Step) -> int:
        """How many jobs a step has, as far as is known."""
        return (self.counts[step.name].total or 0) if step.is_group else 1

    def startable(self) -> list[Step]:
        """The steps with jobs that may be on a queue, or run."""
        begun = {step.name for step in ready(self.flow, self.states)}
        return [step for step in self.flow.steps if self._unfinished(step) or (step.name in begun and self.size(step))]

    def _unfinished(self, step: Step) -> bool:
        """Whether a group has failed, with children that haven't ended."""
        return step.is_group and self._failed(step) and self.counts[step.name].ended < self.size(step)

    def job_id(self, step: Step, child: int | None = None) -> str:
        """The id of a step's job, in its present generation."""
        return self.flow.job_id(step, child, self.generations.get(step.name, 0))

    def meta(self, step: Step, child: int | None = None) -> dict[str, Any]:
        """What the payload of a step's job says of its flow."""
        meta: dict[str, Any] = {"flow": self.flow.id, "step": step.name, "tenant": self.flow.tenant_id, "once": 1}
        if child is not None:
            meta["child"] = child
        if generation := self.generations.get(step.name, 0):
            meta["gen"] = generation
        if self.flow.wants(step.name):
            meta["wants"] = 1
        if step.priority:
            meta["priority"] = step.priority
        return meta


def stored_flow(fields: Fields) -> StoredFlow | None:
    """The flow that these fields say; None when they are no flow's."""
    if SPEC not in fields:
        return None
    flow = _flow(fields[SPEC])

    def numbers(kind: str) -> dict[str, int]:
        return {name.removeprefix(kind): int(value) for name, value in fields.items() if name.startswith(kind)}

    totals, ended = numbers("total:"), {state: numbers(f"{state}:") for state in _ENDS}
    counts = {
        step.name: Counts(
            total=totals.get(step.name, step.count),
            succeeded=ended[StepState.SUCCEEDED].get(step.name, 0),
            failed=ended[StepState.FAILED].get(step.name, 0),
            cancelled=ended[StepState.CANCELLED].get(step.name, 0),
        )
        for step in flow.steps
        if step.is_group
    }
    told = fields.get("told")
    return StoredFlow(
        flow=flow,
        states=_states(flow, fields, counts),
        counts=counts,
        errors={n.removeprefix("error:"): v.decode("utf-8", "replace") for n, v in fields.items() if n[:6] == "error:"},
        generations=numbers("generation:"),
        queued=numbers("queued:"),
        began_ms=numbers("began:"),
        last_ms=numbers("last:"),
        round=int(fields.get("round", 0)),
        cancelled="cancelled" in fields,
        ended_ms=int(fields["ended_ms"]) if "ended_ms" in fields else None,
        told=told.decode() if told else None,
    )


@lru_cache(maxsize=64)  # a flow with many steps is read at the end of each
def _flow(spec: bytes) -> Flow:
    return Flow.from_data(msgpack.unpackb(spec))


def _states(flow: Flow, fields: Mapping[str, bytes], counts: Mapping[str, Counts]) -> dict[str, StepState]:
    states: dict[str, StepState] = {}
    for step in flow.steps:
        if (value := fields.get(f"step:{step.name}")) is not None:
            states[step.name] = StepState(value.decode())
        elif step.is_group and (state := counts[step.name].state(step.on_failure)) is not StepState.WAITING:
            states[step.name] = state
    return states


# ── outbox entries ───────────────────────────────────────────────────────────────────────────────────────────────


def step_entry(meta: Mapping[str, Any], state: StepState, message: str, result: bytes | None = None) -> list[Any]:
    """The outbox entry, as a flat list of fields, that tells a flow how a job with this metadata ended."""
    entry = ["flow", meta["flow"], "step", meta["step"], "state", state.value, "message", message]
    if "child" in meta:
        entry += ["child", str(meta["child"])]
    if meta.get("gen"):
        entry += ["gen", str(meta["gen"])]
    return entry if result is None else [*entry, "result", result]


def look_entry(flow_id: str) -> dict[str, str]:
    """The outbox entry that has a relay look at a flow, and tell its end if it is over."""
    return {"flow": flow_id}


def step_end(entry: Mapping[bytes, bytes]) -> StepEnd | None:
    """What an outbox entry says; None for one that says only: look.

    Raises ValueError, KeyError or UnicodeDecodeError for what no worker of ours wrote.
    """
    if b"step" not in entry:
        return None
    child = int(entry[b"child"]) if b"child" in entry else None
    if child is not None and not 0 <= child < MAX_CHILDREN:
        raise ValueError(f"there is no child {child}")
    state = StepState(entry[b"state"].decode())
    if state not in _ENDS:
        raise ValueError(f"no job ends {state}")
    return StepEnd(
        step=entry[b"step"].decode(), child=child, generation=int(entry.get(b"gen", 0)), state=state,
        message=entry[b"message"].decode("utf-8", "replace"), result=entry.get(b"result"),
    )  # fmt: skip


def encode_result(value: Any) -> bytes:
    """A result as a later step reads it. Raises `InvalidInput` where it isn't plain data."""
    return encode({"r": value})


def decode_result(raw: bytes) -> Any:
    """The inverse of `encode_result`. Raises `UnreadablePayload`."""
    return decode(raw).get("r")
