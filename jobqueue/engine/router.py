"""Where jobs belong that were enqueued without knowing the queue's rules, such as those of plain arq clients.

A limit is enforced where jobs wait, by their lane (``broker/lua/lanes.lua``). A job claimed from no lane, or from one
that a rule made later doesn't reach, is handed back into the lane it belongs to, its attempt refunded; from there on
Redis alone decides when it runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import structlog

from jobqueue.broker.keys import QueueKeys
from jobqueue.broker.options import SEPARATOR, lane_of
from jobqueue.broker.scripts import answered
from jobqueue.errors import InvalidInput

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A kill switch: jobs of one function whose keyword arguments are these wait until it is lifted."""

    scope: str
    function: str
    where: Mapping[str, Any]

    def matches(self, function: str, kwargs: Mapping[str, Any]) -> bool:
        """Whether it stops such a job."""
        return self.function in {function, "*"} and all(
            name in kwargs and str(kwargs[name]) == str(value) for name, value in self.where.items()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    r"""A queue's rules, as far as they concern where a job belongs.

    Attributes:
        number: grows with each change.
        scopes: what has a rule; ``type:*`` stands for all types.

    >>> rules = Rules(number=1, scopes=frozenset({"type:f"}), holds=())
    >>> rules.lane_for("f", {}, {}, None), rules.lane_for("g", {}, {}, None)
    ('\x1ff', None)
    """

    number: int = 0
    scopes: frozenset[str] = frozenset()
    holds: tuple[Hold, ...] = field(default=())

    @classmethod
    def read(cls, fields: Mapping[bytes, bytes]) -> Self:
        """From the hash; a rule that can't be read is left out, and logged."""
        text = {name.decode("utf-8", "replace"): value for name, value in fields.items()}
        holds = []
        for scope, value in text.items():
            if scope.startswith("hold:"):
                try:
                    rule = json.loads(value)
                    holds.append(Hold(scope=scope, function=rule["function"], where=dict(rule["where"])))
                except (ValueError, KeyError, TypeError):
                    logger.warning("rule.unreadable", scope=scope)
        return cls(
            number=int(text.pop("version", b"0")),
            scopes=frozenset(text),
            holds=tuple(holds),
        )

    def lane_for(
        self, function: str, kwargs: Mapping[str, Any], meta: Mapping[str, Any], lane: str | None
    ) -> str | None:
        """The lane a job claimed from ``lane`` belongs to, None where it is right already."""
        holds = [hold.scope for hold in self.holds if hold.matches(function, kwargs)]
        missing = [scope for scope in holds if lane is None or scope not in lane.split(SEPARATOR)]
        if not missing and (lane is not None or not self.scopes & {f"type:{function}", "type:*"}):
            return None
        try:
            name = lane if lane is not None else lane_of(function, meta).name
        except InvalidInput:
            name = lane_of(function, {}).name  # metadata from anywhere: its limits can't be told, its type's can
        return SEPARATOR.join([name, *missing])


async def read_rules(redis: Any, keys: QueueKeys) -> Rules:
    """The rules as they are now."""
    return Rules.read(await answered(redis.hgetall(keys.own("rules"))))
