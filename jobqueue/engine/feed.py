"""When to claim: at once after a full answer, at the time the next job is due, or when a token or a peek says so."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

from arq.utils import timestamp_ms

from jobqueue.broker.keys import QueueKeys
from jobqueue.broker.scripts import Claim, Scripts, answered
from jobqueue.engine.claimer import Claimer
from jobqueue.engine.wake import Wake

_POLL_S: Final = 0.095  # with the command's own time, a job of a plain client is found within 100 ms
_REST_S: Final = 0.25
"""How long peeks are of no use after a claim that found due jobs, all of them running on plain arq workers."""


class Feed:
    """A worker's view of its queue, from the answers of its claims.

    Attributes:
        more: the last claim took as much as it asked for, so there may be more.
        wake: rings when a claim may be worth while.
    """

    def __init__(self, keys: QueueKeys, *, follow: Callable[[int], Awaitable[None]] | None = None) -> None:
        self._keys = keys
        self.wake = Wake()
        self.more = True
        self._offset = 0
        self._next_due_ms: int | None = None
        self._again_ms: int | None = None  # when a limit lets another job go
        self._skew_ms = 0
        self._rest_until = 0.0
        self._claimer = Claimer(follow)

    async def claim(
        self, scripts: Scripts, free: int, *, owner: str, lease_s: float, wanted: Sequence[str] = ()
    ) -> Claim:
        """Claim up to ``free`` due jobs, or those of ``wanted`` that are due."""
        lease_ms = int(lease_s * 1000)
        send = partial(scripts.claim, free, lease_ms=lease_ms, worker=owner, offset=self._offset, wanted=wanted)
        claim = await self._claimer.claim(scripts, send, owner=owner, lease_s=lease_s)
        if not wanted:
            self.look(claim, free)
        return claim

    def look(self, claim: Claim, asked: int) -> None:
        """Learn from a claim, whoever made it, that asked for whatever was due."""
        if claim.rules < 0:  # a recall tells nothing of the queue
            self.more = True
            return
        self._skew_ms = claim.now_ms - timestamp_ms()
        # Those that plain arq workers run stay due, at the head of the queue, where each peek finds them again.
        passed = claim.fence > 0 or self._offset > 0
        self._rest_until = time.monotonic() + _REST_S if passed and not claim.jobs else 0.0
        self._offset, self._next_due_ms, self._again_ms = claim.offset, claim.next_due_ms, claim.again_ms
        self.more = len(claim.jobs) == asked or claim.offset > 0

    async def recall(self, scripts: Scripts, *, lease_s: float) -> Claim | None:
        """What a claim took whose answer was lost; None when there is nothing of the kind."""
        return await self._claimer.recall(scripts, lease_s=lease_s)

    async def wait(self, redis: Any, *, idle: bool, tick_s: float, blocking: bool) -> bool:
        """Sleep until a claim may be worth while (True), or the worker's chores are due (False).

        Args:
            redis: to peek with.
            idle: there are free slots.
            tick_s: the longest wait.
            blocking: a token in the wake list may end it.
        """
        if idle and self.more:
            return True
        timeout_s = min(tick_s, _POLL_S) if idle else tick_s
        for at_ms in (self._next_due_ms, self._again_ms):
            if idle and at_ms is not None:
                timeout_s = min(timeout_s, max(at_ms - self._now_ms(), 0) / 1000 + 0.001)
        if await self.wake.wait(timeout_s, idle=idle and blocking):
            return True
        if idle and self._again_ms is not None and self._again_ms <= self._now_ms():
            return True
        if time.monotonic() < self._rest_until:
            return idle and self._next_due_ms is not None and self._next_due_ms <= self._now_ms()
        return idle and await self._head_is_due(redis)

    async def _head_is_due(self, redis: Any) -> bool:
        head = await answered(redis.zrange(self._keys.queue, 0, 0, withscores=True))
        self._next_due_ms = int(head[0][1]) if head else None
        return bool(head) and head[0][1] <= self._now_ms()

    def _now_ms(self) -> int:
        """Redis's clock, which scores are set by, as far as the last claim's answer tells."""
        return timestamp_ms() + self._skew_ms
