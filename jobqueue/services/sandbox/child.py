"""What runs in a child: set itself up behind its limits, then answer calls until the worker hangs up."""

from __future__ import annotations

import errno
import faulthandler
import fcntl
import importlib
import math
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jobqueue import job
from jobqueue.errors import InvalidInput, JobFailed, JobqueueError, LimitExceeded
from jobqueue.services.sandbox import wire
from jobqueue.services.sandbox.confine import Reach, confine

# Room above a call's memory limit in which the child can still say that the limit was passed.
_LAST_WORDS_BYTES: Final = 64 << 20
_MAX_MESSAGE_CHARS: Final = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """What a child is born with: descriptors, its own directory, and limits that no call of it may pass."""

    conversation: int
    stderr: int
    alive: int  # reads as ended when the fork server is gone
    home: Path
    memory_bytes: int
    file_bytes: int
    packages: tuple[str, ...]
    reach: Reach | None  # of the file system; None: all of it


def live(birth: Birth) -> None:
    """The whole life of a child; it ends when the worker closes the conversation, or by a kill."""
    set_up(birth)
    serve(birth)


def set_up(birth: Birth) -> None:
    """Everything between the fork and the first call, in order."""
    os.setsid()  # own session and process group: one signal reaches it and its descendants
    os.dup2(birth.stderr, 2)  # stdin and stdout are /dev/null already, as the fork server's are
    _close_all_but(0, 1, 2, birth.conversation, birth.alive)
    _die_with_the_fork_server(birth.alive)
    faulthandler.enable()  # a segfault says on stderr where in the Python code it was
    os.umask(0o077)
    _move_into(birth.home)
    limit(resource.RLIMIT_CORE, 0, 0)
    limit(resource.RLIMIT_FSIZE, birth.file_bytes, birth.file_bytes)
    limit(resource.RLIMIT_AS, birth.memory_bytes, birth.memory_bytes + _LAST_WORDS_BYTES)
    confine(birth.home, birth.reach)  # last: what comes before may be more than is left afterwards


def _close_all_but(*kept: int) -> None:
    # The fork server's own descriptors, such as the pipes that keep the other children alive.
    for fd in map(int, os.listdir("/dev/fd")):  # noqa: PTH208  # names are wanted, as numbers
        if fd not in kept:
            with suppress(OSError):  # the one that listed the directory is closed already
                os.close(fd)


def _die_with_the_fork_server(alive: int) -> None:
    if sys.platform == "linux":
        # The kernel itself kills the group when the pipe's other end closes. A thread would have to wait for the
        # interpreter's lock, which a C library may hold for minutes; PR_SET_PDEATHSIG would miss the descendants.
        fcntl.fcntl(alive, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(alive, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(alive, fcntl.F_SETFL, os.O_RDONLY | os.O_ASYNC | os.O_NONBLOCK)
        with suppress(BlockingIOError):
            os.read(alive, 1)  # returns only if the end came before the kernel was told to watch for it
            os._exit(1)
    else:
        threading.Thread(target=_wait_for_the_end, args=(alive,), name="watch-fork-server", daemon=True).start()


def _wait_for_the_end(alive: int) -> None:
    os.read(alive, 1)
    os.killpg(0, signal.SIGKILL)


def _move_into(home: Path) -> None:
    home.mkdir(mode=0o700)
    os.chdir(home)
    os.environ.update(TMPDIR=str(home), HOME=str(home))
    tempfile.tempdir = None  # found anew, from TMPDIR


def limit(kind: int, soft: int, hard: int | None = None) -> None:
    """Set a resource limit, or the lower one that the system already imposes; without ``hard``, that one stays."""
    ceiling = resource.getrlimit(kind)[1]
    hard = ceiling if hard is None else hard
    if ceiling != resource.RLIM_INFINITY:
        hard = ceiling if hard == resource.RLIM_INFINITY else min(hard, ceiling)
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    try:
        resource.setrlimit(kind, (soft, hard))
    except (ValueError, OSError):
        if sys.platform != "darwin":  # which knows RLIMIT_AS but refuses to set it
            raise


# ── calls ────────────────────────────────────────────────────────────────────────────────────────────────────────


def serve(birth: Birth) -> None:
    """Answer calls, one at a time, until the worker hangs up."""
    own_threads = threading.active_count()
    with socket.socket(fileno=birth.conversation) as conversation:
        while (call := wire.receive(conversation)) is not None:
            reply = _answer(call, birth.packages)
            reply["spent"] = not _clean_up(birth.home, own_threads)
            conversation.sendall(_framed(reply))


def _answer(call: dict[str, Any], packages: tuple[str, ...]) -> dict[str, Any]:
    """The reply to a call: ``value``, ``raised`` (an error of ours), ``failed`` (any other) or ``limit`` (its name)."""
    try:
        limit(resource.RLIMIT_FSIZE, call["file_bytes"])
        limit(resource.RLIMIT_AS, call["memory_bytes"])
        used = resource.getrusage(resource.RUSAGE_SELF)
        limit(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime) + call["cpu_s"])
        return {"value": _find(call["function"], packages)(*call["args"], **call["kwargs"])}
    except BaseException as exc:  # noqa: BLE001  # SystemExit too is only the function's way to fail
        limit(resource.RLIMIT_AS, call["memory_bytes"] + _LAST_WORDS_BYTES)
        return _told(exc)


def _find(name: str, packages: tuple[str, ...]) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    function = getattr(importlib.import_module(module), attribute, None)
    home = getattr(function, "__module__", None)
    if not callable(function) or not isinstance(home, str) or not is_below(home, packages):
        raise InvalidInput(f"there is no function {attribute!r} of {module} that the sandbox may call")
    return function  # type: ignore[no-any-return]  # callable() narrows Any to a callable of Any


def is_below(module: str, packages: tuple[str, ...]) -> bool:
    """Whether a module is one of the packages or lies below one.

    >>> is_below("handlers.documents", ("handlers",)), is_below("handlers_too", ("handlers",))
    (True, False)
    """
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _told(exc: BaseException) -> dict[str, Any]:
    passed = _limit_behind(exc)
    if passed:
        return {"limit": passed}
    if isinstance(exc, JobFailed):
        return {"failed": [exc.error_class, exc.message[:_MAX_MESSAGE_CHARS], exc.traceback]}
    if isinstance(exc, JobqueueError):
        exc.args = (str(exc)[:_MAX_MESSAGE_CHARS],)
        return {"raised": exc}
    return {"failed": [job.class_name(type(exc)), str(exc)[:_MAX_MESSAGE_CHARS], job.format_traceback(exc)]}


def _limit_behind(exc: BaseException | None) -> str | None:
    """The limit whose passing started this exception, be it wrapped by a library's own."""
    while exc is not None:
        if isinstance(exc, MemoryError) or (isinstance(exc, OSError) and exc.errno == errno.ENOMEM):
            return "memory_bytes"
        if isinstance(exc, OSError) and exc.errno == errno.EFBIG:
            return "file_bytes"
        exc = exc.__cause__ or exc.__context__
    return None


def _framed(reply: dict[str, Any]) -> bytes:
    try:
        return wire.frame(reply, max_bytes=wire.MAX_ANSWER_BYTES)
    except MemoryError:
        reply = {"limit": "memory_bytes"}
    except InvalidInput as exc:
        reply = _told(TypeError(f"its answer is not plain data: {exc.__cause__}")) | {"spent": reply["spent"]}
    except wire.BrokenFrame as exc:
        reply = {"raised": LimitExceeded(f"its answer has {exc}"), "spent": reply["spent"]}
    return wire.frame(reply, max_bytes=wire.MAX_ANSWER_BYTES)


def _clean_up(home: Path, own_threads: int) -> bool:
    """Whether the child is as it was before the call: no processes, threads or files left behind."""
    try:
        os.chdir(home)
        for entry in os.scandir(home):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry)
            else:
                Path(entry).unlink()
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass  # one that has ended; (0, 0) says that another still runs
    except ChildProcessError:
        return threading.active_count() <= own_threads
    except (OSError, RecursionError):
        return False
    return False
