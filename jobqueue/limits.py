"""What an operator may say of a queue's jobs: scopes, what each may use, and what that does at this moment.

Scopes: ``queue`` (all of it), ``type:FUNCTION``, ``tenant:ID``, ``NAME:VALUE`` for the keys that jobs carry, and
``type:*``, ``tenant:*``, ``NAME:*`` for each one of that kind which has no rule of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from jobqueue.errors import InvalidInput

QUEUE: Final = "queue"
MAX_REASON_CHARS: Final = 500
MAX_WHERE: Final = 8
MAX_TEXT_CHARS: Final = 200
"""Of a scope's value, of a function's name, and of each name and value that a hold looks for."""
_KIND: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_OTHER_KINDS: Final = frozenset({QUEUE, "hold"})
_HOLD: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")
_RATE: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)\s*/\s*(s|m|h|d)")
_PERIODS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What a scope may use.

    Attributes:
        concurrency: jobs that run at once, over all workers; None: no such limit.
        rate_per_s: jobs that start a second, on average; None: no such limit.
        burst: how many may start at once after a quiet time; with a rate, by default what a second brings, at least 1.
        weight: of a tenant's turns beside the others' (1.0).

    >>> Limit(rate_per_s=rate("90/m")).burst
    2
    """

    concurrency: int | None = None
    rate_per_s: float | None = None
    burst: int | None = None
    weight: float | None = None

    def __post_init__(self) -> None:
        if self.concurrency is not None and not 0 <= self.concurrency <= 1_000_000:  # noqa: PLR2004  # a sane bound
            raise InvalidInput(f"concurrency {self.concurrency}: 0 (nothing starts) to 1,000,000")
        if self.rate_per_s is not None and not 1e-5 <= self.rate_per_s <= 1e6:  # noqa: PLR2004  # one a day, a million
            raise InvalidInput(f"rate {self.rate_per_s} a second: from 1 a day to 1,000,000 a second")
        if self.weight is not None and not 0.01 <= self.weight <= 1000:  # noqa: PLR2004  # a sane bound
            raise InvalidInput(f"weight {self.weight}: from 0.01 to 1,000")
        if self.burst is not None and not (self.rate_per_s and 1 <= self.burst <= 1_000_000):  # noqa: PLR2004  # as above
            raise InvalidInput("burst: 1 to 1,000,000, and only beside a rate")
        if self.rate_per_s is not None and self.burst is None:
            object.__setattr__(self, "burst", max(1, -int(-self.rate_per_s // 1)))

    def fields(self) -> dict[str, Any]:
        """As a rule has them, None for what isn't set."""
        return {
            "concurrency": self.concurrency, "rate": self.rate_per_s, "burst": self.burst, "weight": self.weight,
        }  # fmt: skip

    def __str__(self) -> str:
        parts = []
        if self.concurrency is not None:
            parts.append(f"{self.concurrency} at once")
        if self.rate_per_s is not None:
            parts.append(f"{rate_text(self.rate_per_s)}, burst {self.burst}")
        if self.weight is not None:
            parts.append(f"weight {self.weight:g}")
        return ", ".join(parts) or "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule, and what it does at this moment.

    Attributes:
        source: of its limits: ``config`` or ``operator``.
        function, where, reason: of a hold (``hold:NAME``).
        running: jobs that count for its concurrency.
        held_back: lanes (tenant and function) with waiting jobs that it alone keeps from going on.
    """

    scope: str
    limit: Limit
    paused: bool = False
    source: str = "operator"
    function: str | None = None
    where: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    running: int = 0
    held_back: int = 0

    def to_data(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return {
            "scope": self.scope, "concurrency": self.limit.concurrency, "rate_per_s": self.limit.rate_per_s,
            "burst": self.limit.burst, "weight": self.limit.weight, "paused": self.paused, "source": self.source,
            "function": self.function, "where": dict(self.where), "reason": self.reason, "running": self.running,
            "held_back": self.held_back,
        }  # fmt: skip


def limit_of(fields: Mapping[str, Any]) -> Limit:
    """A limit as people write it: concurrency, rate (such as ``60/m``), burst, weight. Raises `InvalidInput`.

    >>> str(limit_of({"concurrency": 4, "rate": "60/m"}))
    '4 at once, 1/s, burst 1'
    """
    given = {name: value for name, value in fields.items() if value is not None}
    if not given:
        raise InvalidInput("a limit is a concurrency, a rate or a weight: give at least one of them")
    if "rate" in given:
        given["rate_per_s"] = rate(given.pop("rate"))
    return Limit(**given)


def rate(text: str) -> float:
    """Jobs a second from ``"60/m"``: a number, a slash, and s, m, h or d. Raises `InvalidInput`.

    >>> rate("60/m"), rate("2.5/s")
    (1.0, 2.5)
    """
    found = _RATE.fullmatch(text.strip())
    if found is None:
        raise InvalidInput(f"rate {text[:40]!r}: a number, a slash and s, m, h or d, such as 60/m")
    return float(found[1]) / _PERIODS_S[found[2]]


def rate_text(per_s: float) -> str:
    """A rate in the shortest period that it fills.

    >>> rate_text(2.5), rate_text(0.5), rate_text(1 / 86_400)
    ('2.5/s', '30/m', '1/d')
    """
    unit = next((unit for unit, period_s in _PERIODS_S.items() if per_s * period_s >= 1 - 1e-9), "d")
    return f"{per_s * _PERIODS_S[unit]:.4g}/{unit}"


def checked_scope(scope: str, limit: Limit | None = None) -> str:
    """The scope, when there can be such a one with such a limit. Raises `InvalidInput` that says what there can be.

    >>> checked_scope("tenant:acme")
    'tenant:acme'
    >>> checked_scope("tenant")
    Traceback (most recent call last):
        ...
    jobqueue.errors.InvalidInput: scope 'tenant': queue, type:FUNCTION, tenant:ID, or NAME:VALUE of the jobs' keys
    """
    kind, colon, value = scope.partition(":")
    good = colon and _KIND.fullmatch(kind) and kind not in _OTHER_KINDS and _is_text(value)
    if scope != QUEUE and not good:
        raise InvalidInput(f"scope {scope[:80]!r}: queue, type:FUNCTION, tenant:ID, or NAME:VALUE of the jobs' keys")
    if limit is not None and limit.weight is not None and kind != "tenant":
        raise InvalidInput(f"weight: only tenants take turns, so scope {scope[:80]!r} has none")
    return scope


def checked_hold(name: str, *, function: str, where: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """The fields of the rule that a hold is. Raises `InvalidInput`."""
    hold_scope(name)
    if not _is_text(function):
        raise InvalidInput(f"function: 1 to {MAX_TEXT_CHARS} printable characters, or * for every one")
    found = {key: str(value) for key, value in where.items()}
    if len(found) > MAX_WHERE or not all(_is_text(key) and _is_text(text or "-") for key, text in found.items()):
        raise InvalidInput(
            f"where: up to {MAX_WHERE} names of keyword arguments, each with a value of up to {MAX_TEXT_CHARS} "
            "printable characters"
        )
    if len(reason) > MAX_REASON_CHARS or not reason.isprintable():
        raise InvalidInput(f"reason: up to {MAX_REASON_CHARS} printable characters")
    return {"paused": True, "function": function, "where": found, "reason": reason or None}


def hold_scope(name: str) -> str:
    """The scope of a hold. Raises `InvalidInput` for what can't be the name of one."""
    if not _HOLD.fullmatch(name):
        raise InvalidInput(f"hold {name[:80]!r}: up to 60 lower-case letters, digits, - and _")
    return f"hold:{name}"


def _is_text(text: str) -> bool:
    return 0 < len(text) <= MAX_TEXT_CHARS and text.isprintable()
