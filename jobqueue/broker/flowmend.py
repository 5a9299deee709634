"""What a failover can take from a running flow, brought back.

A flow and the queues of its steps lie in different slots, and around a failover their writes may go to different
primaries, of which one is taken back. So a flow may think a job enqueued that is on no queue, or never have heard of
one that has ended. Both are told by the keys of its jobs; the look costs a round trip for a thousand of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from arq.jobs import deserialize_result

from jobqueue.broker.flowreader import GROUP
from jobqueue.broker.flowscripts import StepEnd
from jobqueue.broker.flowstore import FlowStore
from jobqueue.broker.scripts import answered
from jobqueue.broker.storedflow import StoredFlow, encode_result
from jobqueue.flows import FlowState, Step, StepState, ready
from jobqueue.job import decode

Child = int | None
"""The index of a group's child; None for the one job of a step."""


async def mend(redis: Any, flows: FlowStore, stored: StoredFlow) -> StoredFlow:
    """Carry a flow on with the ends that it had missed, and have enqueued again what is on no queue.

    Safe at any time: an end is applied once, and a job that is on its way after all is not enqueued again. A job whose
    end was lost together with its result stays as it is for as long as its enqueue-once marker lives.
    """
    while stored.state is FlowState.RUNNING:
        ends, gone = await _missed(redis, flows, stored)
        if gone:
            stored = await flows.begin_round(stored)
        if ends and (advanced := await flows.advance(stored.flow.id, ends)) is not None:
            stored = advanced[0]
        stored = await flows.carry_on(stored)
        if not ends:  # else the next steps may have ended unheard, too
            break
    return stored


async def _missed(redis: Any, flows: FlowStore, stored: StoredFlow) -> tuple[list[StepEnd], bool]:
    """The ends that the flow hasn't heard of, and whether a job of it has neither ended nor a payload."""
    ends: list[StepEnd] = []
    gone = False
    for step in ready(stored.flow, stored.states):
        async for children in _waiting(flows, stored, step):
            found, missing = await _look(redis, flows, stored, step, children)
            ends += found
            gone = gone or missing
    return ends, gone


async def _waiting(flows: FlowStore, stored: StoredFlow, step: Step) -> AsyncIterator[Sequence[Child]]:
    """The jobs of a step that are said to be enqueued and haven't ended, a thousand at a time."""
    enqueued = stored.queued.get(step.name, 0)
    if not step.is_group:
        if enqueued and step.name not in stored.states:
            yield [None]
        return
    for start in range(0, enqueued, GROUP):
        indexes = range(start, min(start + GROUP, enqueued))
        states = await flows.child_states(stored, step, indexes)
        yield [index for index, state in zip(indexes, states, strict=True) if state is StepState.WAITING]


async def _look(
    redis: Any, flows: FlowStore, stored: StoredFlow, step: Step, children: Sequence[Child]
) -> tuple[list[StepEnd], bool]:
    """How those of these jobs ended that have a result, and whether any has neither that nor a payload."""
    keys = flows.keys(step)
    async with redis.pipeline(transaction=False) as pipe:
        for child in children:
            # In this order: one that ends between the two has a payload, one that ended before has its result.
            pipe.exists(keys.job(stored.job_id(step, child)))
            pipe.get(keys.result(stored.job_id(step, child)))
        answers = await answered(pipe.execute()) if children else []
    pairs = list(zip(children, answers[::2], answers[1::2], strict=True))
    ends = [_end(stored, step, child, result) for child, waits, result in pairs if result is not None and not waits]
    return ends, any(result is None and not waits for _, waits, result in pairs)


def _end(stored: StoredFlow, step: Step, child: Child, result: bytes) -> StepEnd:
    """As the worker that recorded this result told the outbox."""
    found = deserialize_result(result, deserializer=decode)
    state, message = StepState.SUCCEEDED, ""
    if not found.success:
        cancelled = isinstance(found.result, asyncio.CancelledError)
        state = StepState.CANCELLED if cancelled else StepState.FAILED
        message = str(found.result) or type(found.result).__name__
    wanted = found.success and stored.flow.wants(step.name)
    return StepEnd(
        step=step.name, child=child, generation=stored.generations.get(step.name, 0), state=state, message=message,
        result=encode_result(found.result) if wanted else None,
    )  # fmt: skip
