"""How an idle worker learns that there is something to claim, without polling hard.

An enqueue through this project leaves a token in the queue's wake list, and one idle worker blocked on that list takes
it: one enqueue wakes one worker. Jobs that plain arq clients enqueue leave no token; a peek at the head of the queue,
one cheap command, finds them within `POLL_S`.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

from redis.exceptions import RedisError

from jobqueue.broker.scripts import ANSWER_TIMEOUT_S

POLL_S: Final = 0.095  # with the command's own time, a job of a plain client is found within 100 ms
_BLOCK_S: Final = 5
_AWAY_S: Final = 0.25


class Wake:
    """An alarm that rings when a claim is worth while.

    ``ring`` may be called by anyone in the loop; tokens ring it while `listen` runs and the worker is idle.
    """

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self._idle = asyncio.Event()
        self.by_token = False

    def ring(self) -> None:
        """Have the next or current `wait` return True."""
        self._rung.set()

    async def wait(self, timeout_s: float, *, idle: bool) -> bool:
        """Whether it rang within ``timeout_s``; ``idle`` says that a token would be of use."""
        if idle:
            self._idle.set()
        else:
            self._idle.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True

    async def listen(self, redis: Any, key: str) -> None:
        """Block on the wake list for as long as this task lives."""
        while True:
            await self._idle.wait()
            try:
                async with asyncio.timeout(_BLOCK_S + ANSWER_TIMEOUT_S):
                    token = await redis.blpop([key], timeout=_BLOCK_S)
            except (RedisError, OSError):
                await asyncio.sleep(_AWAY_S)  # the claim loop reports that Redis is away
                continue
            if token is None:
                continue
            if self._idle.is_set():
                self._idle.clear()  # the next look decides whether this worker is idle again
                self.ring()
            else:
                with contextlib.suppress(RedisError, OSError):
                    await redis.lpush(key, "1")  # became busy meanwhile: hand the wake-up on
                    await redis.pexpire(key, 5000)
