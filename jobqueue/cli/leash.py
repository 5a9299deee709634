"""Runs one program on a leash: when the process that started this one is gone, the program goes too.

`jobqueue.cli.processes` runs this file in an interpreter of its own (``-I``: standard library only), because a process
that is killed can't stop its children any more. The end of standard input is the sign that it is gone, however that
came about: the program gets SIGTERM, and SIGKILL if it is still there two seconds later. A SIGTERM to this process
is handed on to the program, which may take its time. The exit code is the program's.

Should this process itself be killed, Linux terminates the program (``PR_SET_PDEATHSIG``).
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

PATIENCE_S = 2.0
"""From SIGTERM to SIGKILL once nobody holds the leash any more."""

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


def main(command: list[str]) -> int:
    """Run the command until it ends; returns its exit code as a shell would tell it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the holder, which stops things in their order
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_in_the_program)  # noqa: S603, PLW1509  # the holder's own command; this process still has one thread
    signal.signal(signal.SIGTERM, lambda *_: program.terminate())
    threading.Thread(target=_watch_the_holder, args=(program,), daemon=True).start()
    code = program.wait()
    return code if code >= 0 else 128 - code


def _in_the_program() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # what is ignored stays ignored across exec
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _watch_the_holder(program: subprocess.Popen[bytes]) -> None:
    with suppress(OSError):
        while os.read(sys.stdin.fileno(), 4096):
            pass
    program.terminate()
    try:
        program.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        program.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
