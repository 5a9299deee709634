"""Stopping a process just before or just after one of its calls to Redis, chosen by name and number."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from jobqueue.broker.scripts import _script

STOPPED: Final = 70
SCRIPTS: Final = tuple(
    sorted(path.name.removesuffix(".lua") for path in files("jobqueue.broker").joinpath("lua").iterdir()
           if path.name.endswith(".lua") and path.name != "lanes.lua")
)  # fmt: skip
"""Every script; ``lanes.lua`` is a part of others."""
_READS: Final = frozenset(
    {"EXISTS", "GET", "HEXISTS", "HGET", "HGETALL", "HMGET", "INFO", "PING", "XRANGE", "XREAD", "XREVRANGE", "ZCARD",
     "ZMSCORE", "ZRANGE", "ZSCORE", "DBSIZE", "XLEN"}
)  # fmt: skip
"""A stop beside a read is one beside the write before it."""
_ROLES: Final = ("progress", "health-check", "workers", "events", "outbox", "flow", "abort", "wake", "dead", "result")
_PERIODIC: Final = ("health-check", "workers", "abort", "extend", "claim", "wake")
"""Made again and again while time passes: one or two stand for all."""
_ENOUGH: Final = {"claim": 6, "extend": 2}


@dataclass(frozen=True, slots=True)
class Stop:
    """Where to stop: at the ``number``-th call of that name, before the server has it or after its answer."""

    call: str
    number: int
    after: bool

    def __str__(self) -> str:
        return f"{'after' if self.after else 'before'} {self.call} #{self.number}"


def name_of(args: Sequence[Any]) -> str:
    """What a command is called here: a script by its name, any other with the role of its key.

    >>> name_of(("XDEL", "jobqueue:ingest:outbox", b"1-1"))
    'XDEL outbox'
    """
    command = str(args[0]).upper()
    if command in {"EVALSHA", "EVAL"}:
        known = {_script(name).sha: name for name in SCRIPTS} | {_script(name).text: name for name in SCRIPTS}
        return known[args[1]]
    key = str(args[1][0] if isinstance(args[1], list) else args[1]) if len(args) > 1 else ""
    return " ".join([command, *(role for role in _ROLES if role in key)][:2])


class Stops:
    """Counts this process's calls, and ends it at the one it is told; `seen` lists them."""

    def __init__(self, at: Stop | None) -> None:
        self._at = at
        self._counts: Counter[str] = Counter()
        self.seen: list[tuple[str, int]] = []

    async def around(self, args: Sequence[Any], call: Callable[[], Awaitable[Any]]) -> Any:
        """Make the call, or die beside it."""
        name = name_of(args)
        if name.partition(" ")[0] in _READS:
            return await call()
        self._counts[name] += 1
        number = self._counts[name]
        here = self._at is not None and (self._at.call, self._at.number) == (name, number)
        if here and self._at is not None and not self._at.after:
            os._exit(STOPPED)
        answer = await call()
        if here:
            os._exit(STOPPED)
        few = _ENOUGH.get(name, 1) if any(word in name for word in _PERIODIC) else number
        if number <= few:
            self.seen.append((name, number))
        return answer

    def install(self) -> None:
        """From now on every call of this process's clients is counted; it never ends, so it is for a child alone.

        A pipeline is taken apart, since a process may die, and a connection break, between any two of its commands.
        """
        execute: Any = Redis.execute_command
        stops = self

        async def execute_command(client: Redis, *args: Any, **options: Any) -> Any:
            return await stops.around(args, lambda: execute(client, *args, **options))

        async def execute_pipeline(pipe: Pipeline, *_: object) -> list[Any]:
            client: Any = Redis(connection_pool=pipe.connection_pool)
            commands, pipe.command_stack = pipe.command_stack, []
            return [await client.execute_command(*args, **options) for args, options in commands]

        for cls, name, hook in (
            (Redis, "execute_command", execute_command),
            (Pipeline, "execute", execute_pipeline),
        ):
            setattr(cls, name, hook)
