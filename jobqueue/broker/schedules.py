"""The verbs for schedules: create, list, update, pause, resume, run now, delete; and what the scheduler does with them.

    await client.schedules.create("nightly", Schedule(cron="30 4 * * *", queue="ocr", job="ocr_document"))

Names are scoped: the operator's and the configuration's stand as they are, a tenant's begin with its id and a dot. What
`Schedules.of` gives sees and changes those of one tenant alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from jobqueue.broker.keys import QueueKeys, queue_name
from jobqueue.broker.options import lane_of
from jobqueue.broker.remedy import ask
from jobqueue.broker.schedulestore import NowMs, ScheduleStore, Stored, to_ms
from jobqueue.broker.scripts import EnqueueSpec, Scripts
from jobqueue.errors import Conflict, InvalidInput, NotFound, UnreadablePayload
from jobqueue.job import encode, new_id, payload
from jobqueue.queues import Queue, check_job
from jobqueue.scheduling import NAME, Schedule, ScheduleView, checked, jitter

_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class Schedules:
    """Schedules of one Redis; implements `jobqueue.ports.ScheduleBook`.

    Every verb raises `Unavailable` when Redis doesn't answer.

    Args:
        pool: as `jobqueue.client.create_pool` gives.
        queues: those of ``queues.toml``, or only their short names: then job types can't be checked.
        tenant_id: whose schedules; None: the operator's, who sees everybody's.
        now_ms: the time, in ms since the epoch; None: Redis's.
    """

    def __init__(
        self,
        pool: Any,
        queues: Mapping[str, Queue | None] | Iterable[str],
        *,
        tenant_id: str | None = None,
        now_ms: NowMs | None = None,
    ) -> None:
        self._pool = pool
        self._queues: Mapping[str, Queue | None] = queues if isinstance(queues, Mapping) else dict.fromkeys(queues)
        self._tenant_id = tenant_id
        self._prefix = f"{tenant_id}." if tenant_id else ""
        self._now_ms = now_ms
        self.store = ScheduleStore(pool, now_ms=now_ms)

    def of(self, tenant_id: str) -> Schedules:
        """The same verbs for one tenant: its names, its jobs' ``tenant_id``, and only job types open to tenants.

        Raises:
            InvalidInput: no tenant can be called so.
        """
        if not _TENANT.fullmatch(tenant_id):
            raise InvalidInput("a tenant's id is 1-64 letters, digits, '_' and '-', and starts with a letter or digit")
        return Schedules(self._pool, self._queues, tenant_id=tenant_id, now_ms=self._now_ms)

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def list(self) -> list[ScheduleView]:
        """Every schedule, by name."""
        return [stored.view(self._prefix) for stored in await self.store.all(self._prefix)]

    async def get(self, name: str) -> ScheduleView:
        """One schedule. Raises `NotFound`."""
        return (await self.store.read(self._full(name))).view(self._prefix)

    # ── changing ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def create(self, name: str, schedule: Schedule, *, paused: bool = False) -> ScheduleView:
        """Store a new schedule; its ticks begin now.

        Raises:
            InvalidInput: the name, or a part of the schedule; quotes it and says what is allowed.
            Conflict: there is one of that name, or there are too many.
        """
        if not re.fullmatch(NAME, name):
            raise InvalidInput(
                f"schedule {name[:80]!r}: a name is 1-60 lower-case letters, digits, '_' and '-', a letter first"
            )
        schedule, now_ms = self._allowed(schedule), await self.store.now_ms()
        new = Stored(
            name=self._full(name), schedule=schedule, configured=False, paused=paused, created_ms=now_ms,
            since_ms=now_ms,
        )  # fmt: skip
        if not await self.store.add(new, tenant_prefix=self._prefix):
            raise Conflict(f"there is a schedule {name!r} already: update it, or choose another name")
        return new.view(self._prefix)

    async def update(self, name: str, schedule: Schedule) -> ScheduleView:
        """Put another schedule in the place of the one of that name; it stays paused if it was.

        Its ticks begin anew when its crontab, time zone or queue changes.

        Raises:
            InvalidInput: as `create`.
            NotFound: there is none.
            Conflict: it stands in queues.toml.
        """
        if not self._tenant_id and "." in name:
            raise InvalidInput(f"schedule {name!r} is a tenant's: only the tenant can change it; pause or delete it")
        schedule, now_ms = self._allowed(schedule), await self.store.now_ms()

        def updated(stored: Stored) -> Stored:
            if stored.configured:
                raise Conflict(f"schedule {name!r} stands in queues.toml: change it there, or pause it")
            return _replaced(stored, schedule, now_ms)

        return (await self.store.change(self._full(name), updated)).view(self._prefix)

    async def pause(self, name: str) -> ScheduleView:
        """No tick enqueues anything until it is resumed. Raises `NotFound`."""
        stored = await self.store.change(self._full(name), lambda stored: replace(stored, paused=True))
        return stored.view(self._prefix)

    async def resume(self, name: str) -> ScheduleView:
        """Go on with the next tick; those during the pause are not made up for. Raises `NotFound`."""
        now_ms = await self.store.now_ms()

        def resumed(stored: Stored) -> Stored:
            return replace(stored, paused=False, since_ms=now_ms) if stored.paused else stored

        return (await self.store.change(self._full(name), resumed)).view(self._prefix)

    async def run_now(self, name: str) -> str:
        """Enqueue its job once more, now, also while it is paused; the job's id.

        Raises:
            NotFound: there is no such schedule.
            Conflict: its queue is no longer configured.
        """
        stored = await self.store.read(self._full(name))
        if stored.schedule.queue not in self._queues:
            raise Conflict(f"schedule {name!r}: there is no queue {stored.schedule.queue!r} any more; update it")
        now_ms = await self.store.now_ms()
        job_id = new_id(f"{stored.schedule.queue}-{stored.name}")
        await ask(self._scripts(stored).enqueue([_job(stored, job_id, at_ms=now_ms, now_ms=now_ms, once=False)]))
        with suppress(NotFound):  # deleted meanwhile
            await self.store.change(stored.name, lambda found: replace(found, last_ms=now_ms, last_job_id=job_id))
        return job_id

    async def delete(self, name: str) -> None:
        """Forget a schedule; jobs that it has enqueued stay. Raises `NotFound`; `Conflict`: it is in queues.toml."""
        await self.store.delete(self._full(name), configured=False)

    # ── for the scheduler ────────────────────────────────────────────────────────────────────────────────────────

    async def synchronise(self, configured: Mapping[str, Schedule]) -> None:
        """Make the schedules of queues.toml what they are there; one that an operator has paused stays paused."""
        now_ms = await self.store.now_ms()
        for name, schedule in configured.items():
            await self._configure(name, checked(schedule), now_ms)
        for stored in await self.store.all():
            if stored.configured and stored.name not in configured:
                with suppress(NotFound):  # another worker was faster
                    await self.store.delete(stored.name, configured=True)

    async def _configure(self, name: str, schedule: Schedule, now_ms: int) -> None:
        new = Stored(name=name, schedule=schedule, configured=True, paused=False, created_ms=now_ms, since_ms=now_ms)
        if await self.store.add(new):
            return
        try:
            await self.store.change(name, lambda old: replace(_replaced(old, schedule, now_ms), configured=True))
        except UnreadablePayload:
            await self.store.delete(name, configured=True)
            await self.store.add(new)

    async def enqueue_ticks(self, stored: Stored, ticks: Sequence[datetime], *, now_ms: int) -> tuple[int, str]:
        """Enqueue the jobs of these ticks, each once however often it is tried; when the last is due, and its id.

        Raises:
            NotFound: its queue is not configured.
        """
        if stored.schedule.queue not in self._queues:
            raise NotFound(f"schedule {stored.name!r}: there is no queue {stored.schedule.queue!r}")
        delay_ms, jobs = round(jitter(stored.name, stored.schedule).total_seconds() * 1000), []
        for tick in ticks:
            job_id = f"{stored.schedule.queue}-{stored.name}-{to_ms(tick)}"
            jobs.append(_job(stored, job_id, at_ms=to_ms(tick) + delay_ms, now_ms=now_ms, once=True))
        await ask(self._scripts(stored).enqueue(jobs))
        return to_ms(ticks[-1]) + delay_ms, jobs[-1].id

    # ── helpers ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _full(self, name: str) -> str:
        return self._prefix + name

    def _scripts(self, stored: Stored) -> Scripts:
        return Scripts(self._pool, QueueKeys(queue_name(stored.schedule.queue), cluster=self._pool.on_cluster))

    def _allowed(self, schedule: Schedule) -> Schedule:
        if self._tenant_id:
            given = schedule.kwargs.get("tenant_id", self._tenant_id)
            if given != self._tenant_id:
                raise InvalidInput("kwargs: tenant_id is that of your key: leave it out")
            schedule = replace(schedule, kwargs={**schedule.kwargs, "tenant_id": self._tenant_id})
        check_job(schedule, self._queues, by_tenant=bool(self._tenant_id))
        return checked(schedule)


def _replaced(stored: Stored, schedule: Schedule, now_ms: int) -> Stored:
    same = stored.schedule.timing == schedule.timing
    return replace(stored, schedule=schedule, since_ms=stored.since_ms if same else now_ms)


def _job(stored: Stored, job_id: str, *, at_ms: int, now_ms: int, once: bool) -> EnqueueSpec:
    tenant_id, _, name = stored.name.rpartition(".")
    meta: dict[str, Any] = {"schedule": name}
    if tenant_id:
        meta["tenant"] = tenant_id
    if once:
        meta["once"] = 1
    data = payload(stored.schedule.job, (), dict(stored.schedule.kwargs), enqueued_ms=now_ms, meta=meta)
    lane = lane_of(stored.schedule.job, meta)
    return EnqueueSpec(job_id, encode(data), at_ms=at_ms, once=once, lane=lane)
