"""What a child gives up before it sees a document: the network, other processes, other people's files.

Each is the kernel's to grant. Where it doesn't, the child runs on without, and `gaps_here` tells.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from jobqueue.services.sandbox import landlock, seccomp

_SYSTEM: Final = (
    "/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/nix/store", "/gnu/store",
    "/proc", "/sys/devices/system", "/dev/zero", "/dev/random", "/dev/urandom",
    "/etc/ld.so.cache", "/etc/fonts", "/etc/localtime", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group",
    "/etc/mime.types",
)  # fmt: skip
_ADDED: Final = "/opt"  # by operators: programs, and at times data
_PACKAGES: Final = tuple(Path(__file__).resolve().parents[3] / name for name in ("jobqueue", "handlers"))
_DATA_VARIABLES: Final = ("TESSDATA_PREFIX", "FONTCONFIG_PATH", "FONTCONFIG_FILE", "LD_LIBRARY_PATH")

OPEN_SYSTEM_CALLS: Final = 1
OPEN_FILES: Final = 2
_GAPS: Final = {
    OPEN_SYSTEM_CALLS: "they can use the network (seccomp filters need Linux on x86-64 or ARM64, and a container that "
    "allows them)",
    OPEN_FILES: "they can read and write every file that the worker can (Landlock needs Linux 5.13 or later with "
    "'landlock' among its security modules, and a container that allows it)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """The paths that children are left besides their own directory; everything below is meant, too.

    Of what is ``listable``, only the names.
    """

    readable: tuple[Path, ...]
    writable: tuple[Path, ...]
    listable: tuple[Path, ...]

    @classmethod
    def of(cls, readable: Iterable[str], writable: Iterable[str]) -> Self:
        """These, and what it takes to run Python, its packages, and the system's programs and data.

        Python also looks for modules where the worker was started, which may be above the data. There the names must
        do, which it asks for first, and our own packages.
        """
        data = [[Path(path) for path in paths] for paths in (readable, writable)]
        named = _absolute(part for name in _DATA_VARIABLES for part in os.environ.get(name, "").split(os.pathsep))
        python = _absolute([sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()])
        modules = [path.resolve() for path in _absolute([_ADDED, *sys.path])]
        above = [path for path in modules if any(each.is_relative_to(path) for paths in data for each in paths)]
        beside = [path for path in modules if path not in above]
        return cls(
            readable=tuple(dict.fromkeys([*map(Path, _SYSTEM), *python, *beside, *_PACKAGES, *named, *data[0]])),
            writable=(*data[1], Path(os.devnull)),
            listable=tuple(above),
        )


def _absolute(paths: Iterable[str]) -> list[Path]:
    # Another path would say nothing of what lies there, and the root would say all.
    return [Path(path) for path in paths if path.startswith("/") and path != "/"]


def confine(home: Path, reach: Reach | None) -> int:
    """Give up what the kernel lets this process give up; the sum of the ``OPEN_…`` that it doesn't.

    Args:
        home: the child's own directory.
        reach: what else it is left of the file system; None: all of it.
    """
    gaps = 0
    try:
        seccomp.give_up_privileges()
    except (OSError, AttributeError):  # not Linux: the C library has no prctl
        return OPEN_SYSTEM_CALLS | (OPEN_FILES if reach else 0)
    if reach is not None:
        try:
            landlock.confine_to(own=home, readable=reach.readable, writable=reach.writable, listable=reach.listable)
        except OSError:
            gaps |= OPEN_FILES
    try:
        seccomp.refuse_system_calls()
    except OSError:
        gaps |= OPEN_SYSTEM_CALLS
    return gaps


def gaps_here(home: Path, reach: Reach | None) -> int:
    """What `confine` would return in a child of this process, which has one thread: one is sacrificed to find out."""
    pid = os.fork()
    if pid == 0:
        gaps = OPEN_SYSTEM_CALLS | OPEN_FILES
        with suppress(BaseException):
            gaps = confine(home, reach)
        os._exit(gaps)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else OPEN_SYSTEM_CALLS | OPEN_FILES  # a kernel that kills instead of refusing


def told(gaps: int) -> tuple[str, ...]:
    """A sum of ``OPEN_…`` in words.

    >>> told(OPEN_SYSTEM_CALLS)[0][:25], told(0)
    ('they can use the network ', ())
    """
    return tuple(words for gap, words in _GAPS.items() if gaps & gap)
