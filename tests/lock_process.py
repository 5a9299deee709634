"""A process that holds a lock: ``python -m tests.lock_process URL NAME LEASE_S``; it prints what happens to it."""

from __future__ import annotations

import asyncio
import sys

from jobqueue.broker.lock import Lock
from jobqueue.errors import LeaseLost
from tests.engine_support import connected


async def main(url: str, name: str, lease_s: str) -> None:
    """Hold the lock until it is lost, or standard input ends."""
    async with connected(url) as pool:
        try:
            async with Lock(pool, name, lease_s=float(lease_s)) as held:
                say("held", held.fence)
                await asyncio.to_thread(sys.stdin.readline)
        except LeaseLost as exc:
            say("lost", exc)


def say(*words: object) -> None:
    """Tell the test."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
