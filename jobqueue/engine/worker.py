"""The worker: arq's `Worker`, with another way to claim, hold and record jobs.

The surface is arq's, whole; the loop is ours:

- `main` connects, beats and polls until it is told to stop; it alone copes with a Redis that is away.
- `_poll_iteration` claims what is due and starts it (`jobqueue.engine.life.live` is a job's whole life).
- `close` hands back what a shutdown interrupted.
- What a job asks of its worker is one layer down, in `jobqueue.engine.host`.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from datetime import timezone as datetime_timezone
from functools import partial
from signal import Signals
from typing import Any, Final

import arq.worker
import structlog
from arq.connections import ArqRedis, RedisSettings
from arq.constants import default_queue_name, expires_extra_ms
from arq.cron import CronJob
from arq.jobs import Deserializer, Serializer
from arq.typing import SecondsTimedelta, StartupShutdown, WorkerCoroutine
from arq.worker import Function
from redis.exceptions import RedisError

from jobqueue.broker.connection import close_pool
from jobqueue.broker.remedy import refusal, remedy
from jobqueue.broker.scripts import Claim, answered
from jobqueue.engine.background import Background
from jobqueue.engine.cron import due_ticks
from jobqueue.engine.features import Features
from jobqueue.engine.host import Host
from jobqueue.engine.lease import Heart
from jobqueue.engine.life import live
from jobqueue.engine.listener import Listener
from jobqueue.engine.outcomes import Held
from jobqueue.engine.presence import Beat, arrive, leave
from jobqueue.engine.relay import Relay
from jobqueue.engine.slots import Slots
from jobqueue.engine.watchdog import watch_loop
from jobqueue.errors import ConfigError

logger = structlog.get_logger(__name__)
arq_logger = logging.getLogger("arq.worker")

_BUSY_TICK_S: Final = 0.25
_AWAY_FIRST_S: Final = 0.1
_AWAY_CAP_S: Final = 1.0
_UNWILLING_S: Final = 0.3
_ARQ_ARGUMENTS: Final = frozenset(inspect.signature(arq.worker.Worker.__init__).parameters) - {"self"}


class Worker(Host):
    """Runs the jobs of one queue.

    Takes every argument of `arq.worker.Worker`, by name and with arq's meaning; arq's command passes only names that
    stand in this signature. With no ``features`` it behaves, and leaves keys in Redis, as arq's does.

    Args:
        features: what our queues add (`Features`).
        slots: shares a process between several workers (`Slots`); None: this worker has ``max_jobs`` to itself.
    """

    def __init__(
        self,
        functions: Sequence[Function | WorkerCoroutine] = (),
        *,
        queue_name: str | None = default_queue_name,
        cron_jobs: Sequence[CronJob] | None = None,
        redis_settings: RedisSettings | None = None,
        redis_pool: ArqRedis | None = None,
        burst: bool = False,
        on_startup: StartupShutdown | None = None,
        on_shutdown: StartupShutdown | None = None,
        on_job_start: StartupShutdown | None = None,
        on_job_end: StartupShutdown | None = None,
        after_job_end: StartupShutdown | None = None,
        handle_signals: bool = True,
        job_completion_wait: int = 0,
        max_jobs: int = 10,
        job_timeout: SecondsTimedelta = 300,
        keep_result: SecondsTimedelta = 3600,
        keep_result_forever: bool = False,
        poll_delay: SecondsTimedelta = 0.5,
        queue_read_limit: int | None = None,
        max_tries: int = 5,
        health_check_interval: SecondsTimedelta = 3600,
        health_check_key: str | None = None,
        ctx: dict[Any, Any] | None = None,
        retry_jobs: bool = True,
        allow_abort_jobs: bool = False,
        max_burst_jobs: int = -1,
        job_serializer: Serializer | None = None,
        job_deserializer: Deserializer | None = None,
        expires_extra_ms: int = expires_extra_ms,
        timezone: datetime_timezone | None = None,
        log_results: bool = True,
        features: Features | None = None,
        slots: Slots | None = None,
    ) -> None:
        # Spelled out above, since arq's command drops what a worker's signature doesn't name; handed on as it came.
        super().__init__(**{name: value for name, value in locals().items() if name in _ARQ_ARGUMENTS})
        self.equip(features, slots)
        self._claims = 0
        self._crash: BaseException | None = None
        self._background = Background(self._crashed)
        self._next_abort_check = 0.0
        self._listener = Listener(self, claimable=self._claimable, take=self._take)

    # ── the loop ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def main(self) -> None:
        """Connect, then claim and run jobs until stopped (or, in burst mode, until the queue is empty)."""
        await self.connect()
        self.stopping = False
        arq_logger.info("Starting worker for %d functions: %s", len(self.functions), ", ".join(self.functions))
        if not self.keys.cluster:
            await arrive(self)
        self.ctx["redis"] = self.pool
        if self.on_startup:
            await self.on_startup(self.ctx)
        self._start_background()
        try:
            await self._work()
        except asyncio.CancelledError:
            raise  # a shutdown: the heart beats on until `close` has handed everything back
        except BaseException:
            await self._background.stop()
            raise
        await self._background.stop()

    async def _work(self) -> None:
        claim, away_s = True, _AWAY_FIRST_S
        while True:
            if (me := asyncio.current_task()) is not None and me.cancelling():
                raise asyncio.CancelledError  # before Python 3.12, asyncio.wait_for in a client may have lost it
            try:
                if claim:
                    await self._poll_iteration()
                else:
                    await self._housekeeping()
                if self.burst and await self._burst_over():
                    return
                claim = await self._wait_for_work()
                away_s = _AWAY_FIRST_S
            except (RedisError, OSError) as exc:
                if refused := refusal(exc):  # waiting doesn't mend credentials
                    raise ConfigError(f"Redis refuses this worker ({refused}): {remedy(exc)}") from exc
                if self.burst:
                    raise
                logger.warning("redis.away", queue=self.queue_name, error=repr(exc), retry_in_s=away_s)
                await asyncio.sleep(away_s)
                claim, away_s = True, min(_AWAY_CAP_S, away_s * 2)

    async def _poll_iteration(self) -> None:
        """Claim what is due, as far as there are free slots, and start it; then the regular chores."""
        if (free := self._claimable()) > 0:
            await self._claim(free)
        await self._housekeeping()

    async def _housekeeping(self) -> None:
        if self._crash is not None:
            crash, self._crash = self._crash, None
            raise crash
        if self.allow_abort_jobs:
            await self._cancel_aborted_jobs()
        await self.heart_beat()

    def _claimable(self) -> int:
        records_pile_up = len(self.held) > 5 * self.max_jobs  # Redis is slow or away
        if self.stopping or not self.allow_pick_jobs or records_pile_up:
            return 0
        # Half of the slots at a time: while one half's jobs run, Redis is at work on the next claim.
        count = min(self.slots.grant(self.queue_name), self.queue_read_limit, (self.max_jobs + 1) // 2)
        if self.burst and self.max_burst_jobs >= 0:
            count = min(count, self.max_burst_jobs - self._jobs_started())
        return count

    async def _claim(self, free: int, wanted: Sequence[str] = ()) -> None:
        self._claims += 1
        owner = f"{self.id}:{self._claims}"
        with self.slots.asking(self.queue_name, free):
            claim = await self.feed.claim(self.scripts, free, owner=owner, lease_s=self.lease_s, wanted=wanted)
        self._take(claim, asked=free, fits=len(claim.jobs))

    def _take(self, claim: Claim, *, asked: int, fits: int) -> list[Held]:
        """Start as many of the claimed jobs as fit; those left over, to be handed back."""
        held = [Held.of(job, claim.fence) for job in claim.jobs]
        started, surplus = held[:fits], held[fits:]
        self.slots.claimed(self.queue_name, asked=len(started) if surplus else asked, got=len(started))
        for job in started:
            self._start(job)
        return surplus

    def _start(self, held: Held) -> None:
        if (before := self.held.get(held.id)) is not None and not before.recording:
            self.lose(before)  # its lease ran out (a stall, an outage) and we were the next to claim it
        self.held[held.id] = held
        self.job_counter += 1
        task = asyncio.get_running_loop().create_task(live(self, held), name=f"job:{held.id}")
        self.tasks[held.id] = self.job_tasks[held.id] = task
        task.add_done_callback(lambda done: self._ended(held, done))

    def _ended(self, held: Held, task: asyncio.Task[None]) -> None:
        self.free_slot(held)
        # A job cut off between its function and its record stays held, for `close` to hand back.
        if self.held.get(held.id) is held and (held.recording or held.stop == "lost"):
            del self.held[held.id]
        if self.tasks.get(held.id) is task:
            del self.tasks[held.id]
            self.job_tasks.pop(held.id, None)
        self.aborting_tasks.discard(held.id)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._crashed(error)
        if self.burst:
            self.feed.wake.ring()

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """Claim these jobs, as far as they are due and free, and start them."""
        if (free := min(self.slots.grant(self.queue_name), len(job_ids))) > 0:
            await self._claim(free, [job_id.decode() for job_id in job_ids])

    async def _wait_for_work(self) -> bool:
        """Sleep until a claim may be worth while (True), or the chores are due (False)."""
        tick_s = max(self.poll_delay_s, 0.005) if self.burst else _BUSY_TICK_S
        idle = self._claimable() > 0
        return await self.feed.wait(self.pool, idle=idle, tick_s=min(tick_s, _BUSY_TICK_S), blocking=not self.burst)

    async def _burst_over(self) -> bool:
        enough = 0 <= self.max_burst_jobs <= self._jobs_started()
        over = enough or not await self.pool.zcard(self.keys.queue)
        if over:
            await asyncio.gather(*self.tasks.values())
        return over

    def _jobs_started(self) -> int:
        running = sum(held.slot for held in self.held.values())
        return self.jobs_complete + self.jobs_retried + self.jobs_failed + running

    # ── chores ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _cancel_aborted_jobs(self) -> None:
        """Cancel running jobs whose ids stand in the abort set."""
        now = time.monotonic()
        if not self.job_tasks or (self.features and now < self._next_abort_check):
            return
        self._next_abort_check = now + _BUSY_TICK_S
        running = list(self.job_tasks)
        asked = await answered(self.pool.zmscore(self.keys.abort, running))
        for job_id in [job_id for job_id, score in zip(running, asked, strict=True) if score is not None]:
            held, task = self.held.get(job_id), self.job_tasks.get(job_id)
            if held is not None and task is not None and held.stop is None and held.slot:
                held.stop = "abort"
                self.aborting_tasks.add(job_id)
                task.cancel()

    async def run_cron(self, n: Any, delay: float, num_windows: int = 2) -> None:
        """Enqueue the cron ticks of the coming second; a tick is enqueued once, however many workers there are."""
        if self.features is None:
            await super().run_cron(n, delay, num_windows)
        elif specs := due_ticks(self.cron_jobs, n, timedelta(seconds=delay * num_windows)):
            await self.scripts.enqueue(specs)

    async def record_health(self) -> None:
        """Arq's sentinel; with features it is the heart that writes it, for as long as the process is well."""
        if self.features is None:
            await super().record_health()

    def _start_background(self) -> None:
        also: Callable[[], Coroutine[Any, Any, None]] | None = None
        jobs: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {}
        if self.features is not None:
            self.relay = Relay(self.pool, self.keys, on_ended=self.features.on_flow_ended)
            also = Beat(self)
            jobs["relay"] = self.relay.run
            jobs["wake"] = self._listener.run
            jobs["watchdog"] = partial(watch_loop, self.held, lease_s=self.lease_s)
        heart = Heart(self.scripts, self.held, lease_s=self.lease_s, lose=self.lose, also=also)
        jobs["heart"] = heart.beat_forever
        self._background.start({f"{self.queue_name}:{name}": job for name, job in jobs.items()})

    def _crashed(self, error: BaseException) -> None:
        """A hook of the user's, or a background task, has failed: `main` raises it on."""
        self._crash = error
        self.feed.wake.ring()

    # ── stopping ─────────────────────────────────────────────────────────────────────────────────────────────────

    def handle_sig(self, signum: Signals) -> None:
        """Stop now: running jobs are cancelled and go back to the queue."""
        self.stopping = True
        super().handle_sig(signum)

    def handle_sig_wait_for_completion(self, signum: Signals) -> None:
        """Claim nothing more, give running jobs ``job_completion_wait`` seconds, then stop; a second signal: now."""
        if self.stopping:
            self.handle_sig(signum)
            return
        self.stopping = True
        super().handle_sig_wait_for_completion(signum)

    async def close(self) -> None:
        """Hand interrupted jobs back, commit every outcome, run ``on_shutdown``, release the pool."""
        if not self._handle_signals and not self.stopping:
            self.handle_sig(Signals.SIGUSR1)
        if self._pool is None:
            return
        if self.features is None:
            await asyncio.gather(*self.tasks.values(), return_exceptions=True)
            await self._background.stop()
            await self.pool.delete(self.health_check_key)
        else:
            await self._hand_back()
            await self._background.stop()
            await leave(self)
        if self.on_shutdown:
            await self.on_shutdown(self.ctx)
        await close_pool(self.pool)
        self._pool = None
        self.__dict__.pop("recorder", None)  # arq's --watch runs a closed worker again

    async def _hand_back(self) -> None:
        """Wait for cancelled jobs; return those that don't heed it on their behalf, without an attempt spent."""
        cut_off = [await self._listener.stop()]
        with contextlib.suppress(RedisError, OSError):  # what a claim took that the shutdown cut off from its answer
            cut_off.append(await self.feed.recall(self.scripts, lease_s=self.lease_s))
        self.held |= {job.id: Held.of(job, claim.fence) for claim in cut_off if claim for job in claim.jobs}
        if self.tasks:
            await asyncio.wait(self.tasks.values(), timeout=_UNWILLING_S)
        unwilling = [held for held in self.held.values() if not held.recording]
        for held in unwilling:
            held.stop, held.recording = "lost", True
            if held.started_ms:
                logger.warning("job.unwilling", job_id=held.id, function=held.function)
        with contextlib.suppress(TimeoutError):  # Redis is away: their leases will run out by themselves
            async with asyncio.timeout(self.lease_s):
                await self.hand_back(unwilling, "shutdown")
                await self.recorder.settled()
