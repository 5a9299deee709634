"""The sandbox as handlers see it: a bounded number of calls at once, each in a child of its own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import structlog

from jobqueue.errors import InvalidInput, JobqueueError, LimitExceeded, Unavailable
from jobqueue.ports import Limits
from jobqueue.services.sandbox import confine, verdicts, wire
from jobqueue.services.sandbox.child import is_below
from jobqueue.services.sandbox.processes import Child, ForkServer

logger = structlog.get_logger(__name__)

_FUNCTION: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_.]*):[A-Za-z_][A-Za-z0-9_]*")


class ProcessSandbox:
    """Runs functions in child processes; see `jobqueue.ports.Sandbox` for what it promises.

    Processes start at the first call. Children have no network and no way to other processes where the kernel lets it
    be taken from them; where it doesn't, that is logged as the first one starts, and `gaps` tells.

    A child that gave its answer stays warm for the next call, unless it left
    threads, processes or files behind. It may use its temporary directory (``TMPDIR``, the working directory) during
    a call; results that outlive the call go to a path it is given, or into the answer (16 MB at most).

    Args:
        processes: calls that run at once; further ones wait in order, and their limits don't run meanwhile.
        packages: only functions of modules at or below these are called.
        limits: for calls that bring none.
        preload: modules that every child has from the start; none that opens files or starts threads.
        recycle_after: calls after which a child is replaced. A child that was taken over by what it read could lie
            to the calls after; 1 gives each call a child of its own, for a few milliseconds.
        readable: what calls may read below, besides the child's directory and what Python and the system's programs
            need; each must exist when a child starts. None: everything, and then they may write everywhere, too.
        writable: directories below which calls may make and remove plain files and directories; readable as well.

    >>> async def main():
    ...     async with ProcessSandbox(processes=1, packages=("base64",)) as sandbox:
    ...         return await sandbox.run("base64:b64encode", b"deed")
    >>> asyncio.run(main())
    b'ZGVlZA=='
    """

    def __init__(
        self,
        *,
        processes: int,
        packages: tuple[str, ...] = ("handlers",),
        limits: Limits = Limits(),  # noqa: B008  # frozen
        preload: tuple[str, ...] = (),
        recycle_after: int = 100,
        readable: Sequence[Path] | None = None,
        writable: Sequence[Path] = (),
    ) -> None:
        self._processes = processes
        self._packages = packages
        self._limits = limits
        self._preload = preload
        self._recycle_after = recycle_after
        self._reach = None if readable is None else {"readable": _named(readable), "writable": _named(writable)}
        self._slots = asyncio.Semaphore(processes)  # first come, first served
        self._idle: list[Child] = []
        self._server: asyncio.Task[ForkServer] | None = None
        self._closing = asyncio.Lock()
        self._closed = False

    async def run(self, function: str, /, *args: Any, limits: Limits | None = None, **kwargs: Any) -> Any:
        """As `jobqueue.ports.Sandbox.run`.

        Raises:
            InvalidInput: not a function that may be called, or arguments that are not plain data.
            Unavailable: the sandbox is closed.
        """
        limits = limits or self._limits
        request = self._request(function, args, kwargs, limits)
        async with self._slots:
            child = await self._take(limits)
            reply, error = await self._converse(child, function, request, limits)
        if error is not None:
            raise error
        return reply["value"]

    async def gaps(self) -> tuple[str, ...]:
        """What the kernel doesn't let us take from the children, in words; starts the processes. Raises as `run`."""
        return confine.told((await self._running_server()).gaps)

    async def close(self) -> None:
        """Kill every child and the fork server; running and waiting calls end with an error. Safe to repeat."""
        self._closed = True
        async with self._closing:
            if self._server is None:
                return
            await asyncio.wait([self._server])
            if not self._server.exception():
                while self._idle:
                    self._idle.pop().destroy()
                await self._server.result().close()
            self._server = None
            for _ in range(self._processes):  # every call that still held one has left
                await self._slots.acquire()
            for _ in range(self._processes):
                self._slots.release()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _request(self, function: str, args: tuple[Any, ...], kwargs: dict[str, Any], limits: Limits) -> bytes:
        named = _FUNCTION.fullmatch(function)
        if named is None or not is_below(named[1], self._packages):
            allowed = " or ".join(self._packages)
            raise InvalidInput(f"the sandbox calls “module:function” of {allowed} and below, not {function!r}")
        call = {
            "function": function,
            "args": args,
            "kwargs": kwargs,
            "cpu_s": limits.cpu_s,
            "memory_bytes": limits.memory_bytes,
            "file_bytes": limits.file_bytes,
        }
        try:
            return wire.frame(call, max_bytes=wire.MAX_CALL_BYTES)
        except InvalidInput as exc:
            raise InvalidInput(f"the arguments of {function} are not plain data: {exc.__cause__}") from exc
        except wire.BrokenFrame as exc:
            raise LimitExceeded(f"the arguments of {function} have {exc}: pass large data as a file") from exc

    async def _take(self, limits: Limits) -> Child:
        """A child whose own limits leave room for the call's."""
        server = await self._running_server()
        while self._idle:
            child = self._idle.pop()  # the one used last is the warmest
            if child.alive and child.memory_bytes >= limits.memory_bytes and child.file_bytes >= limits.file_bytes:
                return child
            child.destroy()
        return server.spawn(
            memory_bytes=max(limits.memory_bytes, self._limits.memory_bytes),
            file_bytes=max(limits.file_bytes, self._limits.file_bytes),
        )

    async def _running_server(self) -> ForkServer:
        starting = self._server
        if self._closed:
            raise Unavailable("the sandbox is closed")
        if starting is None or (starting.done() and (starting.exception() or not starting.result().alive)):
            starting = asyncio.create_task(self._start_server(starting), name="sandbox-start")
            self._server = starting
        server = await asyncio.shield(starting)  # others may wait for it too
        if self._closed:
            raise Unavailable("the sandbox was closed")
        return server

    async def _start_server(self, last: asyncio.Task[ForkServer] | None) -> ForkServer:
        if last is not None and not last.exception():
            await last.result().close()
        server = await ForkServer.start(packages=self._packages, preload=self._preload, reach=self._reach)
        for gap in confine.told(server.gaps):
            logger.warning("sandbox.open", children=gap)
        return server

    async def _converse(
        self, child: Child, function: str, request: bytes, limits: Limits
    ) -> tuple[dict[str, Any], JobqueueError | None]:
        """The child's reply, and the error that it tells of, if any.

        Afterwards the child is idle, or it is gone with all it started, however this ends.
        """
        fit = False
        try:
            async with asyncio.timeout(limits.wall_s):
                reply = await child.call(request)
            error, healthy = verdicts.told(function, reply, limits)
            fit = healthy and child.calls < self._recycle_after
            return reply, error
        except TimeoutError:
            raise verdicts.limit_passed(function, "wall_s", limits) from None
        except wire.BrokenFrame as exc:
            raise verdicts.crash(function, f"sent {exc}") from exc
        except EOFError:
            death = await asyncio.shield(child.destroy())
            if self._closed:
                raise verdicts.crash(function, "was killed because the sandbox was closed") from None
            raise verdicts.death(function, death.status, death.stderr, limits) from None
        finally:
            if fit and not self._closed:
                self._idle.append(child)
            else:
                await asyncio.shield(child.destroy())


def _named(paths: Sequence[Path]) -> list[str]:
    return [str(path.absolute()) for path in paths]
