"""Flows in Redis, advanced by whoever relays a finished step.

A flow's keys lie in a slot of their own, so no script touches it and a queue at once; each verb can be repeated
instead, without harm, and by several at the same time: an end is applied once, and a job is enqueued once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from arq.utils import timestamp_ms

from jobqueue.broker.durable import Durability, write_durably
from jobqueue.broker.enqueue import MAX_PAYLOAD_BYTES
from jobqueue.broker.flowreader import GROUP, FlowReader
from jobqueue.broker.flowscripts import Fields, FlowScripts, ResetSpec, StepEnd, WithdrawMode, withdraw
from jobqueue.broker.keys import FLOW_TTL_MS
from jobqueue.broker.options import lane_of
from jobqueue.broker.scripts import EnqueueSpec, Scripts, answered
from jobqueue.broker.storedflow import SPEC, StoredFlow, look_entry, stored_flow
from jobqueue.errors import InvalidInput, NotFound
from jobqueue.flows import Flow, FlowState, Reset, Step, StepState
from jobqueue.flows.model import MAX_GROUP_KWARGS_BYTES, MAX_ITEMS_BYTES, MAX_SPEC_BYTES
from jobqueue.job import encode, payload

_GROUP_BYTES: Final = 4_000_000


class FlowStore(FlowReader):
    """The flows of one Redis: started, carried on, stopped and begun anew."""

    def _scripts(self, flow_id: str) -> FlowScripts:
        return FlowScripts(self._redis, self.flow_keys(flow_id))

    # ── making and reading ───────────────────────────────────────────────────────────────────────────────────────

    async def create(self, flow: Flow) -> bool:
        """Store a flow; False when its id is taken. Follow with `carry_on`.

        Raises:
            InvalidInput: the flow, or the items of a step, take too much space, or aren't plain data.
        """
        spec, keys = encode(flow.to_data(items=False)), self.flow_keys(flow.id)
        for step in flow.steps:
            _check(flow, step)
        if len(spec) > MAX_SPEC_BYTES:
            raise InvalidInput(
                f"flow {flow.id} takes {len(spec):,} bytes; at most {MAX_SPEC_BYTES:,} fit: "
                "put large things into storage and pass their keys"
            )
        items = _packed_items(flow)
        if items and await answered(self._redis.exists(keys.flow)):
            return False
        # The items first: whoever finds the flow finds them all. They expire by themselves where it never comes.
        for name, packed in items.items():
            await self._write(keys.items, ("HSET", keys.items, name, packed))
        return bool((await self._write(keys.flow, ("HSETNX", keys.flow, SPEC, spec)))[0])

    async def _write(self, key: str, command: Sequence[Any]) -> list[Any]:
        """A command on one of a flow's keys, as durable as the pool demands."""
        level: Durability = getattr(self._redis, "durable", "off")
        prolong = ("PEXPIRE", key, FLOW_TTL_MS)  # writes whatever the other finds, as waiting asks for
        if level != "off":
            return await answered(write_durably(self._redis, key, [command, prolong], level))
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.execute_command(*command)
            pipe.execute_command(*prolong)
            return list(await answered(pipe.execute()))

    # ── going on ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def advance(self, flow_id: str, ends: Sequence[StepEnd]) -> tuple[StoredFlow, bool] | None:
        """Apply how jobs ended: the flow as it stands then, and whether some ends had been applied before.

        The cost of an end doesn't depend on how many children a step has.
        """
        answer = await self._scripts(flow_id).advance(ends)
        if answer is None or (stored := stored_flow(answer[1])) is None:
            return None
        return stored, answer[0] < len(ends)

    async def carry_on(self, stored: StoredFlow, *, again: bool = False) -> StoredFlow:
        """Enqueue, once each, what may start; or withdraw what waits, when the flow is over.

        Args:
            stored: as read last.
            again: somebody may have died in doing it, so that what was withdrawn may have been enqueued later.
        """
        while True:
            if stored.state is FlowState.RUNNING:
                if stored.ended_ms is not None:  # a dead letter was replayed, so that it runs once more
                    stored = await self._note(stored, gone=("ended_ms", "told"), new_round=True)
                    continue
                if not (due := stored.due()):
                    return stored
                stored, again = await self._start(stored, due[0]), True
                continue
            if stored.ended_ms is not None and not again:
                return stored
            stored, again = await self._note(stored, new_round=True), False
            if stored.state is FlowState.RUNNING:
                continue
            await self.withdraw(stored)
            stored = await self._note(stored, {"ended_ms": stored.ended_ms or timestamp_ms()})

    async def _note(self, stored: StoredFlow, fields: Mapping[str, Any] | None = None, **how: Any) -> StoredFlow:
        answer = await self._scripts(stored.flow.id).note(fields, **how)
        return _found(stored, answer)

    async def _note_now(self, stored: StoredFlow, fields: Mapping[str, Any]) -> StoredFlow:
        """Note what was done in the round that `stored` tells of; in another it means nothing."""
        return await self._note(stored, fields, known_round=stored.round)

    async def _start(self, stored: StoredFlow, step: Step) -> StoredFlow:
        if step.is_group:
            return await self._expand(stored, step)
        await Scripts(self._redis, self.keys(step)).enqueue([_job(stored, step)])
        return await self._note_now(stored, {f"queued:{step.name}": 1})

    # ── groups ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _expand(self, stored: StoredFlow, step: Step) -> StoredFlow:
        """Enqueue what isn't yet of a group's children, a thousand at a time, for as long as its flow runs."""
        began = stored.round
        try:
            items = await self.each(stored, step) if step.source is not None else None
            if items is not None and stored.counts[step.name].total is None:
                stored = await self._note_now(stored, {f"total:{step.name}": len(items)})
            while stored.round == began and stored.state is FlowState.RUNNING and step in stored.due():
                start = stored.queued.get(step.name, 0)
                some = await self.items(stored, step, start) if items is None else items[start : start + GROUP]
                jobs, reached = await self._jobs(stored, step, start, some)
                if jobs:
                    await Scripts(self._redis, self.keys(step)).enqueue(jobs)
                began_ms = stored.began_ms.get(step.name, timestamp_ms())
                stored = await self._note_now(stored, {f"queued:{step.name}": reached, f"began:{step.name}": began_ms})
        except InvalidInput as exc:
            return await self._fail(stored, step, str(exc))
        return stored

    async def _fail(self, stored: StoredFlow, step: Step, why: str) -> StoredFlow:
        """A group whose children can't be told has failed; no job of it did, so there is no dead letter."""
        failed = {f"step:{step.name}": StepState.FAILED.value, f"error:{step.name}": f"step {step.name}: {why}"}
        return await self._note_now(stored, failed)

    async def _jobs(
        self, stored: StoredFlow, step: Step, start: int, items: Sequence[Mapping[str, Any]]
    ) -> tuple[list[EnqueueSpec], int]:
        """Jobs of as many children as go into one call, without those that have ended; and the index after them.

        Raises `InvalidInput` for one whose arguments are too large.
        """
        states = await self.child_states(stored, step, range(start, start + len(items)))
        jobs: list[EnqueueSpec] = []
        size, reached = 0, start
        for item, state in zip(items, states, strict=True):
            if state is StepState.WAITING:
                jobs.append(_job(stored, step, reached, item))
                size += len(jobs[-1].payload)
            reached += 1
            if size > _GROUP_BYTES:
                break
        return jobs, reached

    # ── stopping ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def withdraw(
        self, stored: StoredFlow, mode: WithdrawMode = "", *, steps: Iterable[Step] | None = None
    ) -> tuple[int, int]:
        """Take what waits of a flow off the queues, a thousand jobs a round trip; how many that were, and how many run.

        Args:
            stored: as read last.
            mode: ``cancel``: for good; running jobs are asked to stop. ``look``: only count.
            steps: of these alone.
        """
        withdrawn, running = 0, 0
        for step in stored.startable() if steps is None else steps:
            found: list[str] = []
            async for ids in self.jobs(stored, step):
                count, alive = await self._withdraw(step, ids, mode)
                withdrawn += count
                found += alive
            running += len(found)
            if mode == "cancel":  # only now: the slots of those that stop at once are for others' jobs
                for start in range(0, len(found), GROUP):
                    await self._withdraw(step, found[start : start + GROUP], "stop")
        return withdrawn, running

    async def _withdraw(self, step: Step, ids: Sequence[str], mode: WithdrawMode) -> tuple[int, list[str]]:
        return await withdraw(self._redis, self.keys(step), ids, mode=mode, function=step.function)

    async def cancel(self, stored: StoredFlow) -> StoredFlow:
        """From now on nothing further of the flow starts. Follow with `withdraw`."""
        fields = {"cancelled": 1} if stored.state is FlowState.RUNNING else {}
        return await self._note(stored, fields, new_round=True)

    async def begin_round(self, stored: StoredFlow) -> StoredFlow:
        """From now on nothing of the flow counts as enqueued. Follow with `carry_on`."""
        return await self._note(stored, new_round=True)

    async def end(self, stored: StoredFlow) -> StoredFlow:
        """Note that a flow is over, with nothing of it on a queue."""
        return await self._note(stored, {"ended_ms": stored.ended_ms or timestamp_ms()})

    async def told(self, stored: StoredFlow) -> StoredFlow:
        """Note that the flow's end was told."""
        return await self._note(stored, {"told": stored.state.value})

    async def look_again(self, stored: StoredFlow) -> None:
        """Have a relay look at the flow, and tell its end if it is over."""
        entry = look_entry(stored.flow.id)
        await answered(self._redis.xadd(self.keys(stored.flow.steps[0]).own("outbox"), entry))

    # ── replaying ────────────────────────────────────────────────────────────────────────────────────────────────

    async def replay(self, stored: StoredFlow, resets: Sequence[Reset]) -> StoredFlow | None:
        """Begin steps anew, with other jobs; None when the flow has gone on meanwhile. Follow with `carry_on`."""
        letters = [(reset.step, ids) for reset in resets async for ids in self.jobs(stored, reset.step, bad=True)]
        specs = [
            ResetSpec(
                name=reset.step.name,
                total=stored.size(reset.step) if reset.step.is_group else 0,
                fixed=reset.step.count is not None,
                keep=reset.failed_only,
            )
            for reset in resets
        ]
        answer = await self._scripts(stored.flow.id).replay(specs, known_round=stored.round)
        fresh = _found(stored, answer)
        if not answer or not answer[0]:
            return None
        for step, ids in letters:  # their replay would do nothing for the flow any more
            await self._withdraw(step, ids, "forget")
        return fresh

    async def replaying(self, stored: StoredFlow) -> bool:
        """Whether a dead letter of the flow was replayed, and waits or runs."""
        for step in stored.flow.steps:
            async for ids in self.jobs(stored, step, bad=True):
                if (await self._withdraw(step, ids, "look"))[1]:
                    return True
        return False


def _found(before: StoredFlow, answer: tuple[int, Fields] | None) -> StoredFlow:
    stored = stored_flow(answer[1]) if answer else None
    if stored is None:
        raise NotFound(f"task {before.flow.id} has expired meanwhile")
    return stored


def _job(
    stored: StoredFlow, step: Step, child: int | None = None, item: Mapping[str, Any] | None = None
) -> EnqueueSpec:
    meta = stored.meta(step, child)
    kwargs = {**step.kwargs, **(item or {})}
    data = encode(payload(step.function, (), kwargs, enqueued_ms=timestamp_ms(), meta=meta))
    if len(data) > MAX_PAYLOAD_BYTES:
        raise InvalidInput(
            f"the arguments of child {child} take {len(data):,} bytes; at most {MAX_PAYLOAD_BYTES:,} fit: "
            "put large things into storage and pass their key"
        )
    return EnqueueSpec(stored.job_id(step, child), data, once=True, lane=lane_of(step.function, meta))


def _check(flow: Flow, step: Step) -> None:
    """Raise `InvalidInput` for a step whose jobs couldn't be enqueued."""
    try:
        lane_of(step.function, {"tenant": flow.tenant_id, "priority": step.priority})
    except InvalidInput as exc:
        raise InvalidInput(f"step {step.name} of flow {flow.id}: {exc}") from exc
    if step.is_group and len(encode(dict(step.kwargs))) > MAX_GROUP_KWARGS_BYTES:
        raise InvalidInput(
            f"step {step.name}: arguments that every child carries take at most {MAX_GROUP_KWARGS_BYTES:,} bytes: "
            "put large things into storage and pass their key"
        )


def _packed_items(flow: Flow) -> dict[str, bytes]:
    """Field -> a thousand items, of all steps."""
    packed: dict[str, bytes] = {}
    for step in flow.steps:
        if step.items is None and step.count:
            raise InvalidInput(f"step {step.name}: its items are missing")
        for start in range(0, len(step.items or ()), GROUP):
            some = [dict(item) for item in (step.items or ())[start : start + GROUP]]
            packed[f"{step.name}.{start // GROUP}"] = encode({"r": some})
    if (size := sum(map(len, packed.values()))) > MAX_ITEMS_BYTES:
        raise InvalidInput(
            f"the items of flow {flow.id} take {size:,} bytes; at most {MAX_ITEMS_BYTES:,} fit: "
            "put large things into storage and pass their keys"
        )
    return packed
