"""Durable writes: they count as done only when they are on disk, or on a replica.

``disk``: the primary has flushed it to its append-only file (``WAITAOF``): it survives the machine's power failure.
``replica``: so many replicas have it too (``WAIT``): it survives the death of the primary if the next one is among
them. With one replica it always is. Of several, Sentinel mostly elects the one that is furthest ahead, but what it
knows of them may be seconds old; and a primary that is cut off, or deposed by a plain ``SENTINEL FAILOVER``, lives on
for a moment, with a replica that confirms what the new primary will never see. Where nothing may be lost, demand all
replicas, at the price that one which is down holds up every write.

A wait counts for the writes of its own connection alone, so both go out together on one. It also returns at once on a
connection that has written nothing; an enqueue that finds its job there already, but perhaps not yet on the replica,
writes nothing. Hence the mark that every durable script call leaves behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from redis.exceptions import NoPermissionError, RedisError, ResponseError

from jobqueue.errors import ConfigError, Unavailable

Durability = Literal["off", "disk", "replica"]
CONFIRM_S: Final = 3.0
"""How long a write may take to become durable; a server that syncs once a second needs up to one."""


class Unconfirmed(Unavailable):
    """The write was made, but is not known to be durable: repeat it.

    Attributes:
        answers: what the commands answered.
    """

    def __init__(self, message: str, answers: list[Any]) -> None:
        super().__init__(message)
        self.answers = answers


def barrier(level: Durability, *, replicas: int = 1, timeout_s: float = CONFIRM_S) -> tuple[Any, ...]:
    """The command that waits until what its connection has written is durable.

    >>> barrier("disk"), barrier("replica", replicas=2)
    (('WAITAOF', 1, 0, 3000), ('WAIT', 2, 3000))
    """
    timeout_ms = int(timeout_s * 1000)
    return ("WAIT", replicas, timeout_ms) if level == "replica" else ("WAITAOF", 1, 0, timeout_ms)


async def write_durably(redis: Any, key: str, commands: Sequence[Sequence[Any]], level: Durability) -> list[Any]:
    """Run commands on the connection to the primary of ``key`` and wait until they are durable; their answers.

    At least one of the commands must write whatever it finds.

    Raises:
        Unconfirmed: they are not known to be durable: no replica follows, the disk is slow, the primary was replaced.
        redis.exceptions.RedisError: a command failed.
    """
    answers: list[Any]
    replicas = redis.durable_replicas
    *answers, reached = await redis.on_one_connection(key, [*commands, barrier(level, replicas=replicas)])
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    if isinstance(reached, Exception):
        raise Unconfirmed(f"the write isn't known to be durable: {reached}", answers) from reached
    if level == "replica" and reached < replicas:
        raise Unconfirmed(f"{reached} replicas of {replicas} have the write after {CONFIRM_S:g} s", answers)
    if level == "disk" and reached[0] < 1:
        raise Unconfirmed(f"the server's disk doesn't have the write after {CONFIRM_S:g} s", answers)
    return answers


async def demand(redis: Any, level: Durability, *, replicas: int = 1) -> None:
    """Have the pool's writes that matter (enqueue, record, cancel, replay, flows) durable from now on.

    Args:
        redis: a pool of `jobqueue.broker.connection`.
        level: how durable.
        replicas: how many replicas have to have a write, for ``replica``.

    Raises:
        ConfigError: the server can't promise it; says what to do.
    """
    redis.durable, redis.durable_replicas = level, replicas
    if level == "off":
        return
    try:
        await redis.execute_command(*barrier(level, timeout_s=0.001))
    except NoPermissionError as exc:
        name = barrier(level)[0]
        raise ConfigError(f"JOBQUEUE_DURABLE={level}: Redis's user may not call {name} ({exc}): allow it") from exc
    except ResponseError as exc:
        if level == "disk" and "unknown command" in str(exc).lower() and await _syncs_every_write(redis):
            redis.durable = "off"  # its every answer comes after the disk's, so there is nothing to wait for
            return
        raise ConfigError(f"JOBQUEUE_DURABLE={level}: {refusal(str(exc))}") from exc


def refusal(answer: str) -> str:
    """What an operator does about a server's error answer to a barrier.

    >>> refusal("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.")
    'Redis keeps no append-only file: set appendonly yes'
    """
    if "appendonly" in answer:
        return "Redis keeps no append-only file: set appendonly yes"
    if "unknown command" in answer.lower():
        return (
            "this server can't confirm single writes: use Redis 7.2 or later, Valkey, or set appendonly yes and "
            "appendfsync always"
        )
    return f"Redis answers {answer!r}"


async def _syncs_every_write(redis: Any) -> bool:
    try:
        found = await redis.config_get("append*")
    except RedisError:
        return False
    text = {str(name): str(value) for name, value in found.items()}
    return text.get("appendonly") == "yes" and text.get("appendfsync") == "always"
