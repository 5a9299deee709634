"""Declared job types over a real Redis: typed clients, plain clients, and workers of two versions side by side."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from jobqueue.broker.deadletter import DeadLetter, DeadLetters
from jobqueue.broker.enqueue import NewJob
from jobqueue.broker.options import Options, Unique
from jobqueue.errors import InvalidInput, NotFound
from jobqueue.job import State, decode
from jobqueue.queues import parse
from jobqueue.registry import Handler, plan
from jobqueue.typed import Task
from tests.engine_support import INGEST, client_of, left, per_job, running_worker, wait_until

PASSWORD = "correct horse battery staple"


class Pages(BaseModel):
    numbers: list[int]
    at: datetime


class Read(Task[Pages], queue="ingest", function="read"):
    file_id: str
    first: int = 1
    password: SecretStr | None = None


def no_longer_first(data: dict[str, Any]) -> dict[str, Any]:
    return {"pages": [data.pop("first", 1)], **data}


class ReadV2(Task[Pages], queue="ingest", function="read", version=2, upgrades={1: no_longer_first}):
    file_id: str
    pages: list[int]


NOW = datetime(2026, 3, 1, tzinfo=UTC)


async def read(ctx: dict[str, Any], task: Read) -> Pages:
    if task.first < 0:
        raise LookupError("no such page")
    return Pages(numbers=[task.first], at=NOW)


async def read_v2(ctx: dict[str, Any], task: ReadV2) -> Pages:
    return Pages(numbers=[*task.pages, 2], at=NOW)


def serving(url: str, handler: Handler, **extra: Any) -> Any:
    """A worker of one declared job type, built from a plan as our Settings are."""
    policy = {"backoff": "fixed", "base_s": 0.01, "cap_s": 0.01, "max_attempts": 2}
    jobs = {"read": {"timeout_s": 5.0, "retry": "once", "keep_result_s": 60.0}}
    queue = {"weight": 1.0, "concurrency": 1, "jobs": jobs}
    found = plan(parse({"retry": {"once": policy}, "queues": {"ingest": queue}}, "test")["ingest"], {"read": handler})
    extra = {"versions": found.versions, "policies": found.policies, "park_delay_s": 0.05} | extra
    return running_worker(url, *found.functions, extra=extra)


async def letter_of(pool: Any, job_id: str) -> DeadLetter:
    await wait_until(lambda: pool.hexists(INGEST.own("dead:index"), job_id), what="the dead letter")
    return await DeadLetters(pool, INGEST).get(job_id)


# ── one version ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_handle_follows_its_job_to_a_result_of_the_declared_type(redis_url: str, pool: Any) -> None:
    async with client_of(redis_url) as client:
        handle = await client.enqueue(Read(file_id="file-1", first=7))
        assert (handle.answer, await handle.state(), await handle.progress()) == ("enqueued", State.QUEUED, None)
        async with serving(redis_url, read):
            assert await handle.result(timeout_s=5) == Pages(numbers=[7], at=NOW)
        assert await handle.state() is State.SUCCEEDED
        assert await handle.cancel() == "finished"
    assert per_job(await left(pool)) == set()


async def test_the_payload_crosses_as_plain_arguments_with_its_version_beside_them(redis_url: str, pool: Any) -> None:
    async with client_of(redis_url) as client:
        options = Options(tenant="acme", priority=3)
        handle = await client.enqueue(ReadV2(file_id="file-1", pages=[1]), options=options)
    data = decode(await pool.get(INGEST.job(handle.id)))
    assert (data["f"], data["a"], data["k"]) == ("read", [], {"file_id": "file-1", "pages": [1]})
    assert data["m"] == {"v": 2, "tenant": "acme", "priority": 3}


async def test_a_job_that_stands_in_the_way_is_the_handle_s(redis_url: str) -> None:
    async with client_of(redis_url) as client:
        first = await client.enqueue(Read(file_id="file-1", first=1), id="ingest-mine")
        again = await client.enqueue(Read(file_id="file-1", first=2), id="ingest-mine")
        one = Options(unique=Unique(key="file-1"))
        unique = await client.enqueue(Read(file_id="file-1"), options=one)
        other = await client.enqueue(Read(file_id="file-1"), options=one)
        assert (first.id, first.answer, again.id, again.answer) == ("ingest-mine", "enqueued", "ingest-mine", "waiting")
        assert (other.id, other.answer) == (unique.id, "duplicate")
        async with serving(redis_url, read):
            assert (await again.result(timeout_s=5)).numbers == [1]


async def test_a_task_waits_until_it_is_due_can_be_cancelled_and_expires(redis_url: str, pool: Any) -> None:
    async with client_of(redis_url) as client:
        later = await client.enqueue(Read(file_id="file-1"), defer_by=timedelta(hours=1))
        then = await client.enqueue(Read(file_id="file-1"), defer_until=datetime.now(UTC) + timedelta(hours=1))
        for handle in (later, then):
            assert await handle.state() is State.DEFERRED
            due_in_s = await pool.zscore(INGEST.queue, handle.id) / 1000 - datetime.now(UTC).timestamp()
            assert 3590 < due_in_s < 3610
            assert await handle.cancel() == "cancelled"
        late = await client.enqueue(Read(file_id="file-1"), expires=0.001)
        async with serving(redis_url, read):
            assert (await letter_of(pool, late.id)).reason == "expired"


async def test_what_can_not_be_enqueued_is_refused_and_leaves_nothing(redis_url: str, pool: Any) -> None:
    class Undeclared(Task[None]):
        pass

    class Elsewhere(Task[None], queue="elsewhere", function="read"):
        pass

    task, soon = Read(file_id="file-1"), datetime.now(UTC)
    async with client_of(redis_url) as client:
        with pytest.raises(InvalidInput, match="begin it with 'ingest-'"):
            await client.enqueue(task, id="mine")
        with pytest.raises(InvalidInput, match="not both"):
            await client.enqueue(task, defer_by=1, defer_until=soon)
        with pytest.raises(InvalidInput, match="give it a time zone"):
            await client.enqueue(task, defer_until=soon.replace(tzinfo=None))
        with pytest.raises(TypeError, match="Undeclared declares no job type"):
            await client.enqueue(Undeclared())
        with pytest.raises(NotFound, match="none of the queues"):
            await client.enqueue(Elsewhere())
    assert await left(pool) == set()


async def test_a_plain_client_s_job_is_validated_before_its_handler_sees_it(redis_url: str, pool: Any) -> None:
    good = await pool.enqueue_job("read", file_id="file-1", first="7")
    bad = await pool.enqueue_job("read", first="x", password=[PASSWORD])
    async with serving(redis_url, read):
        assert await good.result(timeout=5, poll_delay=0.01) == {"numbers": [7], "at": "2026-03-01T00:00:00Z"}
        with pytest.raises(InvalidInput, match="file_id: Field required; first: Input should be a valid integer"):
            await bad.result(timeout=5, poll_delay=0.01)
        letter = await letter_of(pool, bad.job_id)
    assert (letter.reason, letter.attempts) == ("permanent", 1)
    assert "password: string_type" in letter.message
    assert PASSWORD not in letter.message + letter.traceback


async def test_the_handler_s_own_error_comes_through_the_handle(redis_url: str) -> None:
    async with client_of(redis_url) as client, serving(redis_url, read):
        handle = await client.enqueue(Read(file_id="file-1", first=-1))
        with pytest.raises(LookupError, match="no such page"):
            await handle.result(timeout_s=5)


# ── two versions, side by side ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_new_worker_runs_what_old_and_plain_clients_enqueued(redis_url: str, pool: Any) -> None:
    async with client_of(redis_url) as client:
        old = await client.enqueue(Read(file_id="file-1", first=7))
        plain = await pool.enqueue_job("read", file_id="file-1")
        async with serving(redis_url, read_v2):
            assert (await old.result(timeout_s=5)).numbers == [7, 2]
            assert (await plain.result(timeout=5, poll_delay=0.01))["numbers"] == [1, 2]


async def test_a_newer_payload_waits_for_a_worker_that_reads_it(redis_url: str, pool: Any) -> None:
    async with client_of(redis_url) as client, serving(redis_url, read) as old:
        handle = await client.enqueue(ReadV2(file_id="file-1", pages=[5]))
        await wait_until(lambda: old.jobs_retried >= 3, what="three offers")
        assert await handle.state() is State.RETRYING
        assert int(await pool.get(INGEST.retry(handle.id)) or 0) <= 1, "parking spends no attempt"
        assert (await (await client.enqueue(Read(file_id="file-1"))).result(timeout_s=5)).numbers == [1]
        async with serving(redis_url, read_v2):
            assert (await handle.result(timeout_s=5)).numbers == [5, 2]
    assert per_job(await left(pool)) == set()


async def test_a_newer_payload_that_nobody_reads_is_buried_after_a_while_and_can_be_replayed(
    redis_url: str, pool: Any
) -> None:
    async with client_of(redis_url) as client:
        handle = await client.enqueue(ReadV2(file_id="file-1", pages=[5]))
        async with serving(redis_url, read, park_s=0.2):
            letter = await letter_of(pool, handle.id)
        assert (letter.reason, letter.error_class) == ("unknown", "jobqueue.errors.UnknownFunction")
        assert "has known the function 'read' with payloads of version 2 for 0.2 s" in letter.message
        await client.dead_letters("ingest").replay(letter)
        async with serving(redis_url, read_v2):
            assert (await handle.result(timeout_s=5)).numbers == [5, 2]


@pytest.mark.parametrize("version", [0, -1, "2", True, 1.5, None, 2**60])
async def test_a_version_that_is_none_is_no_reason_for_a_worker_to_end(
    redis_url: str, pool: Any, version: object
) -> None:
    job = NewJob(function="read", kwargs={"file_id": "file-1"}, id="ingest-odd", meta={"v": version})
    await pool.enqueue(job)
    good = await pool.enqueue_job("read", file_id="file-1")
    async with serving(redis_url, read):
        assert (await letter_of(pool, "ingest-odd")).reason in {"permanent", "unreadable"}
        assert (await good.result(timeout=5, poll_delay=0.01))["numbers"] == [1]
