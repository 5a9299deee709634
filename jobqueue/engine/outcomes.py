"""How an attempt can end, as values, and the record each of them becomes.

``record_of`` is the one place that says what Redis keeps of an outcome; ``broker/lua/record.lua`` applies it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Self

import msgpack

from jobqueue.broker.keys import BURIED_TTL_MS, ONCE_TTL_MS, PIECES_TTL_MS
from jobqueue.broker.scripts import ClaimedJob
from jobqueue.broker.storedflow import step_entry
from jobqueue.flows import StepState
from jobqueue.job import class_name, error_text, format_traceback


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The function returned."""

    value: Any


@dataclass(frozen=True, slots=True)
class Retrying:
    """The attempt failed or asked for another; it counts."""

    delay_s: float
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Returned:
    """Back to the queue through no fault of the job: the attempt doesn't count.

    ``delay_s`` None: at once and at its old place. ``parked_ms``: since when no worker has known its function.
    ``lane``: where it waits from now on.
    """

    why: str
    delay_s: float | None = None
    parked_ms: int | None = None
    lane: str | None = None


@dataclass(frozen=True, slots=True)
class Buried:
    """No further attempt: a dead letter. ``reason``: ``permanent``, ``exhausted``, ``expired``, ``unknown``."""

    error: BaseException
    reason: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Somebody asked for it to stop."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Lost:
    """The lease is another worker's now: nothing may be recorded."""


Outcome = Succeeded | Retrying | Returned | Buried | Cancelled | Lost


@dataclass(slots=True, kw_only=True)
class Held:
    """One job this worker holds, from its claim to its record."""

    id: str
    token: str
    score: int
    attempt: int
    claimed: int
    """The attempt that its claim counted; ``attempt`` may be more where the caller asked for that."""
    aborted: bool
    payload: bytes | None
    lane: str | None = None
    fence: int = 0
    function: str = "<unknown>"
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    enqueued_ms: int = 0
    expires_ms: int = 0
    """When it may not be started any more; 0: never."""
    meta: dict[str, Any] = field(default_factory=dict)
    pieces: dict[str, bytes] | None = None
    """Pieces of its partial result by stream id, as far as Redis may not have them; None: this attempt had none."""
    passed_on: bytes | None = None
    """What its flow keeps of its result."""
    started_ms: int = 0
    finished_ms: int = 0
    stop: Literal["abort", "lost"] | None = None
    """Why its task is being cancelled: ``abort``, ``lost``; None for a shutdown or by itself."""
    recording: bool = False
    slot: bool = True
    tick: bool = False
    """Whether it is a tick of a cron job."""

    @classmethod
    def of(cls, job: ClaimedJob, fence: int) -> Self:
        """A job just claimed."""
        return cls(
            id=job.id, token=job.token, score=job.score, attempt=job.attempt, claimed=job.attempt,
            aborted=job.aborted, payload=job.payload, lane=job.lane, fence=fence,
        )  # fmt: skip

    @property
    def version(self) -> int:
        """Of its payload's schema (`jobqueue.typed`)."""
        return int(self.meta.get("v", 1))

    @property
    def kind(self) -> str:
        """What a worker must know to run it."""
        return f"function {self.function!r}" + (f" with payloads of version {self.version}" if self.version > 1 else "")

    @property
    def ref(self) -> str:
        """How arq's log lines name it."""
        return self.function if self.tick else f"{self.id}:{self.function}"


_ARQ_FIELDS = frozenset({"id", "token", "attempt", "finish", "delay", "at", "result", "ttl"})


def bare(op: dict[str, Any]) -> dict[str, Any]:
    """The part of an op that arq has too: no streams, counters or markers."""
    return {name: op[name] for name in _ARQ_FIELDS & op.keys()}


def record_of(held: Held, outcome: Outcome, *, queue: str, result: bytes | None, ttl_ms: int) -> dict[str, Any]:
    """The op of ``record.lua`` for an outcome, streams and counters included."""
    op: dict[str, Any] = {"id": held.id, "token": held.token, "attempt": held.claimed}
    match outcome:
        case Succeeded():
            op |= _finish(held, StepState.SUCCEEDED)
        case Buried(error, reason):
            op |= _finish(held, StepState.FAILED, error)
            op |= {"dead": _letter(held, error, reason, queue), "ttl_buried": BURIED_TTL_MS}
        case Cancelled(error):
            op |= _finish(held, StepState.CANCELLED, error)
        case Retrying(delay_s, error):
            name, message = _brief(error)
            op["delay"] = int(delay_s * 1000)
            op["event"] = ("retrying", held.id, (name, message))
            op["count"] = f"{held.function}:retried"
            op["error"] = msgpack.packb([name, message, None])
            op["retry"] = _flat(
                job_id=held.id, function=held.function, attempt=held.attempt, delay_ms=op["delay"], error_class=name,
                message=message, started_ms=held.started_ms, finished_ms=held.finished_ms,
            )  # fmt: skip
        case Returned(why, delay_s, parked_ms, lane):
            op["refund"] = True
            if lane is not None:
                op["lane"] = lane
            op["event"] = ("returned", held.id, why)
            if delay_s is None:
                op["at"] = held.score
            else:
                op["delay"] = int(delay_s * 1000)
            if parked_ms is not None:
                op["error"] = msgpack.packb([why, f"no worker knows the {held.kind}", parked_ms])
        case Lost():
            raise ValueError("a lost job has no record")
    if result is not None:
        op |= {"result": result, "ttl": ttl_ms}
    if held.pieces is not None or ("finish" in op and _ran_before(held)):
        flat = [part for piece in (held.pieces or {}).items() for part in piece]
        op |= {"pieces": flat, "ttl_pieces": PIECES_TTL_MS}
    return op


def _ran_before(held: Held) -> bool:
    """Whether an earlier attempt may have left pieces of a result."""
    return held.claimed > 1 or "history" in held.meta


def _finish(held: Held, state: StepState, error: BaseException | None = None) -> dict[str, Any]:
    brief = _brief(error) if error is not None else None
    op: dict[str, Any] = {
        "finish": True,
        "event": (state.value, held.id, brief),
        "count": f"{held.function}:{state.value}",
    }
    if held.meta.get("once"):
        op |= {"once": True, "ttl_once": ONCE_TTL_MS}
    if "flow" in held.meta:
        passed_on = held.passed_on if state is StepState.SUCCEEDED else None
        op["outbox"] = step_entry(held.meta, state, brief[1] if brief else "", passed_on)
    return op


def _brief(error: BaseException | None) -> tuple[str, str]:
    return ("", "") if error is None else (class_name(type(error)), error_text(error))


def _letter(held: Held, error: BaseException, reason: str, queue: str) -> list[str]:
    name, message = _brief(error)
    return _flat(
        job_id=held.id, queue=queue, function=held.function, reason=reason, error_class=name, message=message,
        traceback=format_traceback(error), attempts=held.attempt, enqueued_ms=held.enqueued_ms,
        started_ms=held.started_ms, buried_ms=held.finished_ms, flow=held.meta.get("flow", ""),
        trace=held.meta.get("trace", ""), tenant=held.meta.get("tenant", ""),
    )  # fmt: skip


def _flat(**fields: object) -> list[str]:
    return [str(part) for pair in fields.items() for part in pair]
