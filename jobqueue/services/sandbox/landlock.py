"""Leaving a process only some directories, for good: Linux's Landlock, which needs no privilege.

The kernel also keeps a process so confined from looking into others (``/proc/<pid>/environ``, ``mem``), and, from
Linux 6.12 on, from signalling them: all but those that it has started itself.

Source: landlock(7), and the kernel's Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

# The numbers of the three calls are the same on every machine.
_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_ASK_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_SIGNALS: Final = 1 << 1  # LANDLOCK_SCOPE_SIGNAL

_WRITE_FILE: Final = 1 << 1
_READ_FILE: Final = 1 << 2
_READ_DIR: Final = 1 << 3
_REMOVE_DIR: Final = 1 << 4
_REMOVE_FILE: Final = 1 << 5
_MAKE_DIR: Final = 1 << 7
_MAKE_REG: Final = 1 << 8
_REFER: Final = 1 << 13
_TRUNCATE: Final = 1 << 14

# All but EXECUTE: a program that a child starts can do no more than the child.
_OF_VERSION: Final = {1: 0x1FFE, 2: 0x1FFE | _REFER, 3: 0x1FFE | _REFER | _TRUNCATE}
_READ: Final = _READ_FILE | _READ_DIR
# Plain files and directories. A link or a pipe in a result's place would be followed, or waited for, by the worker.
_WRITE: Final = _READ | _WRITE_FILE | _TRUNCATE | _MAKE_REG | _MAKE_DIR | _REMOVE_FILE | _REMOVE_DIR
_OWN: Final = _OF_VERSION[3]
_OF_FILES: Final = _READ_FILE | _WRITE_FILE | _TRUNCATE

_libc = ctypes.CDLL(None, use_errno=True)


def confine_to(*, own: Path, readable: Iterable[Path], writable: Iterable[Path], listable: Iterable[Path] = ()) -> None:
    """Leave this process, which has one thread and has given up privileges, these paths and what lies below them.

    What is open already stays so. A path that isn't there is left out, and stays out of reach if it comes to be.

    Args:
        own: where anything may be done.
        readable: to be read.
        writable: to be read, and where plain files and directories may be made, written and removed.
        listable: directories whose names may be known.

    Raises:
        OSError: the kernel has no Landlock, or it isn't switched on; then nothing has changed.
    """
    version = _call(_CREATE_RULESET, None, ctypes.c_size_t(0), _ASK_VERSION)
    handled = _OF_VERSION[min(version, max(_OF_VERSION))]
    ruleset = _ruleset(handled)
    try:
        for rights, paths in ((_READ_DIR, listable), (_READ, readable), (_WRITE, writable), (_OWN, [own])):
            for path in paths:
                _allow(ruleset, path, rights & handled)
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _ruleset(handled: int) -> int:
    # The version doesn't tell whether signals can be kept in: Red Hat's kernels say 6 and can't.
    for scopes in (_SIGNALS, 0):
        attributes = struct.pack("=QQQ", handled, 0, scopes)
        try:
            return _call(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
        except OSError as exc:
            if not scopes or exc.errno not in {errno.EINVAL, errno.E2BIG}:
                raise
    raise AssertionError("one of both returned or raised")


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _OF_FILES
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: object) -> int:
    # Plain numbers are descriptors, kinds and flags, which the kernel takes as 32 bits.
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)}")
    return result
