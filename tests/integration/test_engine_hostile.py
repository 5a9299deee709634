"""Whatever lies in Redis or a job raises or returns, the worker goes on and says what was wrong."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import msgpack
import pytest

from jobqueue.broker.deadletter import DeadLetter, DeadLetters
from jobqueue.broker.embedded import EmbeddedRedis
from jobqueue.job import decode
from tests.engine_support import INGEST, connected, counters, left, per_job, running_worker, wait_until

GOOD: dict[str, Any] = {"t": None, "f": "f", "a": [], "k": {}, "et": 0}
MALFORMED: dict[str, dict[str, Any]] = {
    "no function": {"t": None, "a": [], "k": {}, "et": 0},
    "a list as function": GOOD | {"f": ["f"]},
    "a number as function": GOOD | {"f": 7},
    "a number as arguments": GOOD | {"a": 7},
    "text as keyword arguments": GOOD | {"k": "text"},
    "numbers as keywords": GOOD | {"k": {1: 2}},
    "text as enqueue time": GOOD | {"et": "yesterday"},
    "an enqueue time past the calendar": GOOD | {"et": 2**62},
    "text as attempt": GOOD | {"t": "first"},
    "text as expiry": GOOD | {"x": "tomorrow"},
    "an expiry past the calendar": GOOD | {"x": -(2**62)},
    "a list as metadata": GOOD | {"m": ["flow"]},
    "text as metadata": GOOD | {"m": "flow"},
    "a flow without a step": GOOD | {"m": {"flow": "task-1"}},
    "a number as flow": GOOD | {"m": {"flow": 1, "step": 2}},
}


async def f(ctx: dict[str, Any]) -> str:
    return "done"


async def put(pool: Any, job_id: str | bytes, payload: bytes, *, score: float | str = 1) -> None:
    await pool.set(b"arq:job:" + (job_id if isinstance(job_id, bytes) else job_id.encode()), payload)
    await pool.execute_command("ZADD", INGEST.queue, score, job_id)


async def runs_a_good_job(pool: Any) -> None:
    job = await pool.enqueue_job("f")
    assert await job.result(timeout=5, poll_delay=0.02) == "done"


async def the_letter(pool: Any, job_id: str) -> DeadLetter:
    letters = DeadLetters(pool, INGEST)
    await wait_until(lambda: pool.hexists(INGEST.own("dead:index"), job_id), what=f"the dead letter of {job_id}")
    return await letters.get(job_id)


@pytest.mark.parametrize("payload", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_payload_is_buried_and_the_worker_goes_on(
    redis_url: str, pool: Any, payload: dict[str, Any]
) -> None:
    await put(pool, "ingest-bad", msgpack.packb(payload))
    async with running_worker(redis_url, f):
        await runs_a_good_job(pool)
        # A stray that can run is run; whatever else, it must be gone from the queue and accounted for.
        await wait_until(lambda: _gone(pool, "ingest-bad"), what="the end of the malformed job")
        assert sum((await counters(pool, INGEST)).values()) == 2
    assert per_job(await left(pool)) == set()


async def _gone(pool: Any, job_id: str) -> bool:
    return await pool.zscore(INGEST.queue, job_id) is None


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\xff" * 10, b"\x91" * 5000, b"null", b"\x81\xa1f"])
async def test_bytes_that_are_no_payload_are_buried_as_unreadable(redis_url: str, pool: Any, payload: bytes) -> None:
    await put(pool, "ingest-bad", payload)
    async with running_worker(redis_url, f):
        letter = await the_letter(pool, "ingest-bad")
        await runs_a_good_job(pool)
    assert letter.reason == "unreadable"
    assert letter.payload == payload


class Trap:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "opened")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
async def test_a_pickled_payload_is_never_opened(redis_url: str, pool: Any, tmp_path: Path, protocol: int) -> None:
    trap = tmp_path / "trap"
    payload = pickle.dumps(GOOD | {"a": [Trap(trap)]}, protocol=protocol)
    pickle.loads(payload)
    assert trap.exists(), "the trap works"
    trap.unlink()

    await put(pool, "ingest-pickle", payload)
    async with running_worker(redis_url, f):
        letter = await the_letter(pool, "ingest-pickle")
    assert not trap.exists()
    assert letter.error_class == "jobqueue.errors.UnreadablePayload"
    assert "jobqueue.job.encode" in letter.message
    if protocol >= 2:
        assert "pickle" in letter.message


@pytest.mark.parametrize("job_id", [b"\xff\xfe", b"", b"ingest-{x}", b"a b\n", "ingest-ü".encode()])
async def test_a_strange_id_in_the_queue_stops_nobody(redis_url: str, pool: Any, job_id: bytes) -> None:
    await put(pool, job_id, msgpack.packb(GOOD))
    async with running_worker(redis_url, f):
        await runs_a_good_job(pool)


@pytest.mark.parametrize("score", ["-inf", "0.5", "-1e300"])
async def test_a_strange_score_in_the_queue_stops_nobody(redis_url: str, pool: Any, score: str) -> None:
    await put(pool, "ingest-odd", msgpack.packb(GOOD), score=score)
    async with running_worker(redis_url, f):
        await runs_a_good_job(pool)
        await wait_until(lambda: _gone(pool, "ingest-odd"))


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text either")


ERRORS = {
    "a lone surrogate": ValueError("bad name \ud800"),
    "no text": Mute(),
    "a huge text": ValueError("x" * 200_000),
    "zero bytes": ValueError("a\0b"),
    "a group": ExceptionGroup("several", [ValueError("one"), OSError("two")]),
    "odd arguments": UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
async def test_whatever_a_job_raises_is_recorded_and_fells_neither_its_neighbours_nor_the_worker(
    redis_url: str, pool: Any, error: Exception
) -> None:
    async def bad(ctx: dict[str, Any]) -> None:
        raise error

    jobs = [await pool.enqueue_job(name) for name in ("f", "bad", "f")]
    async with running_worker(redis_url, f, bad):
        letter = await the_letter(pool, jobs[1].job_id)
        assert [await job.result(timeout=3, poll_delay=0.02) for job in jobs[::2]] == ["done", "done"]
        await runs_a_good_job(pool)
        raw = await pool.get(INGEST.result(jobs[1].job_id))
    assert letter.reason == "exhausted"
    assert letter.attempts == 3
    assert decode(raw)["s"] is False
    assert len(raw) < 100_000, "a result is bounded"


RESULTS = {"an object": object(), "a set": {1}, "a lone surrogate": "\ud800", "a huge number": 2**200}


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
async def test_a_result_that_cannot_be_stored_fails_the_job_and_says_so(
    redis_url: str, pool: Any, result: object
) -> None:
    async def bad(ctx: dict[str, Any]) -> object:
        return result

    job = await pool.enqueue_job("bad")
    async with running_worker(redis_url, f, bad):
        await wait_until(lambda: _gone(pool, job.job_id), what="the end of the job")
        await runs_a_good_job(pool)
        assert decode(await pool.get(INGEST.result(job.job_id)))["s"] is False
        assert "bad:succeeded" not in await counters(pool, INGEST), "a job whose result is lost has not succeeded"


async def test_arguments_that_do_not_fit_are_permanent_and_said_clearly(redis_url: str, pool: Any) -> None:
    job = await pool.enqueue_job("f", 1, 2, colour="red")
    async with running_worker(redis_url, f):
        letter = await the_letter(pool, job.job_id)
    assert (letter.reason, letter.attempts) == ("permanent", 1)
    assert letter.error_class == "jobqueue.errors.InvalidInput"
    assert "arguments don't fit" in letter.message
    assert "colour" in letter.message


async def test_a_result_too_large_for_redis_holds_up_no_other_job(tmp_path: Path) -> None:
    async def large(ctx: dict[str, Any]) -> bytes:
        return b"x" * 2_000_000

    async with EmbeddedRedis(tmp_path) as server, connected(server.url) as pool:
        await pool.config_set("proto-max-bulk-len", 1_048_576)  # the smallest that the server knows; 512 MB by default
        async with running_worker(server.url, f, large):
            await pool.enqueue_job("large")
            await runs_a_good_job(pool)
