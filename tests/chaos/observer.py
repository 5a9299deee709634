"""Watches the event streams from beside: what was recorded, how often, and whether a record changed later."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgpack
from redis.exceptions import RedisError

from jobqueue.broker.keys import QueueKeys
from tests.engine_support import connected, wait_until

FINAL: Final = frozenset({"succeeded", "failed", "cancelled"})
_BLOCK_MS: Final = 200


class Observer:
    """Follows the queues' events, and writes every record into a log outside of Redis.

    Attributes:
        finals: job -> how it was recorded, each time; a replay begins anew.
    """

    def __init__(self, redis: Any, queues: Iterable[QueueKeys], log: Path) -> None:
        self._redis = redis
        self._streams = {keys.own("events").encode(): keys for keys in queues}
        self._last: dict[bytes, bytes] = dict.fromkeys(self._streams, b"0-0")
        self._log = log.open("a", buffering=1)
        self._digests: dict[tuple[QueueKeys, str], str] = {}
        self.finals: dict[str, list[str]] = defaultdict(list)

    async def follow(self) -> None:
        """Until cancelled; a server that is away is tried again."""
        with self._log:
            while True:
                try:
                    async with asyncio.timeout(5):
                        answer = await self._redis.xread(self._last, block=_BLOCK_MS, count=500)
                        for stream, entries in answer or ():
                            await self._take(self._streams[stream], entries)
                            self._last[stream] = entries[-1][0]
                except (RedisError, OSError):
                    await asyncio.sleep(0.05)

    async def _take(self, keys: QueueKeys, entries: Iterable[tuple[bytes, dict[bytes, bytes]]]) -> None:
        events = [event for _, fields in entries for event in msgpack.unpackb(fields[b"e"])]
        recorded = [job_id for kind, job_id, *_ in events if kind in FINAL]
        digests = await self._read(keys, recorded)  # before anything is noted: an error here reads the entries again
        for kind, job_id, *_ in events:
            if kind == "replayed":
                self.finals.pop(job_id, None)
                self._digests.pop((keys, job_id), None)
            elif kind in FINAL:
                self.finals[job_id].append(kind)
                self._log.write(f"{kind} {job_id}\n")
                if (digest := digests.get(job_id)) is not None:
                    self._digests.setdefault((keys, job_id), digest)

    async def _read(self, keys: QueueKeys, ids: Collection[str]) -> dict[str, str]:
        if not ids:
            return {}
        values = await self._redis.mget([keys.result(job_id) for job_id in ids])
        return {i: hashlib.sha256(v).hexdigest() for i, v in zip(ids, values, strict=True) if v is not None}

    async def overwritten(self) -> list[str]:
        """Jobs whose kept result is another one than when it was first seen."""
        changed = []
        for keys in self._streams.values():
            first = {job_id: digest for (of, job_id), digest in self._digests.items() if of == keys}
            ids = list(first)
            for start in range(0, len(ids), 1000):
                now = await self._read(keys, ids[start : start + 1000])
                changed += [job_id for job_id, digest in now.items() if digest != first[job_id]]
        return changed

    def doubled(self) -> int:
        """Records beyond each job's first."""
        return sum(len(kinds) - 1 for kinds in self.finals.values())

    async def seen(self, ids: Collection[str], *, within_s: float) -> bool:
        """Whether all of these are recorded within that time."""
        try:
            await wait_until(lambda: all(job_id in self.finals for job_id in ids), within_s=within_s)
        except AssertionError:
            return False
        return True


@asynccontextmanager
async def observing(url: str, queues: Iterable[QueueKeys], log: Path) -> AsyncIterator[Observer]:
    """An observer that follows until the block ends."""
    async with connected(url) as redis:
        observer = Observer(redis, queues, log)
        task = asyncio.create_task(observer.follow(), name="observer")
        try:
            yield observer
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
