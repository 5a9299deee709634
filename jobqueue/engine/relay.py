"""The relay: carries finished flow steps from a queue's outbox to their flow, and starts what is ready then.

A step's end lands in the outbox in the same atomic step as its record. The worker that recorded it relays it at once;
when that worker dies first, any other worker of the queue finds the entry a few seconds later. Everything a relay does
can be done twice, so entries need no owner, and an entry goes only when all of it is done. The ends of many children
of one flow are carried together.

It runs in a task of its own, apart from the heart: a hook that hangs must cost no running job its lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgpack
import structlog
from arq.utils import timestamp_ms
from redis.exceptions import RedisError

from jobqueue.broker.flowscripts import StepEnd
from jobqueue.broker.flowstore import FlowStore
from jobqueue.broker.keys import QueueKeys
from jobqueue.broker.scripts import answered
from jobqueue.broker.storedflow import StoredFlow, step_end
from jobqueue.engine.features import FlowEnded
from jobqueue.errors import NotFound, Transient
from jobqueue.flows import FlowState

logger = structlog.get_logger(__name__)

_ORPHANED_MS: Final = 3000
_SWEEP_S: Final = 3.0
_HOOK_S: Final = 30.0
_BATCH: Final = 100

Entry = tuple[bytes, Mapping[bytes, bytes]]


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
            for flow_id, ends in _by_flow(entries).items():
                try:
                    await self._relay(flow_id, ends)
                except (RedisError, OSError):
                    raise
                except Exception:
                    logger.exception("relay.failed", flow=flow_id)  # one bad flow holds up no other
            start = "(" + entries[-1][0].decode()

    async def _relay(self, flow_id: str, entries: Mapping[bytes, StepEnd | None]) -> None:
        ends = [end for end in entries.values() if end is not None]
        advanced = await self._flows.advance(flow_id, ends)
        if advanced is not None and not await self._carry_on(*advanced, tell_again=len(ends) < len(entries)):
            return  # the entries stay, and are tried again by a later sweep
        await answered(self._redis.xdel(self._outbox, *entries))

    async def _carry_on(self, stored: StoredFlow, again: bool, *, tell_again: bool) -> bool:
        """Start what is ready, and tell the flow's end; False when that has to be done again."""
        try:
            stored = await self._flows.carry_on(stored, again=again)
            if stored.state is not FlowState.RUNNING and (tell_again or stored.told != stored.state.value):
                await self._tell(stored)
                stored = await self._flows.told(stored)
        except NotFound:  # it expired meanwhile, or was removed
            return True
        except Transient as exc:
            logger.warning("relay.delayed", flow=stored.flow.id, error=str(exc))
            return False
        event = msgpack.packb([("advanced", stored.flow.id, stored.state.value)])
        await answered(self._redis.xadd(self._events, {"e": event}, maxlen=10_000, approximate=True))
        return True

    async def _tell(self, stored: StoredFlow) -> None:
        """Tell how a flow ended. Raises `Transient` when whoever is told can't take it now."""
        if self._on_ended is None:
            return
        try:
            async with asyncio.timeout(_HOOK_S):
                await self._on_ended(stored.flow, stored.state, stored.error)
        except OSError as exc:  # a time-out is one
            raise Transient(f"its end can't be told: {exc!r}") from exc


def _by_flow(entries: Sequence[Entry]) -> dict[str, dict[bytes, StepEnd | None]]:
    """Flow -> entry -> what it says; without the entries that can't be read."""
    found: dict[str, dict[bytes, StepEnd | None]] = {}
    for entry_id, entry in entries:
        try:
            flow_id, end = entry[b"flow"].decode(), step_end(entry)
        except (KeyError, ValueError):
            logger.exception("relay.unreadable", entry=entry_id.decode())
            continue
        found.setdefault(flow_id, {})[entry_id] = end
    return found
