"""The worker's handles on the fork server and on its children."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO, Any, Final, Self, TypeVar

from jobqueue.errors import SandboxCrashed
from jobqueue.services.sandbox import wire

T = TypeVar("T")

_START_S: Final = 60.0  # imports on a cold disk included
_DEATH_S: Final = 10.0  # how long a kill may take to be confirmed
_STDERR_BYTES: Final = 8_192

# The worker's environment holds passwords and keys; a child is given only what programs need to run at all.
# These are beginnings of names.
_ENVIRONMENT: Final = ("PATH", "LANG", "LC_", "TZ", "LD_LIBRARY_PATH", "DYLD_", "OMP_", "TESSDATA_", "FONTCONFIG_")

# The server starts with the worker's import path and nothing else of it: its main module above all is not imported.
_BOOT: Final = """\
import json, sys
sys.path[:] = json.loads(sys.argv[1])["path"]
from jobqueue.services.sandbox.forkserver import main
main(sys.argv[1])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """How a child ended: its wait status (None when nobody could tell) and the end of what it wrote to stderr."""

    status: int | None
    stderr: str


class Child:
    """One child, from its birth to `destroy`, which every owner must call."""

    def __init__(
        self, server: ForkServer, number: int, sock: socket.socket, *, memory_bytes: int, file_bytes: int
    ) -> None:
        self.number = number
        self.home = server.home / str(number)
        self.memory_bytes = memory_bytes
        self.file_bytes = file_bytes
        self.calls = 0
        self.ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._server = server
        self._socket = sock
        self._dying: asyncio.Task[Death] | None = None
        # A file without a name: the child can neither fill a pipe that nobody reads nor put another file in its
        # place, and its length is bounded by the limit on files.
        self.stderr: IO[bytes] = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # `release` closes it

    @property
    def alive(self) -> bool:
        """Whether no report of its death has come yet, and its end of the conversation is open."""
        return not self.ended.done() and wire.silent(self._socket)

    async def call(self, request: bytes) -> dict[str, Any]:
        """Send a framed call, return the reply; raises as `wire.exchange`."""
        self.calls += 1
        if self.stderr.seek(0, os.SEEK_END):  # the offset is shared with the child
            self.stderr.truncate(0)
            self.stderr.seek(0)
        return await wire.exchange(self._socket, request)

    def destroy(self) -> asyncio.Task[Death]:
        """Kill the child and its descendants now; the task is done when they are gone.

        Its temporary directory is removed after that, and its descriptors are closed. Safe to repeat.
        """
        if self._dying is None:
            self._dying = self._server.destroy(self)
        return self._dying

    def release(self) -> None:
        """Close what the worker holds of it."""
        self._socket.close()
        self.stderr.close()


class ForkServer:
    """A running fork server; made by `start`."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket, stderr: IO[bytes], home: Path) -> None:
        self.home = home
        self.gaps = 0  # in the children's confinement, once it is alive; see `confine.told`
        self._process = process
        self._control = control
        self._stderr = stderr
        self._numbers = count(1)
        self._children: dict[int, Child] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ready = asyncio.Event()
        self._reader = asyncio.create_task(self._read_reports(), name="sandbox-reports")

    @classmethod
    async def start(
        cls, *, packages: Sequence[str], preload: Sequence[str], reach: Mapping[str, Sequence[str]] | None
    ) -> Self:
        """Start one and wait until it takes orders.

        Raises:
            SandboxCrashed: it ended instead, or took longer than a minute; says what it wrote.
        """
        with ExitStack() as undo:
            home = Path(tempfile.mkdtemp(prefix="jobqueue-sandbox-"))
            undo.callback(_remove, home)
            stderr = undo.enter_context(tempfile.TemporaryFile(buffering=0))
            control, theirs = socket.socketpair()
            undo.enter_context(control).setblocking(False)
            with theirs:
                config = {"home": str(home), "packages": packages, "preload": preload, "reach": reach}
                process = await asyncio.to_thread(_popen, theirs.fileno(), stderr, config)
            undo.pop_all()
        server = cls(process, control, stderr, home)
        with suppress(TimeoutError):
            async with asyncio.timeout(_START_S):
                await server._ready.wait()
        if not server.alive:
            said = _tail(stderr).strip().rpartition("\n")[2]
            await server.close()
            raise SandboxCrashed(f"the sandbox's fork server did not start: {said or 'it gave no reason'}")
        return server

    @property
    def alive(self) -> bool:
        """Whether it takes orders."""
        return self._ready.is_set() and not self._reader.done()

    def spawn(self, *, memory_bytes: int, file_bytes: int) -> Child:
        """A new child, which may be spoken to at once; if the fork fails, it has simply ended."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        child = Child(self, next(self._numbers), ours, memory_bytes=memory_bytes, file_bytes=file_bytes)
        self._children[child.number] = child
        with theirs:
            self._order(wire.SPAWN, child, theirs.fileno(), child.stderr.fileno())
        if self._reader.done():
            self._end_all()
        return child

    def destroy(self, child: Child) -> asyncio.Task[Death]:
        """As `Child.destroy`."""
        self._order(wire.KILL, child)
        return self._keep(self._bury(child))

    async def close(self) -> None:
        """Kill every child, then the server itself; remove every trace."""
        with suppress(OSError):  # closed or gone already
            self._control.shutdown(socket.SHUT_WR)
        await asyncio.wait([self._reader], timeout=_DEATH_S)
        self._process.kill()
        await asyncio.to_thread(self._process.wait)
        await self._reader
        while self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.to_thread(_remove, self.home)
        self._stderr.close()
        self._control.close()

    def _order(self, verb: bytes, child: Child, *fds: int) -> None:
        order = wire.ORDER.pack(verb, child.number, child.memory_bytes, child.file_bytes)
        with suppress(OSError):  # the server is gone, and the end of its reports ends every child
            socket.send_fds(self._control, [order], fds)

    async def _bury(self, child: Child) -> Death:
        done, _ = await asyncio.wait([child.ended], timeout=_DEATH_S)
        if not done:
            self._process.kill()  # it doesn't obey; its children end with it, the kernel sees to that
        death = Death(status=child.ended.result() if done else None, stderr=_tail(child.stderr))
        child.release()
        self._keep(asyncio.to_thread(_remove, child.home))  # maybe a million files: nobody waits for it but `close`
        return death

    def _keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work, name="sandbox-bury")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _read_reports(self) -> None:
        loop = asyncio.get_running_loop()
        data = b""
        with suppress(ConnectionError):
            while chunk := await loop.sock_recv(self._control, 4096):
                data += chunk
                while len(data) >= wire.REPORT.size:
                    number, status = wire.REPORT.unpack_from(data)
                    data = data[wire.REPORT.size :]
                    if number == wire.READY:
                        self.gaps = status
                        self._ready.set()
                    else:
                        self._children.pop(number).ended.set_result(status)
        self._end_all()
        self._ready.set()  # whoever waits for it looks whether it is alive

    def _end_all(self) -> None:
        while self._children:
            self._children.popitem()[1].ended.set_result(None)


def _popen(control: int, stderr: IO[bytes], config: dict[str, Any]) -> subprocess.Popen[bytes]:
    config |= {"path": [str(Path(entry).absolute()) for entry in sys.path], "control": control}  # "" is where it stands
    return subprocess.Popen(  # noqa: S603  # this interpreter, our own code
        [sys.executable, "-I", "-c", _BOOT, json.dumps(config)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        env={name: value for name, value in os.environ.items() if name.startswith(_ENVIRONMENT)},
        pass_fds=[control],
        start_new_session=True,  # Ctrl-C in a terminal is for the worker, which knows what still runs
    )


def _tail(file: IO[bytes]) -> str:
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - _STDERR_BYTES))
    return file.read(_STDERR_BYTES).decode(errors="replace")


def _remove(directory: Path) -> None:
    """Remove a directory, whatever the child made of it: locked subdirectories, or a nesting too deep for Python."""
    try:
        shutil.rmtree(directory)
    except FileNotFoundError:
        return
    except (OSError, RecursionError):
        for command in (["chmod", "-R", "u+rwx"], ["rm", "-rf"]):
            # S603: two fixed programs, on a directory that we named.
            subprocess.run([*command, "--", directory], check=False, stderr=subprocess.DEVNULL)  # noqa: S603
