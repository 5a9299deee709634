"""What a job may ask for beyond its function: a tenant, a priority, keys for limits, to be the only one of its kind.

The first three decide the lane in which it waits (``lua/lanes.lua``). They stand in the payload's metadata, so that a
replayed dead letter waits as the job did.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self

from jobqueue.errors import InvalidInput

HIGHEST_PRIORITY: Final = 9
MAX_KEYS: Final = 8
SEPARATOR: Final = "\x1f"
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_RESERVED: Final = frozenset({"queue", "type", "tenant", "hold"})
_MAX_CHARS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Unique:
    """That no other job with the same key waits, runs, or was enqueued lately, on the same queue.

    Attributes:
        key: what must be unique, such as ``f"report:{contract_id}"``.
        until: when another may be enqueued: ``start``: once this one runs; ``finish``: once it has ended (retries
            included); ``window``: ``window_s`` after it was enqueued, whatever became of it.
        window_s: seconds; with ``start`` and ``finish`` the longest that the key is taken, None for no such bound.
        on_conflict: ``keep``: the new job is not enqueued, and its caller is told of the one that stands in the way;
            ``replace``: a waiting job gets the new one's arguments, and keeps its place; ``debounce``: that, and it
            is due when the new one would be. A job that runs already is never replaced.

    >>> Unique(key="report:7", until="window")
    Traceback (most recent call last):
        ...
    jobqueue.errors.InvalidInput: unique until a window's end: say how long it is by window_s
    """

    key: str
    until: Literal["start", "finish", "window"] = "finish"
    window_s: float | None = None
    on_conflict: Literal["keep", "replace", "debounce"] = "keep"

    def __post_init__(self) -> None:
        _check_text("a unique key", self.key)
        if self.until == "window" and self.window_s is None:
            raise InvalidInput("unique until a window's end: say how long it is by window_s")
        if self.window_s is not None and not 0 < self.window_s <= 366 * 86_400:  # a year
            raise InvalidInput(f"a unique window of {self.window_s} s: it must be above 0, and at most a year")

    @classmethod
    def throttle(cls, key: str, window_s: float) -> Self:
        """At most one job in a time window; the first one wins."""
        return cls(key=key, until="window", window_s=window_s)

    @classmethod
    def debounce(cls, key: str) -> Self:
        """The last one of a burst wins: give each a ``defer_s``, which begins anew with each of them."""
        return cls(key=key, until="start", on_conflict="debounce")

    @property
    def freed_at(self) -> str:
        """As ``enqueue.lua`` has it: ``start``, ``finish``, or "" where only time frees the key."""
        return "" if self.until == "window" else self.until

    @property
    def window_ms(self) -> int:
        return max(1, int(self.window_s * 1000)) if self.window_s else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a job waits.

    Attributes:
        tenant: for whom; tenants with waiting jobs take turns.
        priority: 0 to 9, higher goes first among one tenant's jobs. Each step is a head start of ten minutes: no job
            waits for ever.
        keys: name -> value, such as ``{"provider": "openai"}``; limits can be set for each (``provider:openai``).
        unique: see `Unique`.

    Raises:
        InvalidInput: something of it can't be used; says what.
    """

    tenant: str | None = None
    priority: int = 0
    keys: Mapping[str, str] = field(default_factory=dict)
    unique: Unique | None = None

    def __post_init__(self) -> None:
        if self.tenant is not None:
            _check_text("a tenant", self.tenant)
        if type(self.priority) is not int or not 0 <= self.priority <= HIGHEST_PRIORITY:
            raise InvalidInput(f"priority {self.priority!r}: a whole number from 0 to {HIGHEST_PRIORITY}")
        keys: Any = self.keys  # metadata from anywhere comes through here
        if not isinstance(keys, Mapping) or len(keys) > MAX_KEYS:
            raise InvalidInput(f"keys of a job are at most {MAX_KEYS} names with a value each")
        for name, value in keys.items():
            if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _RESERVED:
                raise InvalidInput(
                    f"key {name!r}: lower-case letters, digits and _, and none of {', '.join(sorted(_RESERVED))}"
                )
            _check_text(f"the value of key {name!r}", value)

    def meta(self) -> dict[str, Any]:
        """What of it the payload carries."""
        found: dict[str, Any] = {}
        if self.tenant:
            found["tenant"] = self.tenant
        if self.priority:
            found["priority"] = self.priority
        if self.keys:
            found["keys"] = dict(self.keys)
        return found


@dataclass(frozen=True, slots=True)
class Lane:
    """Where a job waits: the lane's name, its priority there, and whether it needs a lane where no limit is set."""

    name: str = ""
    priority: int = 0
    needed: bool = False


NO_LANE: Final = Lane()


def lane_of(function: str, meta: Mapping[str, Any]) -> Lane:
    r"""The lane of a job by its function and its payload's metadata.

    Raises `InvalidInput` as `Options` does: metadata can come from anywhere.

    >>> lane_of("analyse", {"tenant": "acme", "keys": {"provider": "openai"}}).name.split("\x1f")
    ['acme', 'analyse', 'provider:openai']
    """
    function = function if function.isprintable() else "?"  # the separator is not printable
    if not meta.keys() & {"tenant", "priority", "keys"}:
        return Lane(SEPARATOR + function)
    asked = Options(tenant=meta.get("tenant") or None, priority=meta.get("priority", 0), keys=meta.get("keys", {}))
    keys = [f"{name}:{value}" for name, value in sorted(asked.keys.items())]
    needed = bool(asked.tenant or asked.priority or keys)
    return Lane(SEPARATOR.join([asked.tenant or "", function, *keys]), asked.priority, needed)


def _check_text(what: str, text: object) -> None:
    if not isinstance(text, str) or not 0 < len(text) <= _MAX_CHARS or not text.isprintable():
        raise InvalidInput(f"{what} is 1 to {_MAX_CHARS} printable characters, not {text!r}")
