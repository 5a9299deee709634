"""The relay: carries finished flow steps from a queue's outbox to their flow, and starts what is ready then.

A step's end lands in the outbox in the same atomic step as its record. The worker that recorded it relays it at once;
when that worker dies first, any other worker of the queue finds the entry a few seconds later. Everything a relay does
can be done twice, so entries need no owner, and an entry goes only when all of it is done.

It runs in a task of its own, apart from the heart: a hook that hangs must cost no running job its lease.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgpack
import structlog
from arq.utils import timestamp_ms
from redis.exceptions import RedisError

from jobqueue.broker.flowstore import FlowStore
from jobqueue.broker.keys import QueueKeys
from jobqueue.broker.scripts import answered
from jobqueue.engine.features import FlowEnded
from jobqueue.errors import Transient
from jobqueue.flows import FlowState, StepState

logger = structlog.get_logger(__name__)

_ORPHANED_MS: Final = 3000
_SWEEP_S: Final = 3.0
_HOOK_S: Final = 30.0
_BATCH: Final = 100


class Relay:
    """Relays one queue's outbox."""

    def __init__(self, redis: Any, keys: QueueKeys, *, on_ended: FlowEnded | None) -> None:
        self._redis = redis
        self._outbox = keys.own("outbox")
        self._events = keys.own("events")
        self._flows = FlowStore(redis, cluster=keys.cluster)
        self._on_ended = on_ended
        self._kicked = asyncio.Event()

    def kick(self) -> None:
        """Something was just recorded into the outbox."""
        self._kicked.set()

    async def run(self) -> None:
        """Relay what this worker records at once, and what dead workers left every few seconds, until cancelled."""
        while True:
            older_than_ms = 0
            try:
                async with asyncio.timeout(_SWEEP_S):
                    await self._kicked.wait()
            except TimeoutError:
                older_than_ms = _ORPHANED_MS
            self._kicked.clear()
            try:
                await self.sweep(older_than_ms=older_than_ms)
            except (RedisError, OSError) as exc:
                logger.warning("relay.delayed", error=repr(exc))  # a later sweep finds it again

    async def sweep(self, *, older_than_ms: int = _ORPHANED_MS) -> None:
        """Relay every entry of at least that age."""
        until = timestamp_ms() - older_than_ms if older_than_ms else "+"
        start = "-"
        while entries := await answered(self._redis.xrange(self._outbox, min=start, max=until, count=_BATCH)):
            for entry_id, fields in entries:
                try:
                    await self._relay(entry_id, {k.decode(): v.decode() for k, v in fields.items()})
                except (RedisError, OSError):
                    raise
                except Exception:
                    logger.exception("relay.failed", entry=entry_id.decode())  # one bad entry holds up no other
            start = "(" + entries[-1][0].decode()

    async def _relay(self, entry_id: bytes, entry: dict[str, str]) -> None:
        state = StepState(entry["state"])
        stored = await answered(self._flows.mark(entry["flow"], entry["step"], state, entry["message"]))
        if stored is not None:
            await answered(self._flows.enqueue_ready(stored))
            if stored.state is not FlowState.RUNNING:
                await answered(self._flows.end(stored.flow.id))
                try:
                    if self._on_ended is not None:
                        async with asyncio.timeout(_HOOK_S):
                            await self._on_ended(stored.flow, stored.state, stored.error)
                except (Transient, OSError) as exc:
                    logger.warning("relay.delayed", flow=stored.flow.id, error=str(exc))
                    return  # the entry stays, and is tried again by a later sweep
            event = msgpack.packb([("advanced", stored.flow.id, stored.state.value)])
            await answered(self._redis.xadd(self._events, {"e": event}, maxlen=10_000, approximate=True))
        await answered(self._redis.xdel(self._outbox, entry_id))
