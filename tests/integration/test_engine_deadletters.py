"""Dead letters: listed, replayed with their history, discarded, by one person at a time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from jobqueue.broker.deadletter import DeadLetter, DeadLetters
from jobqueue.errors import Conflict, InvalidInput, NotFound, UnreadablePayload
from tests.engine_support import INGEST, left, per_job, running_worker, wait_until


class Switch:
    """A job that fails until it is mended."""

    def __init__(self) -> None:
        self.mended = False
        self.attempts: list[int] = []

    async def __call__(self, ctx: dict[str, Any], **kwargs: Any) -> str:
        self.attempts.append(ctx["job_try"])
        if not self.mended:
            raise InvalidInput(f"not yet: {kwargs}")
        return "done"


async def buried(url: str, pool: Any, switch: Switch, count: int = 1) -> list[DeadLetter]:
    async def f(ctx: dict[str, Any], **kwargs: Any) -> str:
        return await switch(ctx, **kwargs)

    async with running_worker(url, f):
        for n in range(count):
            await pool.enqueue_job("f", n=n)
        await wait_until(lambda: _count(pool, count), what="the dead letters")
    return await DeadLetters(pool, INGEST).list()


async def _count(pool: Any, count: int) -> bool:
    return bool(await pool.xlen(INGEST.own("dead")) == count)


async def finished(url: str, switch: Switch) -> None:
    async def f(ctx: dict[str, Any], **kwargs: Any) -> str:
        return await switch(ctx, **kwargs)

    async with running_worker(url, f) as worker:
        await wait_until(lambda: worker.jobs_complete + worker.jobs_failed > 0 and not worker.held)


async def test_dead_letters_are_listed_newest_first_and_found_by_job(redis_url: str, pool: Any) -> None:
    letters = DeadLetters(pool, INGEST)
    found = await buried(redis_url, pool, Switch(), 3)
    assert [letter.detail()["kwargs"]["n"] for letter in await letters.list(limit=2)] == [
        letter.detail()["kwargs"]["n"] for letter in found[:2]
    ]
    assert [letter.entry_id for letter in found] == sorted((letter.entry_id for letter in found), reverse=True)
    assert await letters.count() == 3
    assert [letter async for letter in letters.all()] == found[::-1]
    assert await letters.get(found[1].job_id) == found[1]
    with pytest.raises(NotFound):
        await letters.get("ingest-unknown")


async def test_a_replayed_job_starts_afresh_and_keeps_its_history(redis_url: str, pool: Any) -> None:
    switch = Switch()
    letters = DeadLetters(pool, INGEST)
    (first,) = await buried(redis_url, pool, switch)
    await letters.replay(first)
    assert await letters.count() == 0
    await finished(redis_url, switch)

    second = await letters.get(first.job_id)
    assert switch.attempts == [1, 1]
    assert second.attempts == 1
    (past,) = second.detail()["history"]
    assert past["error_class"] == "jobqueue.errors.InvalidInput"
    assert past["buried_at"] == first.buried_at.isoformat()

    switch.mended = True
    await letters.replay(second)
    await finished(redis_url, switch)
    assert await letters.count() == 0
    assert await pool.hlen(INGEST.own("dead:index")) == 0
    assert per_job(await left(pool)) == set()


async def test_a_discarded_letter_is_gone_with_its_index(redis_url: str, pool: Any) -> None:
    letters = DeadLetters(pool, INGEST)
    (letter,) = await buried(redis_url, pool, Switch())
    await letters.discard(letter)
    assert await letters.count() == 0
    assert await pool.hlen(INGEST.own("dead:index")) == 0
    for verb in (letters.discard, letters.replay):
        with pytest.raises(NotFound):
            await verb(letter)
    assert await pool.zcard(INGEST.queue) == 0


async def test_of_concurrent_replays_one_wins_and_the_job_runs_once(redis_url: str, pool: Any) -> None:
    switch = Switch()
    letters = DeadLetters(pool, INGEST)
    (letter,) = await buried(redis_url, pool, switch)
    switch.mended = True
    answers = await asyncio.gather(*(letters.replay(letter) for _ in range(5)), return_exceptions=True)
    assert answers.count(None) == 1
    assert all(isinstance(answer, Conflict | NotFound) for answer in answers if answer is not None)
    await finished(redis_url, switch)
    assert switch.attempts == [1, 1]


async def test_a_letter_whose_payload_nobody_can_read_can_be_seen_and_discarded(redis_url: str, pool: Any) -> None:
    await pool.set(INGEST.job("ingest-foreign"), b"\x80\x05garbage")
    await pool.zadd(INGEST.queue, {"ingest-foreign": 1})
    async with _idle(redis_url):
        await wait_until(lambda: _count(pool, 1))
    letters = DeadLetters(pool, INGEST)
    (letter,) = await letters.list()
    assert "unreadable" in letter.detail()["kwargs"]
    with pytest.raises(UnreadablePayload):
        await letters.replay(letter)
    assert await letters.count() == 1, "a replay that was refused keeps the letter"
    await letters.discard(letter)


async def test_a_letter_whose_payload_had_expired_says_so_on_replay(redis_url: str, pool: Any) -> None:
    await pool.zadd(INGEST.queue, {"ingest-gone": 1})
    async with _idle(redis_url):
        await wait_until(lambda: _count(pool, 1))
    (letter,) = await DeadLetters(pool, INGEST).list()
    assert letter.reason == "expired"
    with pytest.raises(Conflict, match="discard"):
        await DeadLetters(pool, INGEST).replay(letter)


def _idle(url: str) -> Any:
    async def f(ctx: dict[str, Any]) -> None:
        """Never called."""

    return running_worker(url, f)
