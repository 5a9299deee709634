"""How an idle worker gets its jobs without polling hard: it waits at the queue's wake list, its claim in hand.

An enqueue through this project leaves a token in the list, and one idle worker blocked on it takes it: one enqueue
wakes one worker. The claim is sent with the wait, on the same connection, and the server runs it as soon as the wait
is over. So the job comes with the token, one round trip after its enqueue.

Jobs that plain arq clients enqueue leave no token; a peek at the head of the queue finds them (`jobqueue.engine.feed`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from redis.exceptions import RedisError

from jobqueue.broker.scripts import Claim, Scripts
from jobqueue.engine.claimer import Claimer
from jobqueue.engine.host import Host
from jobqueue.engine.outcomes import Held

_WAIT_S: Final = 5
"""After so long without a token it claims all the same, should one have been lost: a peek doesn't see the lanes."""
_AT_ONCE: Final = 2
"""How much it claims: a token stands for one job, and whether there is a second one tells if there are more."""
_AWAY_S: Final = 0.25
_STOP_S: Final = 1.0
_TOKEN_TTL_MS: Final = 5000


class Listener:
    """Waits and claims on behalf of one worker, while that is idle.

    Its claims have names of their own, ``ID:wakeN``, so that those of the worker's loop are told from them.

    Args:
        claimable: how many jobs the worker would start now.
        take: starts as many jobs of a claim as fit; returns the rest.
    """

    def __init__(self, worker: Host, *, claimable: Callable[[], int], take: Callable[..., list[Held]]) -> None:
        self._worker = worker
        self._claimable = claimable
        self._take = take
        self._claims = 0
        self._tokens = worker.keys.own("wake")
        self._end = worker.keys.own(f"wake:{worker.id}")
        self._claimer = Claimer(worker.follow_rules)
        self._task: asyncio.Task[Any] | None = None
        self._waiting = False
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Wait and claim until `stop`."""
        self._task = asyncio.current_task()
        self._stopping.clear()
        wake, scripts = self._worker.feed.wake, self._worker.scripts
        while not self._stopping.is_set():
            await wake.idle.wait()
            if self._stopping.is_set() or (free := min(self._claimable(), _AT_ONCE)) <= 0:
                wake.idle.clear()
                continue
            try:
                self._waiting = True
                self._claims += 1
                owner = f"{self._worker.id}:wake{self._claims}"
                send = partial(self._wait_and_claim, scripts, free, owner)
                claim = await self._claimer.claim(scripts, send, owner=owner, lease_s=self._worker.lease_s)
                self._waiting = False
                await self._hand_over(claim, free)
                await asyncio.sleep(0)  # the jobs' first lines go before the next wait
            except (RedisError, OSError):
                self._waiting = False
                wake.ring()  # the worker's own claim meets the trouble too, and mends or reports it
                await asyncio.sleep(_AWAY_S)

    async def _wait_and_claim(self, scripts: Scripts, free: int, owner: str) -> Claim:
        lease_ms, wait = int(self._worker.lease_s * 1000), ("BLPOP", self._tokens, self._end, _WAIT_S)
        return await scripts.claim(free, lease_ms=lease_ms, worker=owner, behind=wait)

    async def _hand_over(self, claim: Claim, asked: int) -> None:
        fits = max(self._claimable(), 0)  # less than was asked for, if it has become busy or stops
        feed = self._worker.feed
        feed.look(claim, asked)
        if surplus := self._take(claim, asked=asked, fits=fits):
            feed.more = True
            await self._worker.hand_back(surplus, "busy")
            await self._leave_token(self._tokens)
        if feed.more:
            feed.wake.idle.clear()
            feed.wake.ring()

    async def stop(self) -> Claim | None:
        """Wait for no more tokens; what a claim took whose answer will not be heard.

        A connection that is only closed may be served once more, after the server was asked what the claim on it took.
        So the wait is ended by a token of its own, and the claim behind it is heard out.
        """
        self._stopping.set()
        self._worker.feed.wake.idle.set()
        if (task := self._task) is None:
            return None
        try:
            async with asyncio.timeout(_STOP_S):
                if self._waiting and not task.done():
                    await self._leave_token(self._end)
                await asyncio.wait([task])  # not cancelled: it may be handing jobs back
                return await self._claimer.recall(self._worker.scripts, lease_s=self._worker.lease_s)
        except (RedisError, OSError):  # Redis is away: leases will run out by themselves
            task.cancel()
            return None

    async def _leave_token(self, key: str) -> None:
        async with self._worker.pool.pipeline(transaction=False) as pipe:
            pipe.lpush(key, "1")
            pipe.pexpire(key, _TOKEN_TTL_MS)
            await pipe.execute()
