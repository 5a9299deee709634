"""An operator's hand on a running queue: limits, pauses, kill switches, draining, purging.

Each is a rule of a scope (`jobqueue.limits`), kept in Redis and enforced where jobs are claimed, so a change holds for
every worker from its next claim on.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

from arq.utils import timestamp_ms

from jobqueue.broker.keys import QueueKeys
from jobqueue.broker.remedy import ask
from jobqueue.broker.scripts import Scripts
from jobqueue.errors import Conflict, InvalidInput, NotFound
from jobqueue.limits import QUEUE, Limit, Rule, checked_hold, checked_scope, hold_scope

MAX_RULES: Final = 10_000
"""How many rules a queue may have."""
_LONGEST_LEASE_MS: Final = 600_000
_CLOCKS_APART_MS: Final = 5_000
"""How far this machine's clock may be from Redis's, which leases end by."""
_PAGE: Final = 500
_AT_ONCE: Final = 50
_LOOK_S: Final = 0.1


class QueueControl:
    """One queue's rules, and what else an operator does to it; implements `jobqueue.ports.Control`.

    Every verb raises `Unavailable` when Redis doesn't answer.

    Args:
        cancel: cancels one job by id, as `jobqueue.client.Client` does.
    """

    def __init__(self, redis: Any, keys: QueueKeys, *, cancel: Callable[[str], Awaitable[str]]) -> None:
        self._redis = redis
        self._keys = keys
        self._scripts = Scripts(redis, keys)
        self._cancel = cancel

    # ── rules ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def rules(self) -> list[Rule]:
        """Every rule, by scope, with what it does now."""
        stored = await ask(self._redis.hgetall(self._keys.own("rules")))
        fields = {name.decode("utf-8", "replace"): value for name, value in sorted(stored.items())}
        fields.pop("version", None)
        async with self._redis.pipeline(transaction=False) as pipe:
            for scope in fields:
                pipe.scard(self._keys.own(f"using:{scope}"))
                pipe.zcard(self._keys.own(f"blocked:{scope}"))
            counts = await ask(pipe.execute())
        return [
            _rule(scope, value, running=counts[2 * index], held_back=counts[2 * index + 1])
            for index, (scope, value) in enumerate(fields.items())
        ]

    async def limit(self, scope: str, limit: Limit) -> None:
        """Set a scope's limits in place of those it has; running jobs count for it, none is stopped.

        Raises:
            InvalidInput: no such scope can be; says what they look like.
            Conflict: there are too many rules.
        """
        await self._change({checked_scope(scope, limit): limit.fields() | {"source": None}})

    async def configure(self, limits: Mapping[str, Limit]) -> None:
        """Take over the limits of the configuration, in one step; a rule that an operator has set stays as it is.

        Raises as `limit`.
        """
        rules = {checked_scope(scope, limit): limit.fields() | {"source": "config"} for scope, limit in limits.items()}
        await self._change(rules, configuring=True)

    async def unlimit(self, scope: str) -> None:
        """Remove a scope's rule, its pause too. Raises `NotFound` where there is none.

        One of the configuration is back when the next worker starts.
        """
        await self._must_exist(checked_scope(scope))
        await self._change({scope: False})

    async def pause(self, scope: str = QUEUE) -> None:
        """Start no job of a scope until `resume`; running ones end. Raises as `limit`.

        Plain arq workers don't heed it.
        """
        await self._change({checked_scope(scope): {"paused": True}})

    async def resume(self, scope: str = QUEUE) -> None:
        """Go on; the scope's limits stay. Raises `NotFound` where the scope has no rule."""
        await self._must_exist(checked_scope(scope))
        await self._change({scope: {"paused": None}})

    async def hold(self, name: str, *, function: str, where: Mapping[str, Any], reason: str = "") -> None:
        """A kill switch: start no job of ``function`` ("*": of any) whose keyword arguments are these, until `lift`.

        Values are compared as text. What runs already ends. Raises `InvalidInput`; `Conflict` as `limit`.
        """
        rule = checked_hold(name, function=function, where=where, reason=reason)
        await self._change({hold_scope(name): rule})

    async def lift(self, name: str) -> None:
        """End a hold. Raises `NotFound` where there is none."""
        scope = hold_scope(name)
        await self._must_exist(scope)
        await self._change({scope: False})

    async def _change(self, patches: Mapping[str, Any], *, configuring: bool = False) -> None:
        number = await ask(self._scripts.rule(json.dumps(patches), most=MAX_RULES, configuring=configuring))
        if number < 0:
            raise Conflict(f"{self._keys.name} may have {MAX_RULES:,} rules: remove some, or use one such as tenant:*")

    async def _must_exist(self, scope: str) -> None:
        if not await ask(self._redis.hexists(self._keys.own("rules"), scope)):
            raise NotFound(f"{self._keys.name} has no rule for {scope}")

    # ── draining, purging ────────────────────────────────────────────────────────────────────────────────────────

    async def drain(self, *, timeout_s: float | None = None) -> None:
        """Pause the queue, and return when nothing of it runs any more; it stays paused.

        Raises:
            TimeoutError: jobs still run after ``timeout_s``; the pause stays.
        """
        await self.pause()
        async with asyncio.timeout(timeout_s):
            while await self.running():  # noqa: ASYNC110  # what ends is in other processes
                await asyncio.sleep(_LOOK_S)

    async def running(self) -> int:
        """How many jobs run now, on our workers: their score is the end of their lease, which lives."""
        now_ms, found = timestamp_ms(), 0
        last_ms = now_ms + _LONGEST_LEASE_MS + _CLOCKS_APART_MS
        ids = await ask(self._redis.zrangebyscore(self._keys.queue, now_ms - _CLOCKS_APART_MS, last_ms))
        for page in range(0, len(ids), _PAGE):
            found += sum(await self._leased(ids[page : page + _PAGE]))
        return found

    async def waiting(self) -> int:
        """How many jobs `purge` would cancel now, running ones not counted."""
        members = int(await ask(self._redis.zcard(self._keys.queue)))
        return max(0, members - await self.running())

    async def purge(self, *, expected: int) -> int:
        """Cancel every waiting, deferred or retrying job, each as `Client.cancel_job` does; how many.

        Args:
            expected: what `waiting` said, within a tenth: proof that the caller knows what is about to go.

        Raises:
            InvalidInput: there are many more or fewer than expected; nothing was cancelled.
        """
        found = await self.waiting()
        if abs(found - expected) > max(10, expected // 10):
            raise InvalidInput(
                f"{self._keys.name} has {found:,} waiting jobs, not {expected:,}: look again, then purge"
            )
        cancelled = 0
        async for ids in self._pages():
            for first in range(0, len(ids), _AT_ONCE):  # each on a connection of its own
                group = (ask(self._cancel(job_id)) for job_id in ids[first : first + _AT_ONCE])
                cancelled += (await asyncio.gather(*group)).count("cancelled")
        return cancelled

    async def _pages(self) -> AsyncIterator[list[str]]:
        cursor = 0
        while True:
            cursor, rows = await ask(self._redis.zscan(self._keys.queue, cursor, count=_PAGE))
            ids = [job_id for job_id, _ in rows]
            leased = await self._leased(ids)
            yield [job_id.decode("utf-8", "replace") for job_id, runs in zip(ids, leased, strict=True) if not runs]
            if cursor == 0:
                return

    async def _leased(self, ids: list[bytes]) -> list[int]:
        if not ids:
            return []
        async with self._redis.pipeline(transaction=False) as pipe:
            for job_id in ids:
                pipe.exists(self._keys.in_progress(job_id.decode("utf-8", "replace")))
            return list(await ask(pipe.execute()))


def _rule(scope: str, text: bytes, *, running: int, held_back: int) -> Rule:
    try:
        data = dict(json.loads(text))
        limit = Limit(
            concurrency=data.get("concurrency"), rate_per_s=data.get("rate"), burst=data.get("burst"),
            weight=data.get("weight"),
        )  # fmt: skip
        where = dict(sorted(dict(data.get("where") or {}).items()))  # Redis's JSON knows no order
    except (ValueError, TypeError, InvalidInput) as exc:  # whoever can write to Redis can write anything
        return Rule(scope=scope, limit=Limit(), reason=f"can't be read ({exc}): remove it", running=running)
    return Rule(
        scope=scope, limit=limit, paused=bool(data.get("paused")), source=data.get("source") or "operator",
        function=data.get("function"), where=where, reason=data.get("reason"), running=running, held_back=held_back,
    )  # fmt: skip
