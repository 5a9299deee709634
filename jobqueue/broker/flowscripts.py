"""Typed wrappers of the Lua scripts of flows, as `jobqueue.broker.scripts` has those of jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from redis.exceptions import NoScriptError

from jobqueue.broker import scripts
from jobqueue.broker.durable import Durability, write_durably
from jobqueue.broker.keys import FLOW_TTL_MS, FlowKeys, QueueKeys
from jobqueue.broker.scripts import _pack, _run, _script
from jobqueue.flows import StepState

Fields = dict[str, bytes]
"""The fields of a flow's hash; ``lua/flow_advance.lua`` tells what they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnd:
    """How one job of a flow ended. ``result`` is what a later step reads of it, encoded."""

    step: str
    child: int | None = None
    generation: int = 0
    state: StepState
    message: str = ""
    result: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetSpec:
    """A step to begin anew: ``total`` children it had; ``fixed``: it will have as many; ``keep``: the succeeded."""

    name: str
    total: int
    fixed: bool
    keep: bool


@dataclass(frozen=True, slots=True)
class FlowScripts:
    """The scripts of one flow. Each answers with the flow's fields as they stand then; None: there is no such flow."""

    redis: Any
    keys: FlowKeys

    async def advance(self, ends: Sequence[StepEnd]) -> tuple[int, Fields] | None:
        """Apply ends, each once; how many were new."""
        packed = [
            (e.step, -1 if e.child is None else e.child, e.generation, e.state.value, e.message, e.result or False)
            for e in ends
        ]
        return await self._call("flow_advance", _pack(packed))

    async def note(
        self,
        fields: Mapping[str, Any] | None = None,
        *,
        gone: Sequence[str] = (),
        known_round: int | None = None,
        new_round: bool = False,
    ) -> tuple[int, Fields] | None:
        """Set and delete fields, unless the flow is in another round than the known one; 1 when that was done."""
        flat = [part for pair in (fields or {}).items() for part in pair]
        known = "" if known_round is None else str(known_round)
        return await self._call("flow_note", known, int(new_round), _pack(flat), _pack(list(gone)))

    async def replay(self, steps: Sequence[ResetSpec], *, known_round: int) -> tuple[int, Fields] | None:
        """Begin steps anew, unless the flow is in another round than the known one; 1 when that was done."""
        packed = [(s.name, s.total, int(s.fixed), int(s.keep)) for s in steps]
        return await self._call("flow_replay", str(known_round), _pack(packed))

    async def _call(self, name: str, *args: Any) -> tuple[int, Fields] | None:
        answer = await self._durably(name, (FLOW_TTL_MS, *args))
        if not answer:
            return None
        count, flat = answer
        return count, {key.decode(): value for key, value in zip(flat[::2], flat[1::2], strict=True)}

    async def _durably(self, name: str, args: Sequence[Any]) -> Any:
        """Call a script, as durable as the pool demands; the mark that goes with it is the flow's own expiry."""
        keys = self.keys.all()
        level: Durability = getattr(self.redis, "durable", "off")
        if level == "off":
            return await _run(self.redis, name, keys, args)
        script, mark = _script(name), ("PEXPIRE", self.keys.flow, FLOW_TTL_MS)
        async with asyncio.timeout(scripts.ANSWER_TIMEOUT_S):
            try:
                call = ("EVALSHA", script.sha, len(keys), *keys, *args)
                return (await write_durably(self.redis, self.keys.flow, [call, mark], level))[0]
            except NoScriptError:
                call = ("EVAL", script.text, len(keys), *keys, *args)
                return (await write_durably(self.redis, self.keys.flow, [call, mark], level))[0]


WithdrawMode = Literal["cancel", "stop", "forget", "look", ""]


async def withdraw(
    redis: Any, keys: QueueKeys, ids: Sequence[str], *, mode: WithdrawMode = "", function: str = ""
) -> tuple[int, list[str]]:
    """Take waiting jobs of a flow off their queue, at most a thousand a call; how many that were, and which run.

    See ``flow_withdraw.lua`` for what a ``mode`` changes. ``function`` is theirs.
    """
    own = ("events", "counters", "dead", "dead:index")
    prefixes = (keys.job_prefix, keys.in_progress_prefix, keys.retry_prefix, keys.own(""))
    args = (*prefixes, _pack(list(ids)), mode, f"{function}:cancelled")
    names = [keys.queue, keys.abort, *map(keys.own, own)]
    withdrawn, running = await _run(redis, "flow_withdraw", names, args, mark=keys.own("durable"))
    return withdrawn, [job_id.decode() for job_id in running]
