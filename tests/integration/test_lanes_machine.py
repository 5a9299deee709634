"""Lanes under any sequence of operations: no job is lost in one, and none waits that every limit would let go."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test

from jobqueue.broker.control import QueueControl
from jobqueue.broker.keys import HELD
from jobqueue.broker.options import SEPARATOR, Options, lane_of
from jobqueue.broker.scripts import ClaimedJob, EnqueueSpec
from jobqueue.job import encode, payload
from jobqueue.limits import Limit
from tests.engine_support import INGEST
from tests.integration.machine_support import RedisMachine

SCOPES: Final = ("queue", "type:f", "type:g", "tenant:a", "tenant:b", "provider:p")
OPTIONS: Final = st.builds(
    Options,
    tenant=st.sampled_from([None, "a", "b"]),
    priority=st.sampled_from([0, 0, 5]),
    keys=st.sampled_from([{}, {"provider": "p"}]),
)


@dataclass(slots=True)
class Job:
    """A job as the model has it."""

    scopes: frozenset[str]
    token: str | None = None


class Lanes(RedisMachine):
    """A worker, a client and an operator, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.control = QueueControl(self.redis, INGEST, cancel=self.never)
        self.jobs: dict[str, Job] = {}
        self.running: dict[str, ClaimedJob] = {}
        self.limits: dict[str, int] = {}
        self.paused: set[str] = set()
        self.number = 0

    @staticmethod
    async def never(job_id: str) -> str:
        raise AssertionError(job_id)

    # ── the model ────────────────────────────────────────────────────────────────────────────────────────────────

    def used(self) -> Counter[str]:
        return Counter(scope for job_id in self.running for scope in self.jobs[job_id].scopes)

    def full(self, scope: str, used: Counter[str]) -> bool:
        return scope in self.paused or used[scope] >= self.limits.get(scope, 1_000)

    # ── the client and the operator ──────────────────────────────────────────────────────────────────────────────

    @rule(function=st.sampled_from(["f", "g"]), options=OPTIONS, count=st.integers(1, 3))
    def enqueue(self, function: str, options: Options, count: int) -> None:
        specs = []
        for _ in range(count):
            self.number += 1
            data = payload(function, (), {}, enqueued_ms=1, meta=options.meta())
            lane = lane_of(function, options.meta())
            specs.append(EnqueueSpec(f"ingest-{self.number}", encode(data), lane=lane))
            tenant, _, *keys = lane.name.split(SEPARATOR)
            # Without a lane of its own and without rules, a job counts for the queue alone.
            laned = lane.needed or self.await_(self.redis.exists(INGEST.own("rules")))
            scopes = {"queue", *([f"type:{function}", *keys] if laned else [])} | (
                {f"tenant:{tenant}"} if tenant else set()
            )
            self.jobs[specs[-1].id] = Job(frozenset(scopes))
        assert {answer for _, answer, _ in self.await_(self.scripts.enqueue(specs))} == {"enqueued"}

    @rule(scope=st.sampled_from(SCOPES), concurrency=st.integers(0, 3))
    def limit(self, scope: str, concurrency: int) -> None:
        self.await_(self.control.limit(scope, Limit(concurrency=concurrency)))
        self.limits[scope] = concurrency

    @precondition(lambda self: self.limits)
    @rule(data=st.data())
    def unlimit(self, data: st.DataObject) -> None:
        scope = data.draw(st.sampled_from(sorted(self.limits)))
        self.await_(self.control.unlimit(scope))
        del self.limits[scope]
        self.paused.discard(scope)

    @rule(scope=st.sampled_from(SCOPES))
    def pause(self, scope: str) -> None:
        self.await_(self.control.pause(scope))
        self.paused.add(scope)

    @precondition(lambda self: self.paused)
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        scope = data.draw(st.sampled_from(sorted(self.paused)))
        self.await_(self.control.resume(scope))
        self.paused.discard(scope)

    @precondition(lambda self: len(self.running) < len(self.jobs))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.jobs.keys() - self.running.keys())))
        assert self.await_(self.scripts.cancel(job_id, result=b"", keep_ms=0, count="f:cancelled")) == "cancelled"
        del self.jobs[job_id]

    # ── the worker ───────────────────────────────────────────────────────────────────────────────────────────────

    @rule(free=st.sampled_from([1, 2, 5, 100]))
    def claim(self, free: int) -> None:
        before = set(self.running)
        used = self.used()
        claim = self.await_(self.scripts.claim(free, lease_ms=600_000, worker="w"))
        for job in claim.jobs:
            assert job.id not in before
            assert not any(self.full(scope, used) for scope in self.jobs[job.id].scopes), job
            used.update(self.jobs[job.id].scopes)
            self.running[job.id] = job
        assert used == self.used()
        if len(claim.jobs) < free and claim.again_ms is None and claim.offset == 0:
            for job_id in self.jobs.keys() - self.running.keys():
                assert any(self.full(scope, used) for scope in self.jobs[job_id].scopes), f"{job_id} could have run"

    @precondition(lambda self: self.running)
    @rule(data=st.data(), how=st.sampled_from(["finish", "retry", "die"]))
    def end(self, data: st.DataObject, how: str) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.running)))
        job = self.running.pop(job_id)
        if how == "die":  # its lease runs out
            self.await_(self.redis.delete(INGEST.in_progress(job_id)))
            self.await_(self.redis.zadd(INGEST.queue, {job_id: 1}))
            return
        op = {"finish": True} if how == "finish" else {"delay": 0}
        ops = [{"id": job.id, "token": job.token, "attempt": job.attempt} | op]
        assert self.await_(self.scripts.record(ops)) == set()
        if how == "finish":
            del self.jobs[job_id]

    # ── what always holds ────────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def every_waiting_job_is_in_its_lane_and_every_lane_in_one_place(self) -> None:
        own = INGEST.own
        held = {job_id.decode() for job_id in self.await_(self.redis.zrangebyscore(INGEST.queue, HELD, "+inf"))}
        lanes: dict[str, set[str]] = {}
        places: Counter[str] = Counter()
        for key in self.await_(self.redis.keys(own("*"))):
            name = key.decode().removeprefix(own(""))
            kind, colon, rest = name.partition(":")
            if kind not in {"lane", "lanes", "blocked"} or not colon:
                continue
            members = {member.decode() for member in self.await_(self.redis.zrange(key, 0, -1))}
            if kind == "lane":
                lanes[rest] = members
            else:
                places.update(members)
            if kind == "lanes":
                assert self.await_(self.redis.zscore(own("tenants"), rest)) is not None
            if kind == "blocked":
                assert self.await_(self.redis.sismember(own("blocked"), rest))
        assert places == Counter(lanes.keys())
        assert held == set().union(*lanes.values())
        assert self.await_(self.redis.zcard(INGEST.queue)) == len(self.jobs)


def test_lanes_agree_with_a_model_whatever_happens(redis_url: str) -> None:
    Lanes.url = redis_url
    run_state_machine_as_test(Lanes, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))
