"""The claim, against a real Redis: what it takes, what it leaves alone, and what it leaves behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from arq.jobs import Job
from arq.utils import timestamp_ms

from jobqueue.broker.scripts import ClaimedJob, Scripts
from jobqueue.client import NewJob
from jobqueue.job import decode
from tests.engine_support import INGEST, calls, running_worker, wait_until

LEASE_MS = 10_000


def scripts(pool: Any) -> Scripts:
    return Scripts(pool, INGEST)


async def enqueued(pool: Any, count: int) -> list[str]:
    return [job_id for job_id, *_ in await pool.enqueue_many([NewJob(function="f")] * count)]


async def test_one_claim_takes_as_many_due_jobs_as_there_are_free_slots(pool: Any) -> None:
    ids = await enqueued(pool, 5)
    first = await scripts(pool).claim(3, lease_ms=LEASE_MS, worker="w1")
    second = await scripts(pool).claim(3, lease_ms=LEASE_MS, worker="w2")
    assert len(first.jobs) == 3
    assert sorted(job.id for job in first.jobs + second.jobs) == sorted(ids)
    assert all(job.attempt == 1 for job in first.jobs + second.jobs)


async def test_two_claims_never_carry_the_same_token(pool: Any) -> None:
    await enqueued(pool, 2)
    first = await scripts(pool).claim(1, lease_ms=LEASE_MS, worker="w")
    second = await scripts(pool).claim(1, lease_ms=LEASE_MS, worker="w")
    assert first.fence < second.fence
    assert first.jobs[0].token != second.jobs[0].token


async def test_a_claimed_job_is_neither_due_nor_at_the_head_of_the_queue(pool: Any) -> None:
    (job_id,) = await enqueued(pool, 1)
    claim = await scripts(pool).claim(1, lease_ms=LEASE_MS, worker="w")
    score = await pool.zscore(INGEST.queue, job_id)
    lease_ms = await pool.pttl(INGEST.in_progress(job_id))
    assert score == pytest.approx(claim.now_ms + LEASE_MS)
    assert 0 < lease_ms <= LEASE_MS


async def test_a_living_lease_is_respected_even_when_the_job_looks_due(pool: Any) -> None:
    """A plain arq client's abort() moves the score of a job that it believes to be deferred."""
    (job_id,) = await enqueued(pool, 1)
    claim = await scripts(pool).claim(1, lease_ms=LEASE_MS, worker="w1")
    job = Job(job_id, pool, _queue_name=INGEST.queue, _deserializer=decode)
    with pytest.raises(TimeoutError):
        await job.abort(timeout=0.01, poll_delay=0.01)
    assert await pool.zscore(INGEST.queue, job_id) == 1

    again = await scripts(pool).claim(1, lease_ms=LEASE_MS, worker="w2")

    assert again.jobs == []
    assert await pool.get(INGEST.in_progress(job_id)) == claim.jobs[0].token.encode()
    alarm = await pool.zscore(INGEST.queue, job_id)
    assert alarm == pytest.approx(timestamp_ms() + await pool.pttl(INGEST.in_progress(job_id)), abs=50)


async def test_jobs_of_plain_arq_workers_are_paged_past_however_many_there_are(pool: Any) -> None:
    foreign = [f"ingest-foreign{n}" for n in range(30)]
    for n, job_id in enumerate(foreign):
        await pool.zadd(INGEST.queue, {job_id: 1000 + n})
        await pool.set(INGEST.in_progress(job_id), "1", px=60_000)
    (ours,) = await enqueued(pool, 1)

    offset, looks = 0, 0
    got: list[ClaimedJob] = []
    while not got:
        claim = await scripts(pool).claim(1, lease_ms=LEASE_MS, worker="w", offset=offset)
        got, offset, looks = claim.jobs, claim.offset, looks + 1
        assert looks <= 8, "31 ids, 4 examined at a time"

    assert [job.id for job in got] == [ours]
    scores = dict(await pool.zrange(INGEST.queue, 0, -1, withscores=True))
    assert [scores[job_id.encode()] for job_id in foreign] == [1000 + n for n in range(30)]
    assert {await pool.get(INGEST.in_progress(job_id)) for job_id in foreign} == {b"1"}


async def test_a_worker_reaches_its_job_behind_those_of_plain_arq_workers(redis_url: str, pool: Any) -> None:
    for n in range(50):
        await pool.zadd(INGEST.queue, {f"ingest-foreign{n}": 1000 + n})
        await pool.set(INGEST.in_progress(f"ingest-foreign{n}"), "1", px=60_000)
    ran = asyncio.Event()

    async def f(ctx: object) -> None:
        ran.set()

    await enqueued(pool, 1)
    async with running_worker(redis_url, f, max_jobs=2):
        await wait_until(ran.is_set, within_s=2, what="the job behind fifty foreign ones")


async def test_one_claim_examines_at_most_four_ids_a_free_slot(pool: Any) -> None:
    for n in range(1000):
        await pool.zadd(INGEST.queue, {f"ingest-foreign{n}": 1000 + n})
        await pool.set(INGEST.in_progress(f"ingest-foreign{n}"), "1", px=60_000)
    before = await calls(pool, "set")
    await scripts(pool).claim(5, lease_ms=LEASE_MS, worker="w")
    assert await calls(pool, "set") - before == 20


async def test_a_claimed_payload_no_longer_expires(pool: Any) -> None:
    """A plain client's payload lives for a day past its due time; a retry after that must still find it."""
    (job_id,) = await enqueued(pool, 1)
    await pool.pexpire(INGEST.job(job_id), 60_000)
    (job,) = (await scripts(pool).claim(1, lease_ms=LEASE_MS, worker="w")).jobs
    assert job.payload == await pool.get(INGEST.job(job_id))
    assert await pool.pttl(INGEST.job(job_id)) == -1


async def test_a_deferred_job_is_left_alone_and_told_as_the_next_one_due(pool: Any) -> None:
    await pool.enqueue_job("f", _defer_by=60)
    claim = await scripts(pool).claim(1, lease_ms=LEASE_MS, worker="w")
    assert claim.jobs == []
    assert claim.next_due_ms == pytest.approx(claim.now_ms + 60_000, abs=1000)


async def test_an_empty_claim_writes_nothing(pool: Any) -> None:
    await scripts(pool).claim(5, lease_ms=LEASE_MS, worker="w")
    assert await pool.dbsize() == 0


async def test_a_bare_claim_leaves_only_keys_that_arq_has(pool: Any) -> None:
    (job_id,) = await enqueued(pool, 1)
    await pool.delete(INGEST.own("wake"))
    await Scripts(pool, INGEST, bare=True).claim(1, lease_ms=LEASE_MS, worker="w")
    assert {key.decode() async for key in pool.scan_iter()} == {
        INGEST.queue, INGEST.job(job_id), INGEST.in_progress(job_id), INGEST.retry(job_id),
    }  # fmt: skip


async def test_only_the_wanted_jobs_are_claimed_when_some_are_named(pool: Any) -> None:
    ids = await enqueued(pool, 3)
    claim = await scripts(pool).claim(3, lease_ms=LEASE_MS, worker="w", wanted=[ids[1], "ingest-unknown"])
    assert [job.id for job in claim.jobs] == [ids[1]]
