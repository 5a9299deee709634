"""What a job's life asks of the worker that runs it: the layer between arq's `Worker` and ours."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Iterable
from typing import Any, cast

import arq.worker
from arq.connections import create_pool
from arq.cron import CronJob
from arq.worker import Function
from redis.exceptions import RedisError

from jobqueue.broker.keys import QueueKeys
from jobqueue.broker.scripts import Scripts
from jobqueue.engine.cooldowns import Cooldowns
from jobqueue.engine.features import Features, worker_id
from jobqueue.engine.feed import Feed
from jobqueue.engine.joblog import ArqLog, EventLog, JobLog
from jobqueue.engine.lease import LEASE_S
from jobqueue.engine.outcomes import Buried, Cancelled, Held, Lost, Outcome, Retrying, Returned, Succeeded, record_of
from jobqueue.engine.record import Recorder
from jobqueue.engine.relay import Relay
from jobqueue.engine.router import Rules, read_rules
from jobqueue.engine.slots import Slots


class Host(arq.worker.Worker):
    """A worker as its jobs see it. `equip` completes what arq's ``__init__`` leaves."""

    features: Features | None

    def equip(self, features: Features | None, slots: Slots | None) -> None:
        """Set up what arq's worker doesn't have."""
        self.features = features
        self.id = worker_id(features.worker_name if features else None)
        self.lease_s = features.lease_s if features else LEASE_S
        self.keys = QueueKeys(self.queue_name, cluster=bool(features and features.cluster))
        self.held: dict[str, Held] = {}
        self.stopping = False
        self.feed = Feed(self.keys, follow=self.follow_rules)
        self.slots = slots or Slots(self.max_jobs, {self.queue_name: (1.0, self.max_jobs)})
        self.slots.on_free(self.queue_name, self.feed.wake.ring)
        self.log: JobLog = EventLog(self.queue_name) if features else ArqLog(log_results=self.log_results)
        self.cooldowns = Cooldowns(features, self.keys) if features else None
        self.relay: Relay | None = None
        self.rules = Rules()
        self._keep_ms: dict[str, int | None] = {}

    @property
    def scripts(self) -> Scripts:
        """The scripts of this worker's queue, over its current pool."""
        return Scripts(cast("Any", self.pool), self.keys, bare=self.features is None)

    @functools.cached_property
    def recorder(self) -> Recorder:
        """The group commit of this worker's outcomes."""
        return Recorder(self.scripts)

    async def connect(self) -> None:
        """Open the pool, unless there is one."""
        if self._pool is None and self.features and self.features.connect:
            self._pool = await self.features.connect()
        elif self._pool is None:
            self._pool = await create_pool(
                self.redis_settings,
                job_deserializer=self.job_deserializer,
                job_serializer=self.job_serializer,
                default_queue_name=self.queue_name,
                expires_extra_ms=self.expires_extra_ms,
            )

    async def follow_rules(self, number: int) -> None:
        """Learn the queue's rules when a claim tells of another number than ours (-1: it tells of none)."""
        if number in {-1, self.rules.number}:
            return
        with contextlib.suppress(RedisError, OSError):  # the next claim tells again; what was claimed has to start
            self.rules = await read_rules(self.pool, self.keys)

    def max_attempts(self, function: Function | CronJob) -> int:
        """Attempts in all that a function gets."""
        return self.max_tries if function.max_tries is None else function.max_tries

    def keep_result_ms(self, name: str) -> int | None:
        """How long a function's result is kept: None when it isn't, 0 for ever (as ``record.lua`` has it)."""
        if name in self._keep_ms:
            return self._keep_ms[name]
        function = self.functions.get(name)
        forever = function.keep_result_forever if function else None
        keep_s = function.keep_result_s if function else None
        keep_ms = int((self.keep_result_s if keep_s is None else keep_s) * 1000) or None
        if self.keep_result_forever if forever is None else forever:
            keep_ms = 0
        if function is not None:  # names of no function come from outside: they mustn't pile up here
            self._keep_ms[name] = keep_ms
        return keep_ms

    def count(self, outcome: Outcome) -> None:
        """Arq's three counters."""
        match outcome:
            case Succeeded():
                self.jobs_complete += 1
            case Buried() | Cancelled():
                self.jobs_failed += 1
            case Retrying() | Returned():
                self.jobs_retried += 1
            case Lost():
                pass

    async def hand_back(self, jobs: Iterable[Held], why: str) -> None:
        """Put jobs back where they were, without an attempt spent."""
        ops = [record_of(held, Returned(why), queue=self.queue_name, result=None, ttl_ms=0) for held in jobs]
        await asyncio.gather(*(self.recorder.record(op) for op in ops))

    def free_slot(self, held: Held) -> None:
        """The job's function has ended: another may be claimed while this one's record is under way."""
        if held.slot:
            held.slot = False
            self.job_counter -= 1
            self.slots.release(self.queue_name)
            if self.feed.more or self.burst:
                self.feed.wake.ring()

    def lose(self, held: Held) -> None:
        """Cancel a job whose lease is no longer ours."""
        held.stop = "lost"
        if (task := self.job_tasks.get(held.id)) is not None:
            task.cancel()
