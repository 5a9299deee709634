"""Flows in Redis: one hash per flow, in a slot of its own, advanced by whoever relays a finished step.

Every verb can be repeated without harm, and two relays may advance one flow at the same time: marking a step is one
command on one field, the decision is made from the fields read after it, and enqueueing is once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgpack
from arq.utils import timestamp_ms

from jobqueue.broker.durable import Durability, write_durably
from jobqueue.broker.keys import FLOW_TTL_MS, QueueKeys, flow_key, queue_name
from jobqueue.broker.scripts import EnqueueSpec, Scripts
from jobqueue.flows import Flow, FlowState, Step, StepState, outcome, ready
from jobqueue.job import encode, payload

_SPEC: Final = "spec"
_STEP: Final = "step:"
_ERROR: Final = "error"
_CANCELLED: Final = "cancelled"
_ENDED: Final = "ended_ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFlow:
    """A flow and where its steps stand."""

    flow: Flow
    states: dict[str, StepState]
    cancelled: bool = False
    last_error: str | None = None
    ended_ms: int | None = None

    @property
    def state(self) -> FlowState:
        return outcome(self.flow, self.states, cancelled=self.cancelled)

    @property
    def error(self) -> str | None:
        """Why it failed, where it has."""
        return self.last_error if self.state is FlowState.FAILED else None


class FlowStore:
    """The flows of one Redis."""

    def __init__(self, redis: Any, *, cluster: bool) -> None:
        self._redis = redis
        self._cluster = cluster

    def keys(self, step: Step) -> QueueKeys:
        """The keys of the queue that a step runs on."""
        return QueueKeys(queue_name(step.queue), cluster=self._cluster)

    async def create(self, flow: Flow) -> bool:
        """Store a flow; False when its id is taken. Follow with `enqueue_ready`."""
        key = flow_key(flow.id, cluster=self._cluster)
        return bool((await self._write(key, ("HSETNX", key, _SPEC, msgpack.packb(flow.to_data()))))[0])

    async def _write(self, key: str, *commands: Sequence[Any]) -> list[Any]:
        """Commands on one flow's key in one round trip, as durable as the pool demands."""
        level: Durability = getattr(self._redis, "durable", "off")
        prolong = ("PEXPIRE", key, FLOW_TTL_MS)  # writes whatever the others find, as waiting asks for
        if level != "off":
            return await write_durably(self._redis, key, [*commands, prolong], level)
        async with self._redis.pipeline(transaction=False) as pipe:
            for command in (*commands, prolong):
                pipe.execute_command(*command)
            return list(await pipe.execute())

    async def read(self, flow_id: str) -> StoredFlow | None:
        """The flow as it stands; None when Redis doesn't know it (any more)."""
        return _stored(await self._redis.hgetall(flow_key(flow_id, cluster=self._cluster)))

    async def mark(self, flow_id: str, step: str, state: StepState, error: str = "") -> StoredFlow | None:
        """Write how a step ended, and read the flow as it then stands.

        A success is final; another end stays until a success comes (a dead letter was replayed). So an entry that is
        relayed again, however late, undoes nothing.
        """
        key = flow_key(flow_id, cluster=self._cluster)
        verb = "HSET" if state is StepState.SUCCEEDED else "HSETNX"
        notes = [("HSET", key, _ERROR, error)] if error else []
        *_, fields, _ = await self._write(key, (verb, key, _STEP + step, state.value), *notes, ("HGETALL", key))
        stored = _stored(fields)
        if stored is None:
            await self._redis.delete(key)  # it had expired: don't leave the field just written behind
        return stored

    async def end(self, flow_id: str) -> None:
        """Note when a flow ended, and let it go: a week later, so that a dead letter of it can still be replayed."""
        key = flow_key(flow_id, cluster=self._cluster)
        await self._write(key, ("HSET", key, _ENDED, timestamp_ms()))

    async def cancel(self, flow_id: str) -> None:
        """From now on no further step of the flow starts."""
        key = flow_key(flow_id, cluster=self._cluster)
        await self._write(key, ("HSET", key, _CANCELLED, 1))

    async def enqueue_ready(self, stored: StoredFlow) -> None:
        """Enqueue, once each, every step that may start."""
        if stored.state is not FlowState.RUNNING:
            return
        for step in ready(stored.flow, stored.states):
            meta = {"flow": stored.flow.id, "step": step.name, "tenant": stored.flow.tenant_id, "once": 1}
            data = payload(step.function, (), dict(step.kwargs), enqueued_ms=timestamp_ms(), meta=meta)
            spec = EnqueueSpec(stored.flow.job_id(step), encode(data), once=True)
            await Scripts(self._redis, self.keys(step)).enqueue([spec])


def _stored(fields: dict[bytes, bytes]) -> StoredFlow | None:
    text = {key.decode(): value for key, value in fields.items()}
    if _SPEC not in text:
        return None
    return StoredFlow(
        flow=Flow.from_data(msgpack.unpackb(text[_SPEC])),
        states={
            key.removeprefix(_STEP): StepState(value.decode()) for key, value in text.items() if key.startswith(_STEP)
        },
        cancelled=_CANCELLED in text,
        last_error=text[_ERROR].decode() if _ERROR in text else None,
        ended_ms=int(text[_ENDED]) if _ENDED in text else None,
    )


def step_entry(meta: dict[str, Any], state: StepState, message: str) -> list[str]:
    """The outbox entry, as a flat list of fields, that tells a flow how the step of a job with this metadata ended."""
    return ["flow", meta["flow"], "step", meta["step"], "state", state.value, "message", message]
