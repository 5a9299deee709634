"""Clients of servers that change places: what redis-py's Sentinel and Cluster clients leave open.

- No command waits for ever: a frozen server neither answers nor closes its connections.
- A frozen Sentinel or Cluster node is passed over when the client asks who is primary.
- Connections to a primary that was replaced, but lives, are left within a second of the Sentinel's hearing of it.
- Every failure is a `redis.exceptions.RedisError`, which callers take for "Redis is away, try again". redis-py's
  Cluster client has errors beside that tree, and trips over its own state when one task closes it under another.
- After a failure the Cluster's layout is read anew, from the nodes of the URL too: redis-py forgets the nodes that
  failed, and once it has forgotten all of them it never comes back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.cluster import ClusterNode, ClusterPipeline, PipelineCommand, RedisCluster
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    MovedError,
    NoPermissionError,
    RedisClusterException,
    RedisError,
)
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import TimeoutError as NoAnswer

CONNECT_TIMEOUT_S: Final = 2.0
COMMAND_TIMEOUT_S: Final = 8.0
"""Less than the engine's own patience, so that the client learns of a frozen server first."""
REFUSALS: Final = (AuthenticationError, AuthorizationError, NoPermissionError)
"""Answers that waiting doesn't mend."""

_BLOCKING: Final = frozenset(
    {"BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH", "BLMPOP", "BZPOPMIN", "BZPOPMAX", "BZMPOP", "XREAD", "XREADGROUP"}
)
_REDIRECTIONS: Final = 5
_LOOK_S: Final = 1.0


@asynccontextmanager
async def answer_in_time(command: object = None) -> AsyncIterator[None]:
    """Raise redis-py's own TimeoutError when the server says nothing for `COMMAND_TIMEOUT_S`.

    Not by redis-py's ``socket_timeout``: with that it sends by `asyncio.wait_for`, which before Python 3.12 can lose a
    cancellation. Commands that block are bounded by whoever calls them.
    """
    try:
        async with asyncio.timeout(None if command in _BLOCKING else COMMAND_TIMEOUT_S):
            yield
    except TimeoutError as exc:
        raise NoAnswer(f"no answer within {COMMAND_TIMEOUT_S:g} s") from exc


class SteadyPipeline(Pipeline):
    """A pipeline that doesn't wait for ever."""

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """As redis-py's."""
        async with answer_in_time():
            return await super().execute(raise_on_error)


class SteadyRedis(Redis):
    """A client of one server, or of Sentinel's primary, that doesn't wait for ever."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """As redis-py's."""
        async with answer_in_time(args[0]):
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]  # redis-py

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> SteadyPipeline:
        """As redis-py's."""
        return SteadyPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)

    async def on_one_connection(self, _key: str, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Send commands at once on one connection; their answers, an error answer among them as an exception."""
        async with self.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            return await pipe.execute(raise_on_error=False)


class SteadySentinel(Sentinel):
    """Asks one Sentinel after the other, each for a short time."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """The primary's address.

        Raises:
            MasterNotFoundError: no Sentinel that answers knows a healthy primary; a redis-py ConnectionError.
        """
        problems = []
        for place, sentinel in enumerate(self.sentinels):
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    masters = await sentinel.sentinel_masters()  # type: ignore[no-untyped-call]  # redis-py
            except REFUSALS:
                raise
            except (RedisError, OSError) as exc:
                problems.append(repr(exc))
                continue
            state = masters.get(service_name)
            if state and self.check_master_state(state, service_name):
                self.sentinels.insert(0, self.sentinels.pop(place))  # the next look begins with one that answers
                return state["ip"], state["port"]
            problems.append(f"no healthy primary of {service_name!r}")
        raise MasterNotFoundError(f"the Sentinels name no primary: {'; '.join(problems)}")


class SteadySentinelPool(SentinelConnectionPool):
    """Connections to the primary that Sentinel names now, not to the one that it named when they were made.

    After a planned failover Sentinel leaves the old primary in its role for up to ten seconds, and it takes writes all
    that time, which are lost in the end. So the address is looked up again every second.
    """

    _next_look = 0.0

    async def ensure_connection(self, connection: Any) -> None:
        """As redis-py's."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _LOOK_S
            with suppress(RedisError, OSError):  # no Sentinel answers: what is connected may well go on
                await self.get_master_address()  # type: ignore[no-untyped-call]  # redis-py
        if connection.is_connected and (connection.host, connection.port) != self.master_address:
            await connection.disconnect()
        await super().ensure_connection(connection)


class SteadyClusterPipeline(ClusterPipeline):
    """A pipeline of a `SteadyCluster`."""

    async def execute(self, raise_on_error: bool = True, allow_redirections: bool = True) -> list[Any]:
        """As redis-py's."""
        async with _layout_kept(self._client):
            return await super().execute(raise_on_error, allow_redirections)


class SteadyCluster(RedisCluster):
    """A client of a Cluster whose nodes come and go."""

    def __init__(self, *, startup_nodes: list[ClusterNode], **kwargs: Any) -> None:
        self._seeds = [(node.host, node.port) for node in startup_nodes]
        # Connecting once is enough: the commands are tried again after a new look at the layout.
        super().__init__(startup_nodes=startup_nodes, connection_error_retry_attempts=0, **kwargs)

    async def initialize(self) -> SteadyCluster:
        """Read the layout unless it is known, from the first node that answers."""
        if not self._initialize:
            return self
        known = self.nodes_manager.startup_nodes
        for host, port in self._seeds:
            known.setdefault(f"{host}:{port}", ClusterNode(host, port, **self.connection_kwargs))
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await super().initialize()
        except (RedisClusterException, TimeoutError) as exc:
            if known:
                first = next(iter(known))
                known[first] = known.pop(first)  # should that one be frozen, the next look begins with another
            raise Disconnected(f"the Cluster's layout can't be read: {str(exc) or 'no answer'}") from exc
        return self

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """As redis-py's."""
        async with _layout_kept(self, args[0]):
            return await super().execute_command(*args, **kwargs)

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> SteadyClusterPipeline:  # noqa: ARG002  # redis-py's
        """As redis-py's: there are no transactions here, so the arguments change nothing."""
        return SteadyClusterPipeline(self)  # type: ignore[abstract]  # redis-py

    async def on_one_connection(self, key: str, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Send commands at once on one connection to the primary that holds ``key``; as `SteadyRedis` does."""
        for _ in range(_REDIRECTIONS):
            await self.initialize()
            batch = [PipelineCommand(place, *command) for place, command in enumerate(commands)]
            async with _layout_kept(self):
                await self.get_node_from_key(key).execute_pipeline(batch)  # type: ignore[union-attr]  # there is one, or an error
                answers = [command.result for command in batch]
                if broken := next((answer for answer in answers if isinstance(answer, Disconnected)), None):
                    raise broken
            if not any(isinstance(answer, MovedError) for answer in answers):
                break
            await self.aclose()  # nothing of it was done: another node holds the key now
            await asyncio.sleep(0.1)
        return answers


@asynccontextmanager
async def _layout_kept(cluster: RedisCluster, command: object = None) -> AsyncIterator[None]:
    """Have the layout read anew after a failure, and tell it as an error of redis-py's tree."""
    try:
        async with answer_in_time(command):
            yield
    # AttributeError: redis-py reads the default node, which another task's failure has just taken away.
    except (Disconnected, NoAnswer, RedisClusterException, AttributeError) as exc:
        with suppress(RedisError, OSError):
            await cluster.aclose()
        if isinstance(exc, RedisError):
            raise
        raise Disconnected(f"the Cluster's layout is changing: {exc}") from exc
