"""A bad network between clients and a server: replies that get lost, delays, cut connections, silent ones."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import hiredis

_GREETINGS: Final = frozenset({b"HELLO", b"AUTH", b"SELECT", b"CLIENT"})
_CHUNK_BYTES: Final = 65_536


class Proxy:
    """Passes bytes on, as badly as it is told.

    Attributes:
        reply_loss: the share of calls that the server executes and whose reply is dropped, with the connection.
            A pipeline is one call. Set before the first connection, since requests and replies have to be counted.
        delay_s: the least and the most that every chunk waits, in either direction.
        linger_s: how much later than the client's end of a connection the server's is closed.
        faults: how often it has misbehaved.
    """

    def __init__(self, target: str, *, seed: int, reply_loss: float = 0.0) -> None:
        self._target = target
        self._wires: set[_Wire] = set()
        self.random = random.Random(seed)
        self.reply_loss = reply_loss
        self.delay_s: tuple[float, float] | None = None
        self.linger_s = 0.0
        self.faults = 0

    @property
    def wires(self) -> int:
        """How many connections there are."""
        return len(self._wires)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        try:
            upstream = await asyncio.open_unix_connection(self._target)
        except OSError:
            writer.transport.abort()
            return
        wire = _Wire(self, (reader, writer), upstream)
        self._wires.add(wire)
        try:
            await wire.run()
        finally:
            self._wires.discard(wire)

    def cut(self, share: float) -> None:
        """Cut this share of the connections."""
        for wire in [wire for wire in self._wires if self.random.random() < share]:
            self.faults += 1
            wire.close()

    def doom(self) -> None:
        """The replies to calls under way are lost, too; needs a `reply_loss` from the start."""
        for wire in self._wires:
            wire.doom()

    def silence(self) -> None:
        """Half-open: nothing passes through today's connections any more, and nobody is told."""
        for wire in self._wires:
            self.faults += 1
            wire.silent = True

    async def wait(self) -> None:
        """The delay of one chunk."""
        if self.delay_s is not None:
            await asyncio.sleep(self.random.uniform(*self.delay_s))


_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Wire:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: _Streams, server: _Streams) -> None:
        self._proxy = proxy
        self._client, self._server = client, server
        self._requests: Any = hiredis.Reader()
        self._replies: Any = hiredis.Reader()
        self._asked = self._answered = 0
        self._doomed = False
        self.silent = False

    async def run(self) -> None:
        pumps = [asyncio.create_task(self._up()), asyncio.create_task(self._down())]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(self._proxy.linger_s)
        finally:
            self.close()
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    def close(self) -> None:
        for _, writer in (self._client, self._server):
            writer.transport.abort()

    def doom(self) -> None:
        self._doomed = self._doomed or self._answered < self._asked

    async def _up(self) -> None:
        reader, writer = self._client[0], self._server[1]
        while data := await reader.read(_CHUNK_BYTES):
            if self._proxy.reply_loss:
                self._ask(data)
            await self._pass_on(data, writer)

    async def _down(self) -> None:
        reader, writer = self._server[0], self._client[1]
        while data := await reader.read(_CHUNK_BYTES):
            if self._proxy.reply_loss:
                self._answer(data)
            if not self._doomed:
                await self._pass_on(data, writer)
            elif self._answered >= self._asked:
                self._proxy.faults += 1
                return

    async def _pass_on(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        await self._proxy.wait()
        if not self.silent:
            writer.write(data)
            await writer.drain()

    def _ask(self, data: bytes) -> None:
        self._requests.feed(data)
        while (request := self._requests.gets()) is not False:
            first = self._asked == self._answered
            self._asked += 1
            if first and request[0].upper() not in _GREETINGS:
                self._doomed = self._proxy.random.random() < self._proxy.reply_loss

    def _answer(self, data: bytes) -> None:
        self._replies.feed(data)
        while self._replies.gets() is not False:
            self._answered += 1


@asynccontextmanager
async def proxied(target: str, path: Path, *, seed: int, reply_loss: float = 0.0) -> AsyncIterator[Proxy]:
    """A proxy that listens on the Unix socket ``path`` and passes on to the Unix socket ``target``."""
    proxy = Proxy(target, seed=seed, reply_loss=reply_loss)
    server = await asyncio.start_unix_server(proxy.serve, path)
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut(1.0)
        await server.wait_closed()
