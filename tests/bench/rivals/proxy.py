"""A TCP proxy that adds a delay: ``python -m tests.bench.rivals.proxy TARGET_PORT ROUND_TRIP_MS``; prints its own port.

Half of the delay goes on each way. Order is kept, and nothing is held up but the time itself: a chunk leaves its delay
after it came, whatever came before it.
"""

from __future__ import annotations

import asyncio
import select
import selectors
import sys
from collections import deque
from typing import Final

LOOPBACK: Final = "127.0.0.1"


class FineSelector(selectors.DefaultSelector):
    """epoll rounds its time-outs up to whole milliseconds; select doesn't, and one can select on an epoll."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            select.select([self.fileno()], [], [], timeout)
        return super().select(0)


class Way(asyncio.Protocol):
    """One direction of one connection: what comes in here goes out at the peer, later."""

    def __init__(self, delay_s: float, peer: Way | None = None) -> None:
        self.delay_s = delay_s
        self.peer = peer
        self.transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[float, bytes | None]] = deque()
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._later(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._later(None)

    def _later(self, data: bytes | None) -> None:
        if not self.delay_s and not self._waiting and self.peer and self.peer.transport:
            self._out(data)
            return
        due = self._loop.time() + self.delay_s
        self._waiting.append((due, data))
        if len(self._waiting) == 1:
            self._loop.call_at(due, self._send)

    def _send(self) -> None:
        if self.peer is None or self.peer.transport is None:  # the other side is still connecting
            self._loop.call_later(0.0005, self._send)
            return
        now = self._loop.time()
        while self._waiting and self._waiting[0][0] <= now:
            self._out(self._waiting.popleft()[1])
        if self._waiting:
            self._loop.call_at(self._waiting[0][0], self._send)

    def _out(self, data: bytes | None) -> None:
        assert self.peer is not None
        assert self.peer.transport is not None
        if data is None:
            self.peer.transport.close()
        else:
            self.peer.transport.write(data)


async def serve(target_port: int, round_trip_ms: float) -> None:
    """Accept on a free port and print it; until cancelled."""
    loop = asyncio.get_running_loop()
    delay_s = round_trip_ms / 2000
    joining: set[asyncio.Task[None]] = set()

    async def join(near: Way) -> None:
        try:
            _, far = await loop.create_connection(lambda: Way(delay_s, near), LOOPBACK, target_port)
        except OSError:
            assert near.transport is not None
            near.transport.close()
            return
        near.peer = far

    def accept() -> Way:
        near = Way(delay_s)
        task = loop.create_task(join(near), name="join")
        joining.add(task)
        task.add_done_callback(joining.discard)
        return near

    server = await loop.create_server(accept, LOOPBACK, 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(FineSelector())) as runner:
        runner.run(serve(int(sys.argv[1]), float(sys.argv[2])))
