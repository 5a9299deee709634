"""A lock that several processes share, held under a lease: `Lock`.

    async with Lock(redis, "export-acme", lease_s=10, wait_s=30) as held:
        await store.write(report, fence=held.fence)

Its promise ends where that of every lease does: a holder that was stopped for longer than the lease learns of its loss
only when it runs again, and may be in the middle of a write. So each holder has a number greater than all before it,
``held.fence``; whatever the lock protects should refuse a number smaller than the greatest it has seen.

The numbers are kept by Redis, and one that a crash or a failover made it forget would be given out again. With
JOBQUEUE_DURABLE a holder gets its number only when that can't happen any more; without, the last second of a server
with ``appendfsync everysec`` can be lost. Renewals never wait: of one that is lost with its server, all that remains is
a lease that ends earlier there than its holder thinks, which is what the numbers are for.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Final

import structlog
from redis.exceptions import RedisError

from jobqueue.broker.durable import CONFIRM_S, Unconfirmed
from jobqueue.broker.keys import LockKeys, valid_id
from jobqueue.broker.remedy import refusal
from jobqueue.broker.scripts import LockScripts
from jobqueue.errors import InvalidInput, LeaseLost, Transient, Unavailable
from jobqueue.job import new_id

logger = structlog.get_logger(__name__)

_LOOK_AGAIN_S: Final = 1.0
"""The longest wait for a wake-up: what one that got lost with its connection costs."""
_AWAY_S: Final = 0.1
_ANSWER_S: Final = 2.0


class HeldLock:
    """A lock while it is held.

    Attributes:
        name: of the lock.
        fence: greater than that of every holder before.
        lost: set when the lease is lost; the block is cancelled then, and ends with `LeaseLost`.
    """

    def __init__(self, name: str, fence: int) -> None:
        self.name = name
        self.fence = fence
        self.lost = asyncio.Event()


class Lock:
    """An async context manager that holds the lock of a name; for one ``async with`` at a time.

    The lease is renewed in the background at a third of its length. When a renewal is refused, or none was possible
    for a whole lease, the block is cancelled.

    Args:
        redis: a pool of one server, of Sentinel or of a Cluster.
        name: up to 200 printable characters, without white space or braces.
        lease_s: how long the lock outlives a holder that has died; at least 0.1.
        wait_s: how long to wait for it; 0: not at all, None: for ever.

    Raises:
        InvalidInput: the name or the lease is unusable; with JOBQUEUE_DURABLE, on entering, a lease below 3 s.
        Transient: on entering: somebody else has held it for all of ``wait_s``.
        Unavailable: on entering: Redis hasn't answered, or its write wasn't durable, within ``wait_s``.
        LeaseLost: out of the block: somebody else may hold the lock now.
    """

    def __init__(self, redis: Any, name: str, *, lease_s: float = 10.0, wait_s: float | None = None) -> None:
        if not valid_id(name):
            raise InvalidInput(f"lock {name!r}: up to 200 printable characters, without white space or braces")
        if not lease_s >= 0.1:  # noqa: PLR2004  # below that, a renewal takes as long as the lease
            raise InvalidInput(f"lock {name!r}: a lease of {lease_s} s is too short: 0.1 s at least")
        self._redis = redis
        self._keys = LockKeys(name)
        self._scripts = LockScripts(redis, self._keys)
        self._lease_s = lease_s
        self._lease_ms = int(lease_s * 1000)
        self._wait_s = wait_s
        self._token = ""
        self._until = 0.0  # the lease can't have ended before, by this process's monotonic clock
        self._held: HeldLock | None = None
        self._owner: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._renewal: asyncio.Task[None] | None = None

    # ── entering ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def __aenter__(self) -> HeldLock:
        if self._owner is not None:
            raise RuntimeError(f"lock {self._keys.name!r}: this object is in use; make one for each block")
        self._owner = asyncio.current_task()
        assert self._owner is not None
        self._token = new_id("lock")
        try:
            self._held = HeldLock(self._keys.name, await self._acquire())
        except BaseException:
            self._owner = None
            # Cut off from the answer of a call that may have been granted: the lease would block the others.
            with suppress(RedisError, OSError):
                async with asyncio.timeout(_ANSWER_S):
                    await self._scripts.release(self._token)
            raise
        self._cancelling = self._owner.cancelling()
        self._renewal = asyncio.create_task(self._renew(self._held), name=f"lock:{self._keys.name}")
        return self._held

    async def _acquire(self) -> int:
        give_up = None if self._wait_s is None else time.monotonic() + self._wait_s
        durably = getattr(self._redis, "durable", "off") != "off"
        if durably and self._lease_s < CONFIRM_S:
            raise InvalidInput(
                f"lock {self._keys.name!r}: a lease of {self._lease_s:g} s could end before it is durable: give it "
                f"{CONFIRM_S:g} s at least, or a pool without JOBQUEUE_DURABLE"
            )
        while True:
            away: Exception | None = None
            left_s = _AWAY_S
            try:
                fence, left_ms = await self._ask()
                if fence and durably:  # once more, and only by the one that got it: waiting for a disk takes its time
                    fence, left_ms = await self._ask(durably=True)
                if fence and time.monotonic() < self._until:
                    return fence
                left_s = left_ms / 1000 or _AWAY_S
            except (RedisError, OSError, Unconfirmed) as exc:
                if (refused := refusal(exc)) is not None:
                    raise refused from None  # waiting doesn't mend credentials
                away = exc
            rest_s = left_s if give_up is None else min(left_s, give_up - time.monotonic())
            if rest_s <= 0:
                raise self._in_vain(away) from away
            await (self._wake(rest_s) if away is None else asyncio.sleep(rest_s))

    async def _ask(self, *, durably: bool = False) -> tuple[int, int]:
        self._until = time.monotonic() + self._lease_s
        async with asyncio.timeout(_ANSWER_S + CONFIRM_S if durably else _ANSWER_S):
            return await self._scripts.acquire(self._token, lease_ms=self._lease_ms, durably=durably)

    async def _wake(self, rest_s: float) -> None:
        """Wait until the holder releases the lock to this waiter, its lease ends, or it is time to look again."""
        timeout_s = min(rest_s, _LOOK_AGAIN_S) + random.uniform(0, 0.05)  # noqa: S311  # apart from the other waiters
        try:
            async with asyncio.timeout(timeout_s + _ANSWER_S):
                await self._redis.blpop([self._keys.wake], timeout=timeout_s)
        except (RedisError, OSError):
            await asyncio.sleep(_AWAY_S)  # the next look says what is wrong

    def _in_vain(self, away: Exception | None) -> Transient:
        name, wait = self._keys.name, f"{self._wait_s or 0:g} s"
        if away is not None:
            if isinstance(away, Unconfirmed):
                return Unavailable(f"lock {name!r}: not durable within {wait} ({away}): see JOBQUEUE_DURABLE")
            return Unavailable(f"lock {name!r}: Redis hasn't answered within {wait} ({away}): see JOBQUEUE_REDIS_URL")
        return Transient(f"lock {name!r} is still held by somebody else after {wait}: try again, or wait longer")

    # ── holding ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _renew(self, held: HeldLock) -> None:
        pause_s = self._lease_s / 3
        while self._held is held:
            await asyncio.sleep(pause_s)
            sent = time.monotonic()
            if sent >= self._until:
                self._lose(held, f"it couldn't be renewed for {self._lease_s:g} s")
                return
            try:
                async with asyncio.timeout(min(_ANSWER_S, self._lease_s / 3, self._until - sent)):
                    renewed = await self._scripts.extend(self._token, lease_ms=self._lease_ms)
            except Exception as exc:  # noqa: BLE001  # whatever it was, the lease wasn't renewed
                logger.warning("lock.unrenewed", lock=held.name, error=repr(exc))
                pause_s = max(min(self._lease_s / 20, self._until - time.monotonic()), 0.0)
                continue
            if not renewed:
                self._lose(held, "its lease ran out, or its key was removed")
                return
            self._until, pause_s = sent + self._lease_s, self._lease_s / 3

    def _lose(self, held: HeldLock, why: str) -> None:
        if self._held is not held or self._owner is None:
            return  # the block has ended meanwhile
        logger.error("lock.lost", lock=held.name, fence=held.fence, reason=why)
        held.lost.set()
        self._owner.cancel(f"lock {held.name!r} is lost: {why}")

    # ── leaving ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        held, owner, renewal = self._held, self._owner, self._renewal
        assert held is not None
        assert owner is not None
        assert renewal is not None
        try:
            if not held.lost.is_set():
                renewal.cancel()
                if await self._release():
                    return
                held.lost.set()
            elif owner.uncancel() > self._cancelling and isinstance(error, asyncio.CancelledError):
                return  # somebody else cancels this task as well: that goes on
        finally:
            self._held = self._owner = self._renewal = None
        if error is None or isinstance(error, asyncio.CancelledError):
            raise LeaseLost(
                f"lock {held.name!r} (fence {held.fence}) was lost within its block, and somebody else may hold it: "
                "what the block did last may have come too late"
            ) from error

    async def _release(self) -> bool:
        """Release the lock; False when it was somebody else's, or nobody's. Given up when the lease has ended."""
        tried = False
        while True:
            try:
                async with asyncio.timeout(_ANSWER_S):
                    released = await self._scripts.release(self._token)
                # Refused at the second try, within the lease: the first one got through, only its answer did not.
                return released or (tried and time.monotonic() < self._until)
            except (RedisError, OSError) as exc:
                tried = True
                if time.monotonic() >= self._until:
                    logger.warning("lock.unreleased", lock=self._keys.name, error=repr(exc))
                    return True  # it has ended by itself
            await asyncio.sleep(_AWAY_S)
