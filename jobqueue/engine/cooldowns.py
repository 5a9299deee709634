"""Which job types rest after too many failures in a row, as this worker knows it, shared with the others."""

from __future__ import annotations

from typing import Any

import structlog
from arq.utils import timestamp_ms

from jobqueue.broker.keys import QueueKeys
from jobqueue.engine.features import Features
from jobqueue.retry import Circuit

logger = structlog.get_logger(__name__)


class Cooldowns:
    """Which job types rest, as this worker knows it; shared through the queue's ``cooldown`` hash."""

    def __init__(self, features: Features, keys: QueueKeys) -> None:
        self._features = features
        self._keys = keys
        self._circuits: dict[str, Circuit] = {}
        self._until_ms: dict[str, int] = {}
        self._unsaid: dict[str, int] = {}

    def left_s(self, function: str) -> float:
        """Seconds for which the job type still rests, spread by up to a fifth so that no herd comes back in step."""
        left_ms = self._until_ms.get(function, 0) - timestamp_ms()
        return left_ms / 1000 * (1 + 0.2 * self._features.random()) if left_ms > 0 else 0.0

    def succeeded(self, function: str) -> None:
        """A job of this type got through."""
        if (circuit := self._circuits.get(function)) is not None:
            circuit.succeeded()

    def failed(self, function: str, error: BaseException) -> None:
        """A job of this type failed."""
        circuit = self._circuits.setdefault(function, Circuit(self._features.policy(function)))
        rest_s = circuit.failed(error)
        if rest_s is not None:
            until = timestamp_ms() + int(rest_s * 1000)
            self._until_ms[function] = self._unsaid[function] = max(until, self._until_ms.get(function, 0))
            logger.warning("cooldown.started", function=function, seconds=rest_s, error=str(error))

    async def exchange(self, redis: Any) -> None:
        """Tell the others of new rests, and learn of theirs."""
        key = self._keys.own("cooldown")
        if self._unsaid:
            said = dict(self._unsaid)
            await redis.hset(key, mapping=said)
            self._unsaid = {name: until for name, until in self._unsaid.items() if said.get(name) != until}
        now = timestamp_ms()
        for name, value in (await redis.hgetall(key)).items():
            function, until = name.decode(), int(value)
            if until <= now:
                await redis.hdel(key, name)
            else:
                self._until_ms[function] = max(until, self._until_ms.get(function, 0))
