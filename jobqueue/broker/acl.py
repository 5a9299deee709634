"""The rights that Redis's users need: the one list of every command that this project sends, inside of scripts too.

``jobqueue acl`` prints them as ``ACL SETUSER`` lines; a test runs everything under them, and checks that each is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Literal

from jobqueue.broker.durable import Durability
from jobqueue.broker.keys import NAMESPACE
from jobqueue.errors import InvalidInput

PLACEHOLDER: Final = "PASSWORD"
"""For a person to replace."""
_SCRIPTS: Final = ("eval", "evalsha", "time")
_LOOKS: Final = frozenset({"get", "hget", "hmget"})
_LOOKED_AT: Final = ("unique:*", "turn", "traits", "rules", "bucket:*")
"""What a client reads, and no other value: results, payloads and errors are none of its business."""
CLIENT: Final = _LOOKS | {
    *(*_SCRIPTS, "client|setinfo", "ping", "exists", "set", "del", "pexpire", "hset", "llen", "lpush"),
    *("scard", "srandmember", "srem", "zadd", "zpopmin", "zrange", "zrem", "zscore"),
}
"""What a service needs that only enqueues."""
WORKER: Final = CLIENT | {
    *("blpop", "getex", "incr", "decr", "mget", "persist", "pttl", "rename"),
    *("hdel", "hexists", "hgetall", "hincrby", "hkeys", "hlen", "hscan", "hsetnx", "sadd", "smembers"),
    *("xadd", "xdel", "xlen", "xrange", "xread", "xrevrange"),
    *("zcard", "zcount", "zmscore", "zrangebyscore", "zremrangebyscore", "zscan"),
    *("dbsize", "info"),
}
"""What the workers, the server, the ``jobqueue`` commands and locks need."""
_CONFIRMING: Final[dict[Durability, frozenset[str]]] = {
    "off": frozenset(), "disk": frozenset({"waitaof"}), "replica": frozenset({"wait"}),
}  # fmt: skip
_CLUSTER: Final = frozenset({"cluster|slots", "command"})
_KEYS: Final = ("arq:*", f"{NAMESPACE}:*")
_CLUSTER_KEYS: Final = (*_KEYS, f"{{{NAMESPACE}:*")

Role = Literal["worker", "client"]
_COMMANDS: Final[dict[Role, frozenset[str]]] = {"worker": WORKER, "client": CLIENT}


def set_user(
    name: str, role: Role, *, password: str = PLACEHOLDER, cluster: bool = False, durable: Durability = "off"
) -> str:
    """The line that makes, or makes anew, a user with the rights of a role and no others.

    Args:
        name: of the user.
        role: ``client`` only enqueues, which takes a server that knows selectors (Redis 7, Valkey); ``worker`` is for
            everything else.
        password: without white space.
        cluster: for a node of a Redis Cluster; every node needs its line.
        durable: as JOBQUEUE_DURABLE.

    Raises:
        InvalidInput: the name can't be one.

    >>> set_user("billing", "client").split(" +")[0]
    'ACL SETUSER billing reset on >PASSWORD ~arq:* ~jobqueue:* -@all'
    """
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", name):
        raise InvalidInput(f"{name!r} is no name for a user: up to 100 letters, digits, '_', '.' and '-'")
    commands = _COMMANDS[role] | _CONFIRMING[durable] | (_CLUSTER if cluster else frozenset())
    looks: list[str] = []
    if role == "client":
        commands -= _LOOKS
        looks = ["(-@all", *_plus(_LOOKS), " ".join(_looked_at(cluster=cluster)) + ")"]
    return " ".join(
        [f"ACL SETUSER {name} reset on >{password}", *_patterns(cluster=cluster), "-@all", *_plus(commands), *looks]
    )


def _patterns(*, cluster: bool) -> list[str]:
    return [f"~{pattern}" for pattern in (_CLUSTER_KEYS if cluster else _KEYS)]


def _looked_at(*, cluster: bool) -> list[str]:
    queue = f"{{{NAMESPACE}:*}}" if cluster else f"{NAMESPACE}:*"
    return [f"~{queue}:{key}" for key in _LOOKED_AT]


def _plus(commands: Iterable[str]) -> list[str]:
    return [f"+{command}" for command in sorted(commands)]
