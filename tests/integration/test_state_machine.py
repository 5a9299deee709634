"""The scripts of a job's life against a model, on a real Redis: they agree, whatever two workers and a client do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test

from jobqueue.broker.deadletter import DeadLetters
from jobqueue.broker.scripts import EnqueueSpec
from jobqueue.broker.storedflow import step_entry
from jobqueue.engine.outcomes import Buried, Cancelled, Held, Outcome, Retrying, Returned, Succeeded, record_of
from jobqueue.errors import Conflict, NotFound
from jobqueue.flows import StepState
from jobqueue.job import encode, payload
from tests.engine_support import INGEST
from tests.integration.machine_support import RedisMachine

LEASE_MS: Final = 600_000
IDS: Final = st.sampled_from([f"ingest-{n}" for n in range(4)])
WORKERS: Final = st.sampled_from(["w0", "w1"])
OUTCOMES: Final[dict[str, Outcome]] = {
    "succeed": Succeeded("done"),
    "retry": Retrying(0.0, OSError("again")),
    "bury": Buried(ValueError("no"), "permanent"),
    "cancel": Cancelled(asyncio.CancelledError()),
    "return": Returned("shutdown"),
}
FINISHED: Final = {"succeed": "succeeded", "bury": "failed", "cancel": "cancelled"}


@dataclass(slots=True)
class Job:
    """A job as the model has it. ``token`` is None while nobody's lease on it lives."""

    attempts: int = 0
    token: str | None = None


@dataclass(slots=True)
class Model:
    """All there is to know of the queue."""

    jobs: dict[str, Job] = field(default_factory=dict)
    results: set[str] = field(default_factory=set)
    dead: set[str] = field(default_factory=set)
    once: set[str] = field(default_factory=set)
    aborting: set[str] = field(default_factory=set)
    outbox: int = 0
    recorded: dict[str, int] = field(default_factory=dict)

    def owns(self, held: Held) -> bool:
        """Whether a worker may still record, or renew, what it claimed once."""
        job = self.jobs.get(held.id)
        return job is not None and (job.token == held.token or (job.token is None and job.attempts == held.claimed))

    def finish(self, job_id: str, how: str) -> None:
        del self.jobs[job_id]
        self.results.add(job_id)
        self.aborting.discard(job_id)
        self.outbox += 1
        self.recorded[how] = self.recorded.get(how, 0) + 1


class Life(RedisMachine):
    """Two workers and a client, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.letters = DeadLetters(self.redis, INGEST)
        self.model = Model()
        self.claims: list[Held] = []

    # ── the client ───────────────────────────────────────────────────────────────────────────────────────────────

    @rule(job_id=IDS, once=st.booleans())
    def enqueue(self, job_id: str, once: bool) -> None:
        model = self.model
        data = encode(payload("f", (), {}, enqueued_ms=1, meta=meta_of(job_id)))
        ((_, answer, _),) = self.await_(self.scripts.enqueue([EnqueueSpec(job_id, data, once=once)]))
        if job_id in model.jobs:
            expected = "waiting"
        elif job_id in model.results:
            expected = "finished"
        elif once and job_id in model.once:
            expected = "once"
        else:
            expected = "enqueued"
            model.jobs[job_id] = Job()
            model.once |= {job_id} if once else set()
        assert answer == expected

    @rule(job_id=IDS)
    def cancel(self, job_id: str) -> None:
        model, job = self.model, self.model.jobs.get(job_id)
        entry = step_entry(meta_of(job_id), StepState.CANCELLED, "")
        answer = self.await_(
            self.scripts.cancel(job_id, result=b"cancelled", keep_ms=60_000, count="f:cancelled", outbox=entry)
        )
        if job is None:
            expected = "finished" if job_id in model.results else "unknown"
        elif job.token is not None:
            expected = "cancelling"
            model.aborting.add(job_id)
        else:
            expected = "cancelled"
            model.finish(job_id, "cancelled")
        assert answer == expected

    @rule(job_id=IDS)
    def forget_the_result(self, job_id: str) -> None:
        self.await_(self.redis.delete(INGEST.result(job_id)))
        self.model.results.discard(job_id)

    @precondition(lambda self: self.model.dead)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.model.dead)))
        letter = self.await_(self.letters.get(job_id))
        if job_id in self.model.jobs:
            assert raised(self, self.letters.replay(letter), Conflict)
            return
        self.await_(self.letters.replay(letter))
        assert raised(self, self.letters.replay(letter), Conflict), "such a job waits by now"
        self.model.dead.discard(job_id)
        self.model.results.discard(job_id)
        self.model.jobs[job_id] = Job()

    @precondition(lambda self: self.model.dead)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.model.dead)))
        letter = self.await_(self.letters.get(job_id))
        self.await_(self.letters.discard(letter))
        assert raised(self, self.letters.discard(letter), NotFound)
        self.model.dead.discard(job_id)

    # ── the workers ──────────────────────────────────────────────────────────────────────────────────────────────

    @rule(worker=WORKERS, free=st.integers(1, 3))
    def claim(self, worker: str, free: int) -> None:
        model = self.model
        waiting = {job_id for job_id, job in model.jobs.items() if job.token is None}
        claim = self.await_(self.scripts.claim(free, lease_ms=LEASE_MS, worker=worker))
        assert {job.id for job in claim.jobs} <= waiting
        assert len(claim.jobs) == min(free, len(waiting))
        for claimed in claim.jobs:
            job = model.jobs[claimed.id]
            job.attempts += 1
            job.token = claimed.token
            assert claimed.attempt == job.attempts
            assert claimed.aborted == (claimed.id in model.aborting)
            held = Held.of(claimed, claim.fence)
            held.function, held.meta, held.started_ms, held.finished_ms = "f", meta_of(claimed.id), 1, 2
            self.claims.append(held)
        fences = [held.fence for held in self.claims]
        assert fences == sorted(fences)

    @rule(worker=WORKERS)
    def recall(self, worker: str) -> None:
        """Every answer to this worker's claims was lost."""
        told = self.await_(self.scripts.recall(lease_ms=LEASE_MS, worker=worker))
        mine = {
            (job_id, job.token, job.attempts, job_id in self.model.aborting)
            for job_id, job in self.model.jobs.items()
            if job.token is not None and job.token.startswith(f"{worker}:")
        }
        assert {(job.id, job.token, job.attempt, job.aborted) for job in told.jobs} == mine

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        """The heartbeat of somebody who believes to hold these."""
        held = data.draw(st.lists(st.sampled_from(self.claims), min_size=1, max_size=3, unique_by=lambda h: h.id))
        lost = self.await_(self.scripts.extend([(h.id, h.token, h.claimed) for h in held], lease_ms=LEASE_MS))
        assert lost == {h.id for h in held if not self.model.owns(h)}
        for h in held:
            if h.id not in lost:
                self.model.jobs[h.id].token = h.token

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), how=st.sampled_from(sorted(OUTCOMES)))
    def record(self, data: st.DataObject, how: str) -> None:
        """The end of an attempt, by somebody who believes to hold the job; often long after it was lost."""
        held = data.draw(st.sampled_from(self.claims))
        result = b"result" if how in FINISHED else None
        op = record_of(held, OUTCOMES[how], queue=INGEST.name, result=result, ttl_ms=60_000)
        refused = self.await_(self.scripts.record([op]))
        assert refused == (set() if self.model.owns(held) else {held.id})
        if refused:
            return
        if how in FINISHED:
            self.model.finish(held.id, FINISHED[how])
            self.model.dead |= {held.id} if how == "bury" else set()
            return
        job = self.model.jobs[held.id]
        job.token = None
        job.attempts -= how == "return"

    @rule(job_id=IDS)
    def let_the_lease_run_out(self, job_id: str) -> None:
        if (job := self.model.jobs.get(job_id)) is not None and job.token is not None:
            self.await_(self.redis.delete(INGEST.in_progress(job_id)))
            self.await_(self.redis.zadd(INGEST.queue, {job_id: 1}, xx=True))
            job.token = None

    # ── what must hold after each of these ───────────────────────────────────────────────────────────────────────

    @invariant()
    def redis_is_as_the_model_says(self) -> None:
        self.await_(self._compare())

    async def _compare(self) -> None:
        model, redis = self.model, self.redis
        assert {i.decode() for i in await redis.zrange(INGEST.queue, 0, -1)} == set(model.jobs)
        for n in range(4):
            job_id = f"ingest-{n}"
            job = model.jobs.get(job_id)
            token = await redis.get(INGEST.in_progress(job_id))
            assert bool(await redis.exists(INGEST.job(job_id))) == (job is not None)
            assert (token and token.decode()) == (job and job.token)
            assert int(await redis.get(INGEST.retry(job_id)) or 0) == (job.attempts if job else 0)
            assert bool(await redis.exists(INGEST.result(job_id))) == (job_id in model.results)
            assert bool(await redis.exists(INGEST.once(job_id))) == (job_id in model.once)
            if job is None:
                assert not await redis.exists(INGEST.retry(job_id), INGEST.error(job_id))
            elif job.token is not None:
                assert await redis.zscore(INGEST.queue, job_id) > 1, "a leased job isn't due"
        assert {i.decode() for i in await redis.zrange(INGEST.abort, 0, -1)} == model.aborting
        assert {i.decode() for i in await redis.hkeys(INGEST.own("dead:index"))} == model.dead
        assert await redis.xlen(INGEST.own("dead")) == len(model.dead)
        assert await redis.xlen(INGEST.own("outbox")) == model.outbox
        counted = {k.decode(): int(v) for k, v in (await redis.hgetall(INGEST.own("counters"))).items()}
        assert {k: v for k, v in counted.items() if k != "f:retried"} == {
            f"f:{how}": n for how, n in model.recorded.items()
        }


def meta_of(job_id: str) -> dict[str, Any]:
    """Every job is a step of a flow, so that each end leaves an outbox entry."""
    return {"flow": "task-1", "step": job_id}


def raised(machine: Life, awaitable: Awaitable[object], kind: type[Exception]) -> bool:
    """Whether this raises an error of that kind."""
    try:
        machine.await_(awaitable)
    except kind:
        return True
    return False


def test_whatever_two_workers_and_a_client_do_redis_agrees_with_the_model(redis_url: str) -> None:
    machine = type("LifeHere", (Life,), {"url": redis_url})
    run_state_machine_as_test(machine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))
