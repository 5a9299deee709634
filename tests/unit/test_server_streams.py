"""Iterators that end with their reader, and slots that come back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Self

import pytest

from jobqueue.errors import Unavailable
from jobqueue.server.streams import StreamSlots, closing


async def test_a_generator_is_closed_with_its_reader_though_something_still_holds_it() -> None:
    closed = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    held = numbers()
    async with closing(held) as found:
        assert await anext(found) == 1
    assert closed == [True]


async def test_an_iterator_that_is_no_generator_is_read_as_well() -> None:
    class Once:
        left = 1

        def __aiter__(self) -> Self:
            return self

        async def __anext__(self) -> int:
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return 7

    async with closing(Once()) as found:
        assert [number async for number in found] == [7]


def test_a_slot_comes_back_however_its_stream_ended() -> None:
    slots = StreamSlots(1)
    with pytest.raises(ConnectionError), slots.slot("acme"):
        raise ConnectionError
    with slots.slot("acme"), slots.slot("globex"), pytest.raises(Unavailable, match="1 event streams"):
        slots.slot("acme").__enter__()
