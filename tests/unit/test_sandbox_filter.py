"""The filter of system calls, instruction by instruction: what the kernel would answer, on both machines."""

from __future__ import annotations

import errno
import socket
import struct

import pytest

from jobqueue.services.sandbox import seccomp

ALLOWED = 0x7FFF_0000
REFUSED = 0x0005_0000 | errno.EPERM
NOT_THERE = 0x0005_0000 | errno.ENOSYS
MACHINES = {"x86_64": (0xC000_003E, 39, 53, 56, 302), "aarch64": (0xC000_00B7, 172, 199, 220, 261)}
"""The kernel's number for it; getpid, socketpair, clone, prlimit64 there (asm/unistd_64.h, asm-generic/unistd.h)."""


def answer(machine: str, number: int, *arguments: int, architecture: int | None = None) -> int:
    """What the filter returns for a system call, by the rules of Documentation/networking/filter.rst."""
    program = [struct.unpack("@HBBI", instruction) for instruction in seccomp._program(machine)]
    six = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", number, architecture or MACHINES[machine][0], 0, *six)
    at, accumulator = 0, 0
    while True:
        code, skip_if, skip_else, value = program[at]
        at += 1
        match code:
            case 0x20:
                accumulator = struct.unpack_from("<I", data, value)[0]
            case 0x54:
                accumulator &= value
            case 0x15:
                at += skip_if if accumulator == value else skip_else
            case 0x35:
                at += skip_if if accumulator >= value else skip_else
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(f"an instruction that the filter has no use for: {code:#x}")


@pytest.fixture(params=MACHINES)
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_what_is_not_named_passes(machine: str) -> None:
    assert answer(machine, MACHINES[machine][1]) == ALLOWED


def test_every_named_call_is_refused_whatever_its_arguments(machine: str) -> None:
    column = list(MACHINES).index(machine)
    for numbers in seccomp.REFUSED.values():
        assert answer(machine, numbers[column]) == REFUSED
        assert answer(machine, numbers[column], *[2**64 - 1] * 6) == REFUSED


def test_another_architecture_is_refused_whatever_the_call(machine: str) -> None:
    _, getpid, *_ = MACHINES[machine]
    for foreign in (0x4000_0003, 0x4000_0028, *(MACHINES[name][0] for name in MACHINES if name != machine)):
        assert answer(machine, getpid, architecture=foreign) == REFUSED


def test_the_second_table_of_x86_is_refused() -> None:
    assert answer("x86_64", 0x4000_0000 + 39) == REFUSED
    assert answer("x86_64", 0xFFFF_FFFF) == REFUSED


def test_pairs_of_sockets_are_local_streams(machine: str) -> None:
    pair = MACHINES[machine][2]
    flags = socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    assert answer(machine, pair, socket.AF_UNIX, socket.SOCK_STREAM | flags) == ALLOWED
    assert answer(machine, pair, socket.AF_UNIX, socket.SOCK_DGRAM) == REFUSED
    assert answer(machine, pair, socket.AF_UNIX, socket.SOCK_SEQPACKET) == REFUSED
    assert answer(machine, pair, socket.AF_INET, socket.SOCK_STREAM) == REFUSED


def test_a_fork_makes_no_namespace(machine: str) -> None:
    clone, child_signal, share_memory = MACHINES[machine][3], 17, 0x100
    assert answer(machine, clone, child_signal | share_memory) == ALLOWED
    for flag in (0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000):
        assert answer(machine, clone, child_signal | flag) == REFUSED
    assert answer(machine, 435) == NOT_THERE


def test_limits_are_this_process_s_own(machine: str) -> None:
    limits = MACHINES[machine][4]
    assert answer(machine, limits, 0, 7) == ALLOWED
    assert answer(machine, limits, 1234, 7) == REFUSED


def test_a_machine_without_a_table_gets_no_filter() -> None:
    with pytest.raises(OSError, match="no filter for riscv64"):
        list(seccomp._program("riscv64"))
