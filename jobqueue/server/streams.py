"""Answers that flow: how many event streams may be open, and how an iterator is closed with its reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

from jobqueue.errors import Unavailable

T = TypeVar("T")


class StreamSlots:
    """Counts each tenant's open event streams against a bound: each holds a connection and a subscription."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: Counter[str] = Counter()

    @contextmanager
    def slot(self, tenant_id: str) -> Iterator[None]:
        """Hold one of the tenant's slots while the block runs.

        Raises:
            Unavailable: all are taken.
        """
        if self._open[tenant_id] >= self._limit:
            raise Unavailable(f"{self._limit} event streams are open already: close one, or poll the task's status")
        self._open[tenant_id] += 1
        try:
            yield
        finally:
            self._open[tenant_id] -= 1


@asynccontextmanager
async def closing(iterator: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Close ``iterator`` when the block ends, however it ends.

    Left to the garbage collector, a generator's file or subscription would outlive its reader. Unlike
    ``contextlib.aclosing`` this takes any iterator, for a port needn't be written as a generator.
    """
    try:
        yield iterator
    finally:
        if (aclose := getattr(iterator, "aclose", None)) is not None:
            await aclose()
