"""The contract of `jobqueue.ports.Sandbox`, with real processes, limits and signals."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgpack
import psutil
import pytest

from jobqueue.errors import (
    InvalidInput,
    JobFailed,
    JobqueueError,
    LimitExceeded,
    ProviderBusy,
    RejectedFile,
    SandboxCrashed,
    Unavailable,
)
from jobqueue.ports import Limits, Sandbox
from jobqueue.services.sandbox import ProcessSandbox

VICTIMS = "tests.contract.sandbox_victims"
LINUX = Path("/proc/self/fd").exists()


def victim(name: str) -> str:
    return f"{VICTIMS}:{name}"


def make(processes: int = 1, **options: Any) -> ProcessSandbox:
    return ProcessSandbox(processes=processes, packages=(VICTIMS,), **options)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with make() as sandbox:
        yield sandbox


@pytest.fixture
async def pair() -> AsyncIterator[Sandbox]:
    async with make(processes=2) as sandbox:
        yield sandbox


async def wait_until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  # other processes, which set no event, make it true
            await asyncio.sleep(0.002)


async def noted(note: Path, timeout_s: float = 10.0) -> list[int]:
    """The numbers that a victim writes to a file, once it has."""
    await wait_until(note.exists, timeout_s)
    return numbers(note)


def numbers(note: Path) -> list[int]:
    return [int(number) for number in note.read_text("ascii").split()]


def names(directory: Path, pattern: str = "*") -> list[str]:
    return [path.name for path in directory.glob(pattern)]


def gone(*pids: int) -> bool:
    """Whether none of the processes is left, not as a zombie either."""
    return not any(psutil.pid_exists(pid) for pid in pids)


def dead(*pids: int) -> bool:
    """Whether none of the processes runs; of orphans it is up to init when they are gone."""
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                return False
    return True


def descendants(*, recursive: bool = True) -> list[psutil.Process]:
    """Of this process, without those that other tests' servers left running for the whole run."""
    return [child for child in psutil.Process().children(recursive=recursive) if child not in OTHERS]


OTHERS: list[psutil.Process] = []


@pytest.fixture(autouse=True)
def none_of_ours_yet() -> None:
    OTHERS[:] = psutil.Process().children(recursive=True)


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()


# ── calls and answers ────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_function_gets_plain_data_and_its_answer_comes_back(sandbox: Sandbox) -> None:
    data = [None, True, -1, 2.5, "Straße", b"\x00\xff", [1, [2]], {"a": {"b": 1}, 3: "c"}]
    rich = [datetime(2030, 1, 2, tzinfo=UTC), date(2030, 1, 2), Decimal("425000.00")]

    assert await sandbox.run(victim("echo"), data, *rich, price=rich[2]) == [[data, *rich], {"price": rich[2]}]


async def test_an_answer_of_many_megabytes_comes_back_whole(sandbox: Sandbox) -> None:
    assert await sandbox.run(victim("say_bytes"), 15_000_000) == b"x" * 15_000_000


async def test_an_answer_that_does_not_fit_is_refused_by_the_child(sandbox: Sandbox) -> None:
    with pytest.raises(LimitExceeded, match=r"17,000,0.. bytes, more than the 16,000,000 that fit"):
        await sandbox.run(victim("say_bytes"), 17_000_000)


async def test_arguments_that_do_not_fit_are_refused_before_a_child_sees_them(sandbox: Sandbox) -> None:
    with pytest.raises(LimitExceeded, match="pass large data as a file"):
        await sandbox.run(victim("echo"), bytes(70_000_000))


async def test_arguments_that_are_not_plain_data_are_refused_by_type(sandbox: Sandbox) -> None:
    with pytest.raises(InvalidInput, match=r"arguments of .*echo are not plain data: a PosixPath"):
        await sandbox.run(victim("echo"), Path("/"))


async def test_an_answer_that_is_not_plain_data_is_the_functions_failure(sandbox: Sandbox) -> None:
    with pytest.raises(JobFailed, match="answer is not plain data: a object"):
        await sandbox.run(victim("say_object"))


async def test_the_projects_own_errors_come_back_by_class(sandbox: Sandbox) -> None:
    with pytest.raises(RejectedFile, match=r"^the file is empty$"):
        await sandbox.run(victim("fail"), "RejectedFile")
    with pytest.raises(ProviderBusy, match=r"^later$"):
        await sandbox.run(victim("fail"), "ProviderBusy")


@pytest.mark.parametrize(
    ("kind", "error_class"),
    [
        ("ValueError", "builtins.ValueError"),
        ("SystemExit", "builtins.SystemExit"),
        ("CancelledError", "asyncio.exceptions.CancelledError"),
        ("own", f"{VICTIMS}.OwnError"),
    ],
)
async def test_any_other_error_comes_back_as_a_failure_with_its_traceback(
    sandbox: Sandbox, kind: str, error_class: str
) -> None:
    with pytest.raises(JobFailed) as caught:
        await sandbox.run(victim("fail"), kind)

    assert caught.value.error_class == error_class
    assert "sandbox_victims.py" in caught.value.traceback


@pytest.mark.parametrize(("kind", "error"), [("long", JobFailed), ("long and ours", RejectedFile)])
async def test_an_endless_error_message_is_cut(sandbox: Sandbox, kind: str, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        await sandbox.run(victim("fail"), kind)

    assert len(str(caught.value)) < 5_000


@pytest.mark.parametrize(
    "function",
    [
        "os:system",
        "tests.contract.sandbox_victims_and_more:echo",
        "tests.contract:sandbox_victims",
        f"{VICTIMS}:os.system",
        f"{VICTIMS}",
        f"{VICTIMS}:",
        "../handlers:echo",
        "",
    ],
)
async def test_a_function_outside_the_allowed_packages_is_refused(sandbox: Sandbox, function: str) -> None:
    with pytest.raises(InvalidInput, match=VICTIMS):
        await sandbox.run(function, "true")


@pytest.mark.parametrize("name", ["Popen", "os", "VICTIMS", "no_such_function"])
async def test_only_what_an_allowed_module_defines_itself_is_called(sandbox: Sandbox, name: str) -> None:
    with pytest.raises(InvalidInput, match=f"there is no function '{name}' of {VICTIMS}"):
        await sandbox.run(victim(name), "true")


async def test_a_module_that_does_not_exist_is_the_functions_failure(sandbox: Sandbox) -> None:
    with pytest.raises(JobFailed, match="ModuleNotFoundError"):
        await sandbox.run(f"{VICTIMS}.missing:echo")


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_wall_clock_ends_a_call_and_the_message_names_the_limit(sandbox: Sandbox) -> None:
    with pytest.raises(LimitExceeded, match=r"“nap” took longer than 0\.2 s, its time limit \(wall_s\)"):
        await sandbox.run(victim("nap"), 60, limits=Limits(wall_s=0.2))


async def test_the_processor_limit_ends_a_call_and_the_message_names_it(sandbox: Sandbox) -> None:
    with pytest.raises(LimitExceeded, match=r"“spin” used more than 1 s of processor time, its limit \(cpu_s\)"):
        await sandbox.run(victim("spin"), limits=Limits(wall_s=30, cpu_s=1))


async def test_processor_time_is_counted_anew_for_each_call(sandbox: Sandbox) -> None:
    pids = [await sandbox.run(victim("pid"))]
    for _ in range(3):
        assert await sandbox.run(victim("burn"), 0.8, limits=Limits(cpu_s=2)) == 0.8
    pids.append(await sandbox.run(victim("pid")))

    assert pids[0] == pids[1], "all that ran in one child"


async def test_the_memory_limit_ends_a_call_and_the_message_names_it(sandbox: Sandbox) -> None:
    with pytest.raises(LimitExceeded, match=r"“take memory” needed more than 1\.5 GB .*\(memory_bytes\)"):
        await sandbox.run(victim("take_memory"), 2_000_000_000)


async def test_a_memory_error_wrapped_by_a_library_is_still_the_memory_limit(sandbox: Sandbox) -> None:
    with pytest.raises(LimitExceeded, match="memory_bytes"):
        await sandbox.run(victim("fail_of_memory_inside"))


async def test_a_call_may_ask_for_less_or_more_memory_than_the_default() -> None:
    async with make(limits=Limits(memory_bytes=600_000_000)) as sandbox:
        assert await sandbox.run(victim("take_memory"), 200_000_000) == 200_000_000
        with pytest.raises(LimitExceeded, match="300 MB"):
            await sandbox.run(victim("take_memory"), 290_000_000, limits=Limits(memory_bytes=300_000_000))
        with pytest.raises(LimitExceeded, match="600 MB"):
            await sandbox.run(victim("take_memory"), 700_000_000)
        more = Limits(memory_bytes=1_200_000_000)
        assert await sandbox.run(victim("take_memory"), 700_000_000, limits=more) == 700_000_000
        with pytest.raises(LimitExceeded, match="600 MB"):
            await sandbox.run(victim("take_memory"), 700_000_000)


async def test_the_file_limit_ends_a_call_and_the_message_names_it(sandbox: Sandbox) -> None:
    assert await sandbox.run(victim("write_file"), 100_000, limits=Limits(file_bytes=100_000)) == 100_000
    with pytest.raises(LimitExceeded, match=r"“write file” wrote a file of more than 100,000 bytes.*\(file_bytes\)"):
        await sandbox.run(victim("write_file"), 100_001, limits=Limits(file_bytes=100_000))
    with pytest.raises(LimitExceeded, match="file_bytes"):
        await sandbox.run(victim("kill_myself"), signal.SIGXFSZ.value)


# ── crashes ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_segfault_is_named_and_the_next_call_gets_a_new_child(sandbox: Sandbox) -> None:
    before = await sandbox.run(victim("pid"))
    with pytest.raises(SandboxCrashed, match=r"“segfault” was killed by SIGSEGV .*sandbox_victims\.py.* in segfault"):
        await sandbox.run(victim("segfault"))

    assert await sandbox.run(victim("pid")) != before


async def test_an_exit_is_named_with_its_code_and_the_last_words_on_stderr(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxCrashed, match=r"exit code 7 before it answered; it last said: x+ \| help! \|   \| bye$"):
        await sandbox.run(victim("leave"), 7, "x" * 100_000 + "\nhelp!\n\x1b\nbye\n")


async def test_a_kill_by_somebody_else_is_named(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxCrashed, match="killed by SIGKILL, as a system short of memory does"):
        await sandbox.run(victim("kill_myself"), signal.SIGKILL.value)


async def test_words_of_an_earlier_call_are_not_taken_for_last_words(sandbox: Sandbox) -> None:
    assert await sandbox.run(victim("flood_stderr"), 10_000_000) == 10_000_000
    with pytest.raises(SandboxCrashed, match=r"exit code 1 before it answered$"):
        await sandbox.run(victim("leave"), 1)


async def test_the_crash_of_one_child_does_not_touch_the_call_of_another(pair: Sandbox, tmp_path: Path) -> None:
    note, door = tmp_path / "note", tmp_path / "door"
    other = asyncio.create_task(pair.run(victim("sleep_until"), str(door), str(note)))
    (pid,) = await noted(note)
    for name, *args in (("segfault",), ("leave", 1), ("take_memory", 1 << 40)):
        with pytest.raises(JobqueueError):
            await pair.run(victim(str(name)), *args)
    with pytest.raises(LimitExceeded):
        await pair.run(victim("spin"), limits=Limits(wall_s=0.1))
    door.touch()

    assert await other == pid


async def test_a_child_killed_between_calls_is_replaced_unnoticed(sandbox: Sandbox) -> None:
    pid = await sandbox.run(victim("pid"))
    os.kill(pid, signal.SIGKILL)
    await wait_until(lambda: gone(pid))
    await asyncio.sleep(0)

    assert await sandbox.run(victim("pid")) != pid


# ── a child that was taken over ──────────────────────────────────────────────────────────────────────────────────


async def test_a_pickle_from_a_child_is_never_opened(sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(SandboxCrashed, match="codec"):
        await sandbox.run(victim("answer_with_pickle"), str(tmp_path / "note"))

    assert not names(tmp_path)


@pytest.mark.parametrize(
    ("body", "claimed", "reason"),
    [
        (b"\xc1", None, "codec"),
        (b"\x91" * 100_000, None, "codec"),
        (msgpack.packb([1]), None, "codec"),
        (msgpack.packb({"odd": 1, "spent": False}), None, "no known kind"),
        (msgpack.packb({"failed": [1, 2, 3], "spent": False}), None, "no known kind"),
        (msgpack.packb({"raised": "x", "spent": False}), None, "no known kind"),
        (msgpack.packb({"limit": "__class__", "spent": False}), None, "no known kind"),
        (msgpack.packb({"failed": ["a", "b" * 1_000_000, "c"]}), None, "an error of 1,000,"),
        (b"", 0xFFFF_FFFF, "4,294,967,295 bytes, more than"),
        (msgpack.packb({"value": 1}) + b"more", 8, "4 bytes after its answer"),
    ],
)
async def test_a_forged_answer_is_a_crash_and_its_child_is_killed(
    sandbox: Sandbox, body: bytes, claimed: int | None, reason: str
) -> None:
    before = await sandbox.run(victim("pid"))
    with pytest.raises(SandboxCrashed, match=reason):
        await sandbox.run(victim("answer_with_raw"), body, claimed)

    assert await sandbox.run(victim("pid")) != before
    await wait_until(lambda: gone(before))


async def test_a_worker_survives_an_answer_made_to_exhaust_it(sandbox: Sandbox) -> None:
    """The worker decodes it in its event loop: that must take less than a lease lasts (10 s)."""
    many = b"\xdd" + (15_000_000).to_bytes(4, "big") + b"\x90" * 15_000_000  # an array of empty arrays
    call = sandbox.run(victim("answer_with_raw"), b"\x81\xa5value" + many)
    start = time.monotonic()
    assert len(await call) == 15_000_000

    assert time.monotonic() - start < 8.0


async def test_a_child_cannot_pretend_that_the_caller_was_cancelled(sandbox: Sandbox) -> None:
    cancellation = msgpack.ExtType(1, msgpack.packb(["asyncio.exceptions.CancelledError", "", ""]))
    with pytest.raises(SandboxCrashed, match="no known kind"):
        await sandbox.run(victim("answer_with_raw"), msgpack.packb({"raised": cancellation}))


async def test_a_child_that_hangs_up_but_lives_on_is_killed(sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(SandboxCrashed, match="SIGKILL"):
        await sandbox.run(victim("hang_up"), str(tmp_path / "note"))

    assert gone(*await noted(tmp_path / "note"))


# ── kills ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"forget": True},
        pytest.param(
            {"new_session": True}, marks=pytest.mark.skipif(not LINUX, reason="only Linux hands over orphans")
        ),
    ],
    ids=str,
)
async def test_the_wall_clock_kills_what_the_child_started(sandbox: Sandbox, tmp_path: Path, how: Any) -> None:
    with pytest.raises(LimitExceeded):
        await sandbox.run(victim("start_sleeper"), str(tmp_path / "note"), **how, limits=Limits(wall_s=1.5))

    assert gone(*numbers(tmp_path / "note")), "all are gone by the time the caller hears of it"


@pytest.mark.skipif(not LINUX, reason="only Linux hands over orphans")
async def test_an_orphan_in_a_session_of_its_own_does_not_escape(sandbox: Sandbox, tmp_path: Path) -> None:
    task = asyncio.create_task(
        sandbox.run(victim("start_sleeper"), str(tmp_path / "note"), new_session=True, forget=True)
    )
    pids = await noted(tmp_path / "note")
    await cancelled(task)

    assert gone(*pids)


async def test_a_cancelled_call_is_killed_within_a_second_though_it_holds_the_interpreter(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    task = asyncio.create_task(sandbox.run(victim("hold_the_interpreter"), str(tmp_path / "note")))
    pids = await noted(tmp_path / "note")
    start = time.monotonic()
    await cancelled(task)

    assert gone(*pids)
    assert time.monotonic() - start < 1.0
    assert await sandbox.run(victim("pid")) not in pids


async def test_a_process_left_behind_by_a_good_call_is_killed_with_its_child(sandbox: Sandbox, tmp_path: Path) -> None:
    sleeper = await sandbox.run(victim("start_sleeper"), str(tmp_path / "note"), wait=False)

    assert gone(sleeper, *await noted(tmp_path / "note"))


async def test_a_child_with_a_thread_left_behind_is_replaced(sandbox: Sandbox) -> None:
    before = await sandbox.run(victim("pid"))
    await sandbox.run(victim("leave_thread"))

    assert await sandbox.run(victim("pid")) != before


# ── the queue for children ───────────────────────────────────────────────────────────────────────────────────────


async def test_calls_beyond_the_number_of_processes_wait_in_order(pair: Sandbox, tmp_path: Path) -> None:
    ended: list[int] = []

    async def call(number: int) -> None:
        await pair.run(victim("sleep_until"), str(tmp_path / f"door{number}"), str(tmp_path / f"note{number}"))
        ended.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(call(number))
        for number in range(6):
            await noted(tmp_path / f"note{number}")
            assert len(names(tmp_path, "note?")) <= number + 2
            if number:
                (tmp_path / f"door{number - 1}").touch()
                await wait_until(lambda: len(ended) == number)  # noqa: B023  # called before the loop goes on
        (tmp_path / "door5").touch()

    assert ended == [0, 1, 2, 3, 4, 5]


async def test_waiting_does_not_count_against_the_wall_clock(sandbox: Sandbox, tmp_path: Path) -> None:
    first = asyncio.create_task(sandbox.run(victim("sleep_until"), str(tmp_path / "door"), str(tmp_path / "note")))
    await noted(tmp_path / "note")
    second = asyncio.create_task(sandbox.run(victim("pid"), limits=Limits(wall_s=0.5)))
    done, _ = await asyncio.wait([second], timeout=0.7)
    assert not done
    (tmp_path / "door").touch()

    assert await first == await second


async def test_cancelling_a_waiting_call_leaves_the_others_in_order(sandbox: Sandbox, tmp_path: Path) -> None:
    first = asyncio.create_task(sandbox.run(victim("sleep_until"), str(tmp_path / "door"), str(tmp_path / "note")))
    await noted(tmp_path / "note")
    ended: list[str] = []
    tasks = [asyncio.create_task(sandbox.run(victim("pid")), name=name) for name in "abcd"]
    for task in tasks:
        task.add_done_callback(lambda task: ended.append(task.get_name()))
    await asyncio.sleep(0)
    await cancelled(tasks[1])
    (tmp_path / "door").touch()

    assert {await task for task in (tasks[0], tasks[2], tasks[3])} == {await first}, "the child was not disturbed"
    await asyncio.sleep(0)  # the last one's callback
    assert ended == ["b", "a", "c", "d"]


async def test_a_call_cancelled_while_the_fork_server_starts_leaves_the_sandbox_usable() -> None:
    async with make() as sandbox:
        task = asyncio.create_task(sandbox.run(victim("pid")))
        await wait_until(descendants)
        await cancelled(task)

        assert await sandbox.run(victim("pid")) in {process.pid for process in descendants()}


# ── children ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_child_is_reused_and_replaced_after_its_share_of_calls() -> None:
    async with make(recycle_after=3) as sandbox:
        pids = [await sandbox.run(victim("pid")) for _ in range(7)]
        await wait_until(lambda: gone(*pids[:6]))

    assert [pids.index(pid) for pid in pids] == [0, 0, 0, 3, 3, 3, 6]


async def test_nothing_is_started_before_the_first_call() -> None:
    async with make(processes=4) as sandbox:
        assert not descendants()
        await sandbox.run(victim("pid"))
        assert len(descendants()) == 2, "the fork server and one child"


@pytest.mark.skipif(not LINUX, reason="reads /proc")
async def test_a_child_stands_alone_behind_its_limits(pair: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBQUEUE_API_KEY", "secret")
    first, second = await asyncio.gather(pair.run(victim("describe")), pair.run(victim("describe")))

    for child in (first, second):
        assert child["pid"] == child["session"] == child["group"]
        assert child["umask"] == 0o077
        assert child["core"] == [0, 0]
        assert child["file"] == [512_000_000, 512_000_000]
        assert child["memory"][0] == 1_500_000_000
        assert child["memory"][1] < 1_600_000_000, "a child can't raise its own limit"
        assert child["streams"] == ["/dev/null", "/dev/null"]
        assert child["main"] is None, "the main module of the tests is not imported"
        assert child["threads"] == 1
        assert "secret" not in str(child["environment"])
        kinds = sorted(target.partition(":")[0] for fd, target in child["fds"].items() if int(fd) > 2)
        assert kinds == ["pipe", "socket"], "its conversation and the fork server's end, nothing of its sibling's"
        assert child["inherited"] == ["0", "1", "2", "3"], "programs it starts get none of them (3 lists the directory)"


async def test_each_call_finds_its_temporary_directory_empty(sandbox: Sandbox) -> None:
    left = await sandbox.run(victim("leave_files"))
    here, temp, *entries = await sandbox.run(victim("list_directory"))

    assert here == temp == str(Path(left).parent)
    assert not entries


async def test_the_temporary_directory_of_a_killed_child_is_removed(sandbox: Sandbox) -> None:
    (home, *_) = await sandbox.run(victim("list_directory"))
    with pytest.raises(SandboxCrashed):
        await sandbox.run(victim("leave_locked_maze"), 3_000)
    await wait_until(lambda: not Path(home).exists())

    assert Path(home).parent.exists()


async def test_output_on_stdout_goes_nowhere(sandbox: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    await sandbox.run(victim("print_much"))
    await sandbox.run(victim("flood_stderr"), 1_000_000)

    assert capfd.readouterr() == ("", "")


async def test_many_crashes_leak_no_descriptors_and_no_zombies(pair: Sandbox) -> None:
    me = psutil.Process()

    async def crash() -> None:
        with pytest.raises(SandboxCrashed):
            await pair.run(victim("leave"), 1)

    await crash()
    before = me.num_fds()
    await asyncio.gather(*(crash() for _ in range(20)))

    await wait_until(lambda: me.num_fds() <= before)  # those of the last child go when it has been waited for
    assert len(descendants()) == 1, "the fork server"


# ── ends ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_close_ends_running_and_waiting_calls_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    (tmp_path / "temp").mkdir()
    fds = psutil.Process().num_fds()
    sandbox = make()
    running = asyncio.create_task(sandbox.run(victim("start_sleeper"), str(tmp_path / "note")))
    pids = await noted(tmp_path / "note")
    waiting = asyncio.create_task(sandbox.run(victim("pid")))
    await asyncio.sleep(0)
    await asyncio.gather(sandbox.close(), sandbox.close())

    assert gone(*pids)
    assert not descendants()
    assert not names(tmp_path / "temp")
    assert psutil.Process().num_fds() == fds
    with pytest.raises(SandboxCrashed, match="the sandbox was closed"):
        await running
    with pytest.raises(Unavailable, match="closed"):
        await waiting
    with pytest.raises(Unavailable, match="closed"):
        await sandbox.run(victim("pid"))
    await sandbox.close()


async def test_closing_a_sandbox_that_never_ran_starts_nothing() -> None:
    await make().close()

    assert not descendants()


async def test_closing_while_the_fork_server_starts_leaves_nothing() -> None:
    sandbox = make()
    task = asyncio.create_task(sandbox.run(victim("pid")))
    await wait_until(descendants)
    await sandbox.close()

    assert not descendants()
    with pytest.raises((Unavailable, SandboxCrashed)):
        await task


async def test_a_module_to_preload_that_is_missing_is_named() -> None:
    async with make(preload=("no_such_module",)) as sandbox:
        for _ in range(2):
            with pytest.raises(SandboxCrashed, match=r"did not start: ModuleNotFoundError: .*no_such_module"):
                await sandbox.run(victim("pid"))

        assert not descendants()


async def test_a_module_to_preload_that_starts_a_thread_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "starts_a_thread.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,), daemon=True).start()"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    async with make(preload=("starts_a_thread",)) as sandbox:
        with pytest.raises(SandboxCrashed, match=r"did not start: RuntimeError: .* starts a thread"):
            await sandbox.run(victim("pid"))


async def test_a_preloaded_module_is_there_from_the_start() -> None:
    async with make(preload=(VICTIMS,)) as sandbox:
        assert await sandbox.run(victim("echo")) == [[], {}]


async def test_signals_of_a_service_manager_do_not_end_a_running_call(sandbox: Sandbox, tmp_path: Path) -> None:
    task = asyncio.create_task(sandbox.run(victim("sleep_until"), str(tmp_path / "door"), str(tmp_path / "note")))
    (pid,) = await noted(tmp_path / "note")
    for process in descendants():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            process.send_signal(number)
    (tmp_path / "door").touch()

    assert await task == pid


async def test_the_death_of_the_fork_server_ends_its_calls_and_a_new_one_is_started(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    task = asyncio.create_task(sandbox.run(victim("start_sleeper"), str(tmp_path / "note")))
    pids = await noted(tmp_path / "note")
    (server,) = descendants(recursive=False)
    server.kill()
    with pytest.raises(SandboxCrashed, match="lost with its fork server"):
        await task
    await wait_until(lambda: dead(*pids), 2.0)

    assert await sandbox.run(victim("pid")) in {process.pid for process in descendants()}
    assert len(descendants()) == 2


# ── the worker's own end ─────────────────────────────────────────────────────────────────────────────────────────

# As a console script is: no suffix, no guard around what it does, so that importing it again would show.
SCRIPT = f"""
import asyncio, sys
from jobqueue.services.sandbox import ProcessSandbox

with open(sys.argv[1], "a") as file:
    file.write("imported ")

async def main():
    async with ProcessSandbox(processes=2, packages=({VICTIMS!r},)) as sandbox:
        calls = [sandbox.run(f"{VICTIMS}:{{name}}", *sys.argv[3:]) for name in sys.argv[2].split(",")]
        print(await asyncio.gather(*calls))

asyncio.run(main())
"""


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[asyncio.subprocess.Process]]]:
    """Starts `SCRIPT` in a process of its own, with warnings as errors and a directory for its temporary files."""
    script = tmp_path / "worker"
    script.write_text(SCRIPT)
    (tmp_path / "temp").mkdir()
    started: list[asyncio.subprocess.Process] = []

    async def start(*arguments: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-X", "dev", "-W", "error", str(script), str(tmp_path / "imports"), *arguments),
            env={**os.environ, "TMPDIR": str(tmp_path / "temp")},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def test_a_script_without_a_guard_runs_once_and_exits_without_a_word(
    worker: Callable[..., Awaitable[asyncio.subprocess.Process]], tmp_path: Path
) -> None:
    process = await worker("echo,print_much", "x")
    stdout, stderr = await process.communicate()

    assert (stdout, stderr) == (b"[[['x'], {}], None]\n", b"")
    assert process.returncode == 0
    assert (tmp_path / "imports").read_text() == "imported "
    assert not names(tmp_path / "temp")


async def test_nothing_outlives_a_worker_that_is_killed(
    worker: Callable[..., Awaitable[asyncio.subprocess.Process]], tmp_path: Path
) -> None:
    notes = [tmp_path / "sleeper", tmp_path / "interpreter"]
    process = await worker("start_sleeper_and_hold_the_interpreter,echo", *map(str, notes))
    pids = [*await noted(notes[0]), *await noted(notes[1])]
    family = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    assert set(pids) < set(family)
    assert len(family) == 5, "worker, fork server, two children, a sleeper"
    process.kill()

    await wait_until(lambda: dead(*family), 2.0)
    await wait_until(lambda: not names(tmp_path / "temp"), 2.0)


async def test_nothing_outlives_a_worker_that_dies_with_a_report_unread(
    worker: Callable[..., Awaitable[asyncio.subprocess.Process]], tmp_path: Path
) -> None:
    process = await worker("start_sleeper", str(tmp_path / "note"))
    pids = await noted(tmp_path / "note")
    process.send_signal(signal.SIGSTOP)
    os.kill(pids[0], signal.SIGKILL)
    await wait_until(lambda: gone(*pids))
    process.kill()

    await wait_until(lambda: not names(tmp_path / "temp"), 2.0)


async def test_nothing_outlives_a_worker_killed_together_with_its_fork_server(
    worker: Callable[..., Awaitable[asyncio.subprocess.Process]], tmp_path: Path
) -> None:
    notes = [tmp_path / "sleeper", tmp_path / "interpreter"]
    process = await worker("start_sleeper_and_hold_the_interpreter", *map(str, notes))
    await noted(notes[1])
    (server,) = psutil.Process(process.pid).children()
    family = [process.pid, server.pid, *(child.pid for child in server.children(recursive=True))]
    process.send_signal(signal.SIGSTOP)  # it can't react any more
    server.kill()
    process.kill()

    await wait_until(lambda: dead(*family), 2.0)


async def test_where_the_kernel_does_not_watch_a_thread_ends_the_process_group(tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys; from jobqueue.services.sandbox import child;"
        "from tests.contract import sandbox_victims as v;"
        "v.start_sleeper(sys.argv[1], wait=False); child._wait_for_the_end(0)"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, str(tmp_path / "note")), stdin=asyncio.subprocess.PIPE, start_new_session=True
    )
    pids = await noted(tmp_path / "note")
    assert process.stdin is not None
    process.stdin.close()

    assert await process.wait() == -signal.SIGKILL
    await wait_until(lambda: dead(*pids), 2.0)
