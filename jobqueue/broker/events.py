"""What happens on the queues, as it happens: one reader of the event streams for any number of watchers.

Events are a hint to look again, kept for the last ten thousand groups; the truth is in the job's own keys.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

import msgpack
import structlog
from redis.exceptions import RedisError

from jobqueue.broker.keys import QueueKeys

logger = structlog.get_logger(__name__)

_BLOCK_MS: Final = 5000
_AWAY_S: Final = 0.5


LOOK_AGAIN_S: Final = 2.0


class Watch:
    """One watcher's alarm: set whenever something happened to a job it watches."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()

    async def wait(self) -> None:
        """Return when it is time to look again: a lost event costs two seconds, not the watcher."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_AGAIN_S):
                await self.changed.wait()


class EventHub:
    """Reads the event streams of some queues while anybody watches, and rings the watchers of each job."""

    def __init__(self, redis: Any, queues: Iterable[QueueKeys]) -> None:
        self._redis = redis
        self._queues = tuple(queues)
        self._watches: dict[str, set[Watch]] = {}
        self._readers: list[asyncio.Task[None]] = []
        self._watchers = 0

    @asynccontextmanager
    async def watch(self, ids: Iterable[str]) -> AsyncIterator[Watch]:
        """An alarm for these jobs or flows, from now on."""
        ids = tuple(ids)
        mine = Watch()
        for job_id in ids:
            self._watches.setdefault(job_id, set()).add(mine)
        self._watchers += 1
        try:
            if not self._readers:
                await self._start()
            yield mine
        finally:
            for job_id in ids:
                self._watches[job_id].discard(mine)
                if not self._watches[job_id]:
                    del self._watches[job_id]
            self._watchers -= 1
            if self._watchers == 0:
                await self.close()

    async def _start(self) -> None:
        # Where each stream ends is read before the first watcher looks, so that nothing falls between the two.
        starts = [await self._redis.xrevrange(keys.own("events"), count=1) for keys in self._queues]
        if not self._readers:
            self._readers = [
                asyncio.create_task(self._read(keys, rows[0][0] if rows else b"0-0"), name=f"events:{keys.name}")
                for keys, rows in zip(self._queues, starts, strict=True)
            ]

    async def close(self) -> None:
        """Stop reading."""
        readers, self._readers = self._readers, []
        for task in readers:
            task.cancel()
        await asyncio.gather(*readers, return_exceptions=True)

    async def _read(self, keys: QueueKeys, last: bytes) -> None:
        stream = keys.own("events")
        while True:
            try:
                answer = await self._redis.xread({stream: last}, block=_BLOCK_MS, count=100)
            except (RedisError, OSError) as exc:
                logger.warning("events.away", queue=keys.name, error=repr(exc))
                await asyncio.sleep(_AWAY_S)
                self._ring_all()  # whatever was missed: look again
                continue
            for _, entries in answer or ():
                for entry_id, fields in entries:
                    last = entry_id
                    for _, job_id, *_ in msgpack.unpackb(fields[b"e"], unicode_errors="replace"):
                        for watch in self._watches.get(job_id, ()):
                            watch.changed.set()

    def _ring_all(self) -> None:
        for watches in self._watches.values():
            for watch in watches:
                watch.changed.set()
