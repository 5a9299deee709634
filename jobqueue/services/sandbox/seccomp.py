"""Taking system calls away from a process, for good: the network, other processes, the kernel's wider surface.

A filter in the kernel's own small language (classic BPF) answers EPERM to what is refused and lets all else pass. It
holds for every thread and program that the process starts, and nothing takes it off again.

Source: seccomp(2), and the kernel's Documentation/userspace-api/seccomp_filter.rst. Of libraries there is pyseccomp,
without a release since 2021 and without wheels for the C library that it needs.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Final

_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_MODE_FILTER: Final = 2
_CAPABILITIES_3: Final = 0x2008_0522  # the version of capset(2)
_FILE_MODES: Final = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
_ALLOW: Final = 0x7FFF_0000
_REFUSE: Final = 0x0005_0000 | errno.EPERM
_NOT_THERE: Final = 0x0005_0000 | errno.ENOSYS

# struct seccomp_data: the call's number, the architecture, the instruction pointer, six arguments of 64 bits.
_NUMBER: Final = 0
_ARCHITECTURE: Final = 4
_ARGUMENTS: Final = 16

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_MASK: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
_IF_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_IF_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K

_MACHINES: Final = {"x86_64": (0xC000_003E, 0), "aarch64": (0xC000_00B7, 1)}
"""Of each machine: the kernel's number for it, and which column of the tables below is its own."""
_X32: Final = 0x4000_0000
"""From here on x86-64 has every call a second time, as x32 and so past a filter that forgets them."""

_NEW_NAMESPACES: Final = 0x7E02_0000
"""All CLONE_NEW… flags that clone(2) takes."""

REFUSED: Final = {
    # The network. A socket that a child was born with, or a pair it makes, can't be turned to anywhere else.
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    # Other processes: their memory, their descriptors.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    # What outlives a process, where no limit of ours counts it.
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # The parts of the kernel that most escapes went through; io_uring would also pass this filter by.
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    # Another view of the file system, of users, or of the machine.
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "unshare": (272, 97),
    "setns": (308, 268),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
}
"""Never: the number on x86-64, and on ARM64."""

_CONDITIONAL: Final = {
    "socketpair": ((53, 199), ((0, 0xFFFF_FFFF, socket.AF_UNIX), (1, 0xF, socket.SOCK_STREAM))),
    "clone": ((56, 220), ((0, _NEW_NAMESPACES, 0),)),
    "prlimit64": ((302, 261), ((0, 0xFFFF_FFFF, 0),)),  # this process's own limits, nobody else's
}
"""Only where ``argument & mask == value`` for each."""

_CLONE3: Final = 435  # on both; its flags lie in memory, where no filter looks: the C library then falls back to clone

_libc = ctypes.CDLL(None, use_errno=True)


def give_up_privileges() -> None:
    """Be no more than a common user, with no way back: root may look into other processes, whatever confines it.

    Root keeps only its way past the modes of files, whose owner may be somebody else in a container. Programs started
    later gain nothing by being setuid; filters and Landlock ask for that.

    Raises:
        OSError: the kernel doesn't know it.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    header = struct.pack("@Ii", _CAPABILITIES_3, 0)
    sets = ctypes.create_string_buffer(24)  # effective, permitted, inheritable; the same again for higher numbers
    _check("capget", _libc.capget(header, sets))
    permitted = int.from_bytes(sets.raw[4:8], sys.byteorder) & _FILE_MODES
    _check("capset", _libc.capset(header, struct.pack("@6I", permitted, permitted, 0, 0, 0, 0)))


def refuse_system_calls() -> None:
    """Take the calls above away from this process, which has one thread, and has given up privileges.

    Raises:
        OSError: the kernel takes no filter, or there is none for this machine; then nothing has changed.
    """
    program = b"".join(_program(platform.machine()))
    code = ctypes.create_string_buffer(program)
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))  # struct sock_fprog
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_char_p(header))


def _prctl(option: int, argument: int, pointer: ctypes.c_char_p | None = None) -> None:
    # Each as long as a register: the kernel refuses a call whose unused arguments aren't 0.
    rest = (pointer or ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))
    _check(f"prctl {option}", _libc.prctl(option, ctypes.c_ulong(argument), *rest))


def _check(call: str, result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def _program(machine: str) -> Iterator[bytes]:
    if machine not in _MACHINES or ctypes.sizeof(ctypes.c_void_p) != 8:  # noqa: PLR2004  # a 32-bit interpreter
        raise OSError(errno.ENOSYS, f"there is no filter for {machine}")
    architecture, column = _MACHINES[machine]
    yield _instruction(_LOAD, _ARCHITECTURE)
    yield _instruction(_IF_EQUAL, architecture, skip_if=1)
    yield _instruction(_RETURN, _REFUSE)
    yield _instruction(_LOAD, _NUMBER)
    if machine == "x86_64":
        yield _instruction(_IF_AT_LEAST, _X32, skip_else=1)
        yield _instruction(_RETURN, _REFUSE)
    yield from _answer(_CLONE3, _NOT_THERE)
    for numbers in REFUSED.values():
        yield from _answer(numbers[column], _REFUSE)
    for numbers, conditions in _CONDITIONAL.values():
        yield _instruction(_IF_EQUAL, numbers[column], skip_else=4 * len(conditions) + 1)
        for argument, mask, value in conditions:
            yield _instruction(_LOAD, _ARGUMENTS + 8 * argument)  # its lower half: both machines are little-endian
            yield _instruction(_MASK, mask)
            yield _instruction(_IF_EQUAL, value, skip_if=1)
            yield _instruction(_RETURN, _REFUSE)
        yield _instruction(_RETURN, _ALLOW)
    yield _instruction(_RETURN, _ALLOW)


def _answer(number: int, action: int) -> tuple[bytes, bytes]:
    return _instruction(_IF_EQUAL, number, skip_else=1), _instruction(_RETURN, action)


def _instruction(code: int, value: int, *, skip_if: int = 0, skip_else: int = 0) -> bytes:
    return struct.pack("@HBBI", code, skip_if, skip_else, value)  # struct sock_filter
