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
CLIENT: Final = frozenset({*_SCRIPTS, "client|setinfo", "exists", "llen", "lpush", "pexpire", "ping", "set", "zadd"})
"""What a service needs that only enqueues."""
WORKER: Final = CLIENT | {
    *("blpop", "del", "get", "getex", "incr", "decr", "mget", "pttl"),
    *("hdel", "hget", "hgetall", "hincrby", "hset", "hsetnx"),
    *("xadd", "xdel", "xlen", "xrange", "xread", "xrevrange"),
    *("zcard", "zcount", "zmscore", "zrange", "zrangebyscore", "zrem", "zremrangebyscore", "zscore"),
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
        role: ``client`` only enqueues; ``worker`` is for everything else.
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
    return " ".join(
        [f"ACL SETUSER {name} reset on >{password}", *_patterns(cluster=cluster), "-@all", *_plus(commands)]
    )


def _patterns(*, cluster: bool) -> list[str]:
    return [f"~{pattern}" for pattern in (_CLUSTER_KEYS if cluster else _KEYS)]


def _plus(commands: Iterable[str]) -> list[str]:
    return [f"+{command}" for command in sorted(commands)]
