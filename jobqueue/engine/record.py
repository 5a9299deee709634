"""Group commit: the outcomes of all jobs that finished while the last round trip was under way, in the next one."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import structlog
from redis.exceptions import RedisError, ResponseError

from jobqueue.broker.durable import Unconfirmed
from jobqueue.broker.scripts import Scripts

logger = structlog.get_logger(__name__)

MAX_GROUP: Final = 200
MAX_GROUP_BYTES: Final = 8_000_000
RETRY_FIRST_S: Final = 0.05
RETRY_CAP_S: Final = 1.0
_PASSING: Final = (
    "OOM", "BUSY", "LOADING", "MASTERDOWN", "NOREPLICAS", "CLUSTERDOWN", "TRYAGAIN", "MISCONF", "UNBLOCKED",
)  # fmt: skip


def passing(error: Exception) -> bool:
    """Whether Redis may well take the same command later; an error answer of another kind is a bug, here or there."""
    return type(error) is not ResponseError or str(error).startswith(_PASSING)


class Recorder:
    """Commits ops to Redis, each once, for as long as it takes.

    A lost connection doesn't lose an outcome: the group is sent again until Redis answers. It is safe to send one
    twice, since the first one that landed took the lease's token away.
    """

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self._waiting: list[tuple[dict[str, Any], asyncio.Future[bool]]] = []
        self._committer: asyncio.Task[None] | None = None

    async def record(self, op: dict[str, Any]) -> bool:
        """True when the op was applied, or may have been by a try without an answer; False: the job isn't ours now."""
        landed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((op, landed))
        if self._committer is None:
            self._committer = asyncio.create_task(self._commit_all(), name="recorder")
        return await landed  # a caller that is cancelled here goes without the answer; its op is committed all the same

    async def settled(self) -> None:
        """Return when nothing is waiting to be committed."""
        if self._committer is not None:
            await asyncio.shield(self._committer)

    async def _commit_all(self) -> None:
        try:
            await asyncio.sleep(0)  # every job that ends in this turn of the loop joins the first group
            while self._waiting:
                size = self._group_size()
                group, self._waiting = self._waiting[:size], self._waiting[size:]
                try:
                    refused = await self._commit([op for op, _ in group])
                except asyncio.CancelledError:
                    for _, landed in group:
                        landed.cancel()  # the very end: nobody may wait for ever
                    raise
                except Exception as exc:  # noqa: BLE001  # a bug, told to every job of the group
                    for _, landed in group:
                        if not landed.done():
                            landed.set_exception(exc)
                    continue
                for op, landed in group:
                    if not landed.done():
                        landed.set_result(op["id"] not in refused)
        finally:
            self._committer = None

    def _group_size(self) -> int:
        """How many of the waiting ops go into one command: at least one, and no more than Redis takes gladly."""
        size_bytes = 0
        for count, (op, _) in enumerate(self._waiting[:MAX_GROUP]):
            size_bytes += len(op.get("result", b"")) + sum(map(len, (*op.get("pieces", ()), *op.get("outbox", ()))))
            if size_bytes > MAX_GROUP_BYTES:
                return max(count, 1)
        return MAX_GROUP

    async def _commit(self, ops: list[dict[str, Any]]) -> set[str]:
        delay, unanswered = RETRY_FIRST_S, False
        applied: set[str] = set()
        while True:
            try:
                refused = await self._scripts.record(ops) - applied
                # After a lost answer it can't be told whether that try had landed; few are refused for another reason.
                return set() if unanswered else refused
            except (RedisError, OSError, Unconfirmed) as exc:
                if isinstance(exc, Unconfirmed):  # sent again, an op that has stayed is refused
                    applied |= {op["id"] for op in ops} - self._scripts.refused(exc.answers[0])
                elif not passing(exc):
                    raise
                else:
                    unanswered = unanswered or not isinstance(exc, ResponseError)
                logger.warning("record.delayed", jobs=len(ops), error=repr(exc), retry_in_s=delay)
                await asyncio.sleep(delay)
                delay = min(RETRY_CAP_S, delay * 2)
