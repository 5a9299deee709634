"""A handler that blocks its worker's event loop is named in the log, and its job goes to another worker."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from jobqueue.engine.outcomes import Held
from jobqueue.engine.watchdog import Watchdog
from jobqueue.services.sandbox import ProcessSandbox
from tests.engine_process import ROOT, Effects
from tests.engine_support import INGEST, bare_worker_of, counters, running, running_worker, wait_until

LEASE_S = 2.0
VICTIMS = "tests.contract.sandbox_victims"


@dataclass(frozen=True, slots=True)
class Blocking:
    """A worker process of `tests.blocking_process`."""

    process: asyncio.subprocess.Process
    log: Path

    def lines(self, event: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in found if line["event"] == event]


@asynccontextmanager
async def blocking_process(url: str, effects: Effects) -> AsyncIterator[Blocking]:
    log = effects.path.with_suffix(".err")
    with log.open("wb") as output:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.blocking_process", url, str(effects.path), str(LEASE_S)),
            cwd=ROOT, stdout=output, stderr=output,
        )  # fmt: skip
        try:
            yield Blocking(child, log)
        finally:
            if child.returncode is None:
                child.kill()
            await child.wait()


@pytest.mark.parametrize("how", ["sleep", "compute", "hold_the_log"])
async def test_a_handler_that_blocks_the_loop_is_named_and_its_job_taken_up_elsewhere(
    redis_url: str, pool: Any, tmp_path: Path, how: str
) -> None:
    effects = Effects(tmp_path / "effects.jsonl")

    async def elsewhere(ctx: dict[str, Any], seconds: float) -> str:
        return f"elsewhere, attempt {ctx['job_try']}"

    elsewhere.__name__ = how
    async with blocking_process(redis_url, effects) as worker:
        job = await pool.enqueue_job(how, 6.0)
        await wait_until(lambda: effects.entries("start"), within_s=15, what="the job's start")
        (started,) = effects.entries("start")
        async with running_worker(redis_url, elsewhere, extra={"lease_s": LEASE_S}):
            await wait_until(lambda: worker.lines("loop.blocked"), within_s=5, what="word of the blocked loop")
            assert time.time() - started["at"] < 5
            (blocked,) = worker.lines("loop.blocked")
            assert f".{how}" in blocked["stack"][0]
            assert "blocking_process.py" in blocked["stack"][0]
            assert await job.result(timeout=5, poll_delay=0.05) == "elsewhere, attempt 2"
            await wait_until(lambda: worker.lines("loop.hopeless"), within_s=2)
            (hopeless,) = worker.lines("loop.hopeless")
            assert hopeless["taken_up_elsewhere"] == [f"{job.job_id}:{how}"]
            await wait_until(lambda: worker.lines("loop.resumed"), within_s=10, what="the end of the blockage")
            assert effects.entries("end"), "it did finish, late"
            assert worker.lines("loop.resumed")[0]["seconds"] == pytest.approx(6, abs=1.5)
            worker.process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(worker.process.wait(), 10)
        assert await job.result(timeout=1) == "elsewhere, attempt 2"
        assert await counters(pool, INGEST) == {f"{how}:succeeded": 1}
        assert len(worker.lines("loop.blocked")) == 1


async def test_cpu_heavy_work_in_the_sandbox_neither_blocks_the_loop_nor_loses_its_lease(
    redis_url: str, pool: Any
) -> None:
    """Three leases long, on both of two children, while another worker waits to take up what lapses."""
    starts: list[int] = []

    async with ProcessSandbox(processes=2, packages=(VICTIMS,)) as sandbox:

        async def heavy(ctx: dict[str, Any]) -> float:
            starts.append(ctx["job_try"])
            burnt: float = await sandbox.run(f"{VICTIMS}:burn", 3 * LEASE_S)
            return burnt

        extra = {"lease_s": LEASE_S}
        async with running_worker(redis_url, heavy, extra=extra), running_worker(redis_url, heavy, extra=extra):
            with structlog.testing.capture_logs() as logged:
                jobs = [await pool.enqueue_job("heavy") for _ in range(2)]
                for job in jobs:
                    assert await job.result(timeout=60, poll_delay=0.1) == 3 * LEASE_S
    assert starts == [1, 1]
    assert await counters(pool, INGEST) == {"heavy:succeeded": 2}
    assert [line for line in logged if line["event"].startswith("loop.")] == []


# ── the thread ───────────────────────────────────────────────────────────────────────────────────────────────────


def threads() -> int:
    return sum(thread.name == "jobqueue-watchdog" for thread in threading.enumerate())


async def test_the_workers_of_one_process_share_one_thread_which_ends_with_the_last(redis_url: str) -> None:
    async def f(ctx: object) -> None: ...

    async with running_worker(redis_url, f):
        async with running_worker(redis_url, f, queue="ocr"):
            await wait_until(lambda: threads() == 1)
        assert threads() == 1
    await wait_until(lambda: threads() == 0)


async def test_a_bare_worker_has_no_watchdog(redis_url: str, pool: Any) -> None:
    async def f(ctx: object) -> None: ...

    async with running(bare_worker_of(redis_url, [f])) as worker:
        await wait_until(lambda: any(task.get_name().endswith(":heart") for task in asyncio.all_tasks()))
        assert threads() == 0
        assert not worker.held


def held(job_id: str) -> Held:
    return Held(
        id=job_id, token="t", score=0, attempt=1, claimed=1, aborted=False, payload=None, function="\x00\ud800é" * 1000
    )


async def test_a_line_is_bounded_however_deep_the_stack_and_however_many_the_jobs() -> None:
    lines: list[bytes] = []
    dog = Watchdog(threading.get_ident(), lease_s=0.6, write=lines.append)
    watching = asyncio.create_task(dog.watch({str(n): held(f"job-{n}") for n in range(1000)}))
    await asyncio.sleep(0)

    def sink(depth: int) -> None:
        if depth:
            return sink(depth - 1)
        time.sleep(1.2)
        return None

    sink(200)
    await asyncio.sleep(0)
    watching.cancel()
    blocked, hopeless = map(json.loads, lines)
    assert all(len(line) <= 4096 and line.endswith(b"\n") for line in lines)
    assert (blocked["event"], hopeless["event"]) == ("loop.blocked", "loop.hopeless")
    assert len(blocked["stack"]) > 10
    assert hopeless["count"] == 1000
    assert hopeless["taken_up_elsewhere"]


async def test_a_process_that_was_stopped_as_a_whole_had_no_blocked_loop(
    redis_url: str, pool: Any, tmp_path: Path
) -> None:
    effects = Effects(tmp_path / "effects.jsonl")
    async with blocking_process(redis_url, effects) as worker:
        job = await pool.enqueue_job("sleep", 0.0)
        await job.result(timeout=15, poll_delay=0.05)
        worker.process.send_signal(signal.SIGSTOP)
        over = time.monotonic() + 2 * LEASE_S
        await wait_until(lambda: time.monotonic() > over)
        worker.process.send_signal(signal.SIGCONT)
        await wait_until(lambda: worker.lines("loop.resumed"), within_s=5)
        assert worker.lines("loop.blocked") == worker.lines("loop.hopeless") == []
