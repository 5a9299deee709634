"""Claims under one name, one after the other, so that none is forgotten whose answer got lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from jobqueue.broker.scripts import Claim, Scripts


class Claimer:
    """One who claims. A worker has two, under names of their own: its loop and its listener.

    Args:
        follow: told the number of the queue's rules with each answer, before its jobs may start.
    """

    def __init__(self, follow: Callable[[int], Awaitable[None]] | None = None) -> None:
        self._follow = follow
        self._unanswered: str | None = None  # the owner that a claim named whose answer hasn't come
        self._turn = asyncio.Lock()  # a claim under way is one without an answer, too

    async def claim(
        self, scripts: Scripts, send: Callable[[], Awaitable[Claim]], *, owner: str, lease_s: float
    ) -> Claim:
        """The answer to ``send``, a claim by ``owner``; or what the one before took, if its answer was lost.

        No two claims may have the same owner: a failover can take back fences, and a fence alone names none then.
        """
        async with self._turn:
            if lost := await self._recall(scripts, lease_s):
                return lost
            self._unanswered = owner
            claim = await send()
            if self._follow:
                await self._follow(claim.rules)  # a shutdown that cuts in finds the claim unanswered still
            self._unanswered = None
        return claim

    async def recall(self, scripts: Scripts, *, lease_s: float) -> Claim | None:
        """What a claim took whose answer was lost; None when there is nothing of the kind.

        Left alone, such jobs would start again only when their lease has run out, with an attempt spent on nothing.
        """
        async with self._turn:
            return await self._recall(scripts, lease_s)

    async def _recall(self, scripts: Scripts, lease_s: float) -> Claim | None:
        if self._unanswered is None:
            return None
        claim = await scripts.recall(lease_ms=int(lease_s * 1000), worker=self._unanswered)
        self._unanswered = None
        return claim if claim.jobs else None
