"""From how a call ended to the error that says it to people. Pure."""

from __future__ import annotations

import os
import signal
from typing import Any, Final

from jobqueue.errors import JobFailed, JobqueueError, LimitExceeded, SandboxCrashed
from jobqueue.ports import Limits

_STDERR_CHARS: Final = 1_000


def limit_passed(function: str, name: str, limits: Limits) -> LimitExceeded:
    """The error for a passed limit; ``name`` is a field of `Limits`.

    >>> print(limit_passed("handlers.documents.inspect:inspect_file", "wall_s", Limits(wall_s=120)))
    “inspect file” took longer than 120 s, its time limit (wall_s): send a smaller file or raise the limit
    """
    value = getattr(limits, name)
    passed = {
        "wall_s": f"took longer than {value:g} s, its time limit",
        "cpu_s": f"used more than {value:g} s of processor time, its limit",
        "memory_bytes": f"needed more than {_size(value)} of memory, its limit",
        "file_bytes": f"wrote a file of more than {_size(value)}, its limit",
    }[name]
    return LimitExceeded(f"{_title(function)} {passed} ({name}): send a smaller file or raise the limit")


def told(function: str, reply: dict[str, Any], limits: Limits) -> tuple[JobqueueError | None, bool]:
    """The error that a child's reply tells of (None: it has a ``value``), and whether the child is fit for more calls.

    >>> told("handlers.x:f", {"value": 1, "spent": False}, Limits())
    (None, True)
    >>> told("handlers.x:f", {"failed": ["builtins.ValueError", "odd", ""], "spent": True}, Limits())
    (JobFailed('builtins.ValueError: odd'), False)
    """
    unspent = reply.get("spent") is False
    match reply:
        case {"value": _}:
            return None, unspent
        case {"raised": JobqueueError() as error}:
            return error, unspent
        case {"failed": [str(name), str(message), str(traceback)]}:
            return JobFailed(name, message, traceback), unspent
        case {"limit": "memory_bytes" | "file_bytes" as name}:
            return limit_passed(function, name, limits), False
    return crash(function, "sent a reply of no known kind"), False


def death(function: str, status: int | None, stderr: str, limits: Limits) -> LimitExceeded | SandboxCrashed:
    """The error for a child that ended without an answer.

    Args:
        function: what it was running, as ``"package.module:function"``.
        status: its wait status, or None when nobody could tell.
        stderr: the end of what it wrote there.
        limits: those of the call.

    >>> print(death("handlers.documents.ocr:read_page", signal.SIGSEGV, "", Limits()))
    the process that ran “read page” was killed by SIGSEGV before it answered
    """
    code = None if status is None else os.waitstatus_to_exitcode(status)
    match code:
        case None:
            cause = "was lost with its fork server"
        case number if number == -signal.SIGXCPU:
            return limit_passed(function, "cpu_s", limits)
        case number if number == -signal.SIGXFSZ:
            return limit_passed(function, "file_bytes", limits)
        case number if number == -signal.SIGKILL:
            cause = "was killed by SIGKILL, as a system short of memory does,"
        case number if number < 0:
            cause = f"was killed by {_signal_name(-number)}"
        case number:
            cause = f"ended with exit code {number}"
    return crash(function, cause, stderr)


def crash(function: str, cause: str, stderr: str = "") -> SandboxCrashed:
    """The error for a child that is of no more use; ``cause`` continues “the process that ran …”."""
    lines = [line for line in stderr.splitlines() if line.strip() and not line.startswith("Extension modules:")]
    tail = "".join(c if c.isprintable() else " " for c in " | ".join(lines)).strip()[-_STDERR_CHARS:]
    return SandboxCrashed(
        f"the process that ran {_title(function)} {cause} before it answered"
        + (f"; it last said: {tail}" if tail else "")
    )


def _title(function: str) -> str:
    return f"“{function.rpartition(':')[2].strip('_').replace('_', ' ')}”"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no names
        return f"signal {number}"


def _size(size_bytes: int) -> str:
    for unit, name in ((10**9, "GB"), (10**6, "MB")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:.4g} {name}"
    return f"{size_bytes:,} bytes"
