"""What ends an idle worker's wait for work."""

from __future__ import annotations

import asyncio


class Wake:
    """An alarm that rings when a claim is worth while; anyone in the loop may ring it.

    Attributes:
        idle: set while the worker has slots and knows of no job.
    """

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self.idle = asyncio.Event()

    def ring(self) -> None:
        """Have the next or current `wait` return True."""
        self._rung.set()

    async def wait(self, timeout_s: float, *, idle: bool) -> bool:
        """Whether it rang within ``timeout_s``; ``idle`` is what the attribute shall be."""
        if idle:
            self.idle.set()
        else:
            self.idle.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True
