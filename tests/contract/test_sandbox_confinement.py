"""What the kernel takes from a sandboxed call: the network, other processes, other people's files."""

from __future__ import annotations

import os
import platform
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from jobqueue.services.sandbox import ProcessSandbox

VICTIMS = "tests.contract.sandbox_victims"
NO_KERNEL = "tests.contract.sandbox_no_kernel"
NOT_PERMITTED = "EPERM"
OUT_OF_REACH = "EACCES"
ELSEWHERE = "EXDEV"  # Landlock's answer to a rename or a link out of what is reached

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's part is Linux's")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A data directory: stored files, the temporary directory, and a secret beside them."""

    stored: Path
    temp: Path
    secret: Path


@pytest.fixture
def place(tmp_path: Path) -> Place:
    for name in ("blobs", "tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "blobs" / "deed").write_bytes(b"of sale")
    (tmp_path / "api-key").write_bytes(b"secret")
    return Place(stored=tmp_path / "blobs", temp=tmp_path / "tmp", secret=tmp_path / "api-key")


def make(place: Place, *preload: str) -> ProcessSandbox:
    return ProcessSandbox(
        processes=1, packages=(VICTIMS,), preload=preload, readable=[place.stored], writable=[place.temp]
    )


@pytest.fixture
async def sandbox(place: Place) -> AsyncIterator[ProcessSandbox]:
    async with make(place) as sandbox:
        if gaps := await sandbox.gaps():
            pytest.skip(f"this kernel leaves sandbox children more: {gaps}")
        yield sandbox


async def attempt(sandbox: ProcessSandbox, what: str, *arguments: Any) -> str | None:
    found: str | None = await sandbox.run(f"{VICTIMS}:attempt", what, *arguments)
    return found


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, 16, 17, 40])
async def test_a_child_opens_no_socket_of_any_family(sandbox: ProcessSandbox, family: int) -> None:
    assert await attempt(sandbox, "socket", int(family)) == NOT_PERMITTED


async def test_nor_does_a_program_that_it_starts(sandbox: ProcessSandbox) -> None:
    said = await sandbox.run(f"{VICTIMS}:attempt_in_program", int(socket.AF_INET))
    assert said.startswith("PermissionError")


async def test_a_pair_of_sockets_within_the_process_is_still_to_be_had(sandbox: ProcessSandbox) -> None:
    assert await sandbox.run(f"{VICTIMS}:speak_through_a_pair") == b"heard"
    assert await attempt(sandbox, "datagrams") == NOT_PERMITTED, "they can be sent to any socket of this machine"


async def test_the_kernels_wider_surface_is_closed(sandbox: ProcessSandbox) -> None:
    answers = await sandbox.run(f"{VICTIMS}:system_calls")
    assert {name for name, answer in answers.items() if answer != NOT_PERMITTED} == set()
    assert len(answers) > 40


async def test_a_child_makes_no_namespace_by_either_call_that_forks(sandbox: ProcessSandbox) -> None:
    clone, new_user, child_signal = (56 if platform.machine() == "x86_64" else 220), 0x1000_0000, 17
    assert await attempt(sandbox, "system call", clone, new_user | child_signal) == NOT_PERMITTED
    assert await attempt(sandbox, "system call", 435) == "ENOSYS", "the C library then uses the other"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x86-64's own second table of calls")
async def test_the_second_table_of_system_calls_is_closed(sandbox: ProcessSandbox) -> None:
    getpid = 39
    assert await attempt(sandbox, "system call", 0x4000_0000 + getpid) == NOT_PERMITTED
    assert await attempt(sandbox, "system call", getpid) is None


async def test_a_child_reaches_no_other_process(sandbox: ProcessSandbox) -> None:
    worker = os.getpid()
    assert await attempt(sandbox, "limit", worker) == NOT_PERMITTED
    assert await attempt(sandbox, "read", f"/proc/{worker}/environ") == OUT_OF_REACH
    assert await attempt(sandbox, "read", f"/proc/{worker}/mem") == OUT_OF_REACH
    assert await attempt(sandbox, "signal", worker) == NOT_PERMITTED  # from Linux 6.12 on
    assert await attempt(sandbox, "limit", 0) is None


async def test_a_child_reads_stored_files_and_no_secret_beside_them(sandbox: ProcessSandbox, place: Place) -> None:
    assert await attempt(sandbox, "read", str(place.stored / "deed")) is None
    assert await attempt(sandbox, "read", str(place.secret)) == OUT_OF_REACH
    assert await attempt(sandbox, "list", str(place.secret.parent)) == OUT_OF_REACH
    assert await attempt(sandbox, "list", str(Path.home())) == OUT_OF_REACH


async def test_a_worker_started_above_its_data_leaves_children_no_more(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(place.secret.parent)  # where it was started, as Python has it
    async with make(place) as sandbox:
        if gaps := await sandbox.gaps():
            pytest.skip(f"this kernel leaves sandbox children more: {gaps}")
        assert await attempt(sandbox, "read", str(place.secret)) == OUT_OF_REACH
        assert await attempt(sandbox, "write", str(place.secret)) == OUT_OF_REACH
        assert await attempt(sandbox, "read", str(place.stored / "deed")) is None


async def test_a_child_writes_plain_files_where_results_go_and_nowhere_else(
    sandbox: ProcessSandbox, place: Place
) -> None:
    result = str(place.temp / "result")
    assert await attempt(sandbox, "write", result) is None
    assert await attempt(sandbox, "write", "own") is None
    assert await attempt(sandbox, "write", os.devnull) is None
    for path in (place.stored / "deed", place.stored / "new", place.secret, place.secret.parent / "new"):
        assert await attempt(sandbox, "write", str(path)) == OUT_OF_REACH
    assert await attempt(sandbox, "remove", str(place.stored / "deed")) == OUT_OF_REACH
    assert (place.stored / "deed").read_bytes() == b"of sale"
    assert await attempt(sandbox, "remove", result) is None


async def test_no_link_or_pipe_takes_a_results_place(sandbox: ProcessSandbox, place: Place) -> None:
    result, secret = str(place.temp / "result"), str(place.secret)
    assert await attempt(sandbox, "link", secret, result) == OUT_OF_REACH
    assert await attempt(sandbox, "hard link", secret, result) == ELSEWHERE
    assert await attempt(sandbox, "hard link", str(place.stored / "deed"), result) == ELSEWHERE
    assert await attempt(sandbox, "pipe", result) == OUT_OF_REACH
    assert await attempt(sandbox, "link", secret, "own link") is None
    assert await attempt(sandbox, "read", "own link") in {OUT_OF_REACH, "ENOENT"}, "it may have been cleaned up"
    assert not list(place.temp.iterdir())


async def test_the_libraries_that_read_and_write_documents_work_behind_it(
    sandbox: ProcessSandbox, place: Place
) -> None:
    paths = [str(place.temp / name) for name in ("deed.pdf", "deed.png")]
    assert await sandbox.run(f"{VICTIMS}:work_with_libraries", *paths) == ["Deed of sale"] * 4


async def test_without_paths_the_file_system_stays_open_and_the_network_shut(place: Place) -> None:
    async with ProcessSandbox(processes=1, packages=(VICTIMS,)) as sandbox:
        if await sandbox.gaps():
            pytest.skip("this kernel takes no filter")
        assert await attempt(sandbox, "read", str(place.secret)) is None
        assert await attempt(sandbox, "socket", int(socket.AF_INET)) == NOT_PERMITTED


async def test_where_the_kernel_takes_nothing_calls_run_and_that_is_logged_once(place: Place) -> None:
    with capture_logs() as logs:
        async with make(place, NO_KERNEL) as sandbox:
            assert await attempt(sandbox, "socket", int(socket.AF_INET)) is None
            assert await attempt(sandbox, "read", str(place.secret)) is None
            network, files = await sandbox.gaps()
    assert "use the network" in network
    assert "every file that the worker can" in files
    assert [log["children"] for log in logs if log["event"] == "sandbox.open"] == [network, files]
