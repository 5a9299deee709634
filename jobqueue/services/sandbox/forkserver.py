"""The fork server: forks children, kills them with all their descendants, and reports their deaths.

One thread, no event loop, blocking only in ``select``: whatever happens to a child, an order to kill is obeyed at once.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import selectors
import shutil
import signal
import socket
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Final

from jobqueue.services.sandbox import child, wire
from jobqueue.services.sandbox.confine import Reach, gaps_here

_PR_SET_CHILD_SUBREAPER: Final = 36  # prctl(2)
_FAREWELL_S: Final = 3.0  # how long descendants may take to die when everything ends


def main(configuration: str) -> None:
    """Run until the worker closes its end of the control socket, by exiting or by being killed."""
    config = json.loads(configuration)
    for name in config["preload"]:
        importlib.import_module(name)
        if threading.active_count() > 1:
            raise RuntimeError(f"{name} starts a thread when it is imported: it can't be preloaded")  # forks lose it
    _adopt_orphans()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # A service manager signals every process of a service; the worker alone decides when its running calls end.
        # A handler, unlike SIG_IGN, is not inherited by the programs that children start.
        signal.signal(number, _notice)
    # What is loaded by now lives as long as the server: left out of garbage collection, its memory stays shared.
    gc.collect()
    gc.freeze()
    home = Path(config["home"])
    reach = Reach.of(**config["reach"]) if config["reach"] else None
    gaps = gaps_here(home, reach)
    try:
        with socket.socket(fileno=config["control"]) as control:
            ForkServer(control, home, tuple(config["packages"]), reach).run(gaps)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _adopt_orphans() -> None:
    # A descendant that outlives its parent comes to us instead of init, even one that has left the process group,
    # so that none escapes the kill and none is left a zombie in a container without an init.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _notice(_signal: int, _frame: FrameType | None) -> None:
    """Handle a signal by being interrupted, nothing more."""


class ForkServer:
    """The children that live, and those whose death is not reported yet."""

    def __init__(self, control: socket.socket, home: Path, packages: tuple[str, ...], reach: Reach | None) -> None:
        self._control = control
        self._home = home
        self._packages = packages
        self._reach = reach
        self._numbers: dict[int, int] = {}  # process id -> the worker's number for the child
        self._pipes: dict[int, int] = {}  # process id -> the pipe whose closing is the child's death
        self._ended: list[tuple[int, int]] = []

    def run(self, gaps: int) -> None:
        """Tell of the gaps in the children's confinement, obey orders until the worker is gone, then kill all."""
        waker, wake = socket.socketpair()
        with waker, wake, selectors.DefaultSelector() as selector:
            wake.setblocking(False)
            signal.signal(signal.SIGCHLD, _notice)  # without a handler nothing is written to the descriptor below
            signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
            selector.register(waker, selectors.EVENT_READ)
            selector.register(self._control, selectors.EVENT_READ)
            self._report(wire.REPORT.pack(wire.READY, gaps))
            working = True
            while working:
                for key, _ in selector.select():
                    if key.fileobj is waker:
                        waker.recv(4096)
                        self._reap()
                    else:
                        working = self._obey()
            selector.unregister(self._control)
            for pid in self._numbers:
                _kill(pid)
            deadline = time.monotonic() + _FAREWELL_S
            while (self._numbers or self._ended) and (left := deadline - time.monotonic()) > 0:
                if selector.select(left):
                    waker.recv(4096)
                self._reap()

    def _obey(self) -> bool:
        """Carry out one order; False when there will be no more."""
        try:
            data, fds, _, _ = socket.recv_fds(self._control, wire.ORDER.size, 2)
            while data and len(data) < wire.ORDER.size:
                rest = self._control.recv(wire.ORDER.size - len(data))
                data = data + rest if rest else b""
        except ConnectionError:  # a worker that died with a report unread
            return False
        if not data:
            return False
        verb, number, memory_bytes, file_bytes = wire.ORDER.unpack(data)
        if verb == wire.SPAWN:
            self._spawn(number, *fds, memory_bytes=memory_bytes, file_bytes=file_bytes)
        else:
            for pid, owner in self._numbers.items():
                if owner == number:
                    _kill(pid)
        return True

    def _spawn(self, number: int, conversation: int, stderr: int, *, memory_bytes: int, file_bytes: int) -> None:
        for fd in (conversation, stderr):
            os.set_inheritable(fd, False)  # received descriptors are inheritable, unlike all others in Python
        alive, pipe = os.pipe()
        birth = child.Birth(
            conversation=conversation,
            stderr=stderr,
            alive=alive,
            home=self._home / str(number),
            memory_bytes=memory_bytes,
            file_bytes=file_bytes,
            packages=self._packages,
            reach=self._reach,
        )
        try:
            pid = os.fork()
        except OSError as exc:
            os.write(stderr, f"fork: {exc.strerror}".encode())
            self._ended.append((number, os.EX_OSERR << 8))
            os.close(pipe)
            self._reap()
        else:
            if pid == 0:
                _be(birth)
            self._numbers[pid] = number
            self._pipes[pid] = pipe
        # Whoever holds an end keeps the other side from seeing the end of it: the child alone may hold these.
        for fd in (conversation, stderr, alive):
            os.close(fd)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while (waited := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = waited
                if pid in self._numbers:
                    # What is left of its group. The number isn't given to a new process while the group has members.
                    _kill_group(pid)
                    os.close(self._pipes.pop(pid))
                    self._ended.append((self._numbers.pop(pid), status))
        strays = self._strays()
        for pid in strays:
            os.kill(pid, signal.SIGKILL)  # our own child, not yet waited for: the number is still its own
        if not strays:  # else their deaths wake us again, and only then all that belonged to a child is gone
            for number, status in self._ended:
                self._report(wire.REPORT.pack(number, status))
            self._ended.clear()

    def _strays(self) -> set[int]:
        """Adopted orphans that belong to no living child: all but those still in the session of one."""
        strays = set()
        for pid in _children_of_this_process() - self._numbers.keys():
            with suppress(ProcessLookupError):
                if os.getsid(pid) not in self._numbers:
                    strays.add(pid)
        return strays

    def _report(self, record: bytes) -> None:
        with suppress(OSError):  # the worker is gone: the next read of the control socket says so
            self._control.sendall(record)


def _be(birth: child.Birth) -> None:
    """Live as a child in a process just forked; never return into the fork server's code."""
    code = 0
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        child.live(birth)
    except BaseException:  # noqa: BLE001  # whatever it is, it must not unwind into the fork server's loop
        traceback.print_exc()
        code = 1
    finally:
        os._exit(code)


def _kill(pid: int) -> None:
    """Kill a child that is not yet waited for, and its group."""
    _kill_group(pid)
    os.kill(pid, signal.SIGKILL)  # just forked, it may not lead a group yet


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # nobody in it; macOS says EPERM of a group of zombies
        os.killpg(pid, signal.SIGKILL)


def _children_of_this_process() -> set[int]:
    # Linux only; elsewhere a descendant that has left its process group is not found.
    with suppress(OSError):
        return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text("ascii").split()}
    return set()
