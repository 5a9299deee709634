"""The tasks that run beside a worker's loop: the heart, the relay, the listener for wake-ups."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any


class Background:
    """A set of tasks that are meant to run until they are stopped.

    Args:
        crashed: told when one of them fails: a worker without a heart must not go on as if nothing were wrong.
    """

    def __init__(self, crashed: Callable[[BaseException], None]) -> None:
        self._crashed = crashed
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, jobs: Mapping[str, Callable[[], Coroutine[Any, Any, None]]]) -> None:
        """Start these, by the names of their tasks; nothing when some run already."""
        if self._tasks:
            return
        for name, job in jobs.items():
            task = asyncio.get_running_loop().create_task(job(), name=name)
            task.add_done_callback(self._ended)
            self._tasks.append(task)

    async def stop(self) -> None:
        """Cancel them, and return when they have ended."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._crashed(error)
