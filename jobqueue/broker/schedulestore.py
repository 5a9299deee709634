"""Schedules in Redis: one hash of records, and a sorted set of when each has its next tick.

Every write replaces exactly the record that was read (`schedule_put.lua`), and is made anew when somebody else was
faster: concurrent edits, several schedulers and the configuration never undo each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import structlog

from jobqueue.broker.keys import ScheduleKeys
from jobqueue.broker.remedy import ask
from jobqueue.broker.schedulescripts import ScheduleScripts
from jobqueue.errors import Conflict, InvalidInput, JobqueueError, NotFound, Unavailable, UnreadablePayload
from jobqueue.job import decode, encode
from jobqueue.scheduling import Missed, Schedule, ScheduleView, checked, jitter, next_run

logger = structlog.get_logger(__name__)
T = TypeVar("T")

MAX_SCHEDULES: Final = 10_000
MAX_OF_A_TENANT: Final = 1_000
_TRIES: Final = 20
_PAGE: Final = 500
_PARTS: Final = {"queue": str, "job": str, "configured": bool, "paused": bool, "created": int, "since": int}
"""Of a record: what nothing else would refuse if it were of another type."""

NowMs = Callable[[], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A schedule and how far it has got.

    Attributes:
        since_ms: every tick up to here is dealt with.
        last_ms, last_job_id: when the job enqueued last was or is due, and its id.
    """

    name: str
    schedule: Schedule
    configured: bool
    paused: bool
    created_ms: int
    since_ms: int
    last_ms: int | None = None
    last_job_id: str | None = None

    @property
    def next_ms(self) -> int | None:
        """Its next tick to deal with; None while it is paused, and when none ever comes."""
        tick = None if self.paused else next_run(self.schedule, from_ms(self.since_ms))
        return None if tick is None else to_ms(tick)

    def view(self, prefix: str = "") -> ScheduleView:
        """As people see it, without ``prefix`` before its name."""
        next_ms, delay = self.next_ms, jitter(self.name, self.schedule)
        return ScheduleView(
            name=self.name.removeprefix(prefix), schedule=self.schedule, paused=self.paused,
            origin="config" if self.configured else "api", created_at=from_ms(self.created_ms),
            next_run_at=None if next_ms is None else from_ms(next_ms) + delay,
            last_run_at=None if self.last_ms is None else from_ms(self.last_ms), last_job_id=self.last_job_id,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What is to be done ``now_ms``, and when to look again: None when no tick lies ahead."""

    now_ms: int
    next_ms: int | None
    found: list[Stored]
    full: bool


Change = Callable[[Stored], Stored]


class ScheduleStore:
    """The schedules of one Redis.

    Args:
        redis: a pool of one server, of Sentinel or of a Cluster.
        now_ms: the time, in ms since the epoch; None: Redis's.
    """

    def __init__(self, redis: Any, *, now_ms: NowMs | None = None) -> None:
        self._redis = redis
        self._keys = ScheduleKeys()
        self._scripts = ScheduleScripts(redis, self._keys)
        self._now_ms = now_ms

    async def now_ms(self) -> int:
        """The time by the clock that decides about ticks: that of the server which holds the schedules."""
        return (await self.look(0)).now_ms

    async def look(self, limit: int) -> Look:
        """Up to ``limit`` schedules with a tick to deal with; those that can't be read are set aside."""
        given_ms = self._now_ms() if self._now_ms else None
        now_ms, next_ms, rows = await ask(self._scripts.look(limit, now_ms=given_ms))
        found = [stored for name, raw in rows if (stored := await self._readable(name, raw))]
        return Look(now_ms=now_ms, next_ms=next_ms, found=found, full=len(rows) >= limit)

    async def _readable(self, name: str, raw: bytes) -> Stored | None:
        try:
            return _unpack(name, raw)
        except JobqueueError as exc:
            logger.warning("schedule.unreadable", schedule=name, error=str(exc))
            await ask(self._scripts.put(name, read=raw, record=raw, next_ms=None))
            return None

    async def read(self, name: str) -> Stored:
        """One schedule. Raises `NotFound`."""
        return _unpack(name, await self._raw(name))

    async def _raw(self, name: str) -> bytes:
        raw: bytes | None = await ask(self._redis.hget(self._keys.schedules, name))
        if raw is None:
            raise NotFound(f"no schedule {name!r}")
        return raw

    async def all(self, prefix: str = "") -> list[Stored]:
        """Every readable schedule whose name begins so, by name."""
        found: dict[str, Stored] = {}  # a scan may give one several times
        cursor = 0
        while True:
            page = self._redis.hscan(self._keys.schedules, cursor, match=f"{prefix}*", count=_PAGE)
            cursor, rows = await ask(page)
            for key, raw in rows.items():
                name = key.decode("utf-8", "replace")
                try:
                    found[name] = _unpack(name, raw)
                except JobqueueError as exc:
                    logger.warning("schedule.unreadable", schedule=name, error=str(exc))
            if not cursor:
                return [found[name] for name in sorted(found)]

    async def add(self, new: Stored, *, tenant_prefix: str = "") -> bool:
        """Store a new schedule; False when its name is taken. Raises `Conflict` when there are too many."""
        most = (0, "", 0) if new.configured else (MAX_SCHEDULES, tenant_prefix, MAX_OF_A_TENANT)
        answer = await ask(self._scripts.put(new.name, read=b"", record=_pack(new), next_ms=new.next_ms, most=most))
        if answer < 0:
            count = MAX_SCHEDULES if answer == -1 else MAX_OF_A_TENANT
            raise Conflict(f"there are {count:,} schedules, and no more are kept: delete some that you don't need")
        return answer == 1

    async def change(self, name: str, how: Change) -> Stored:
        """Replace a schedule by what ``how`` makes of it as it stands; the new one. Raises `NotFound`."""
        for _ in range(_TRIES):
            raw = await self._raw(name)
            before = _unpack(name, raw)
            after = how(before)
            if after == before:
                return before
            if await ask(self._scripts.put(name, read=raw, record=_pack(after), next_ms=after.next_ms)) == 1:
                return after
        raise Unavailable(f"schedule {name!r} is being changed by others all the time: try again")

    async def delete(self, name: str, *, configured: bool) -> None:
        """Delete a schedule, readable or not, of this origin. Raises `NotFound`, `Conflict`."""
        for _ in range(_TRIES):
            raw = await self._raw(name)
            try:
                other = _unpack(name, raw).configured is not configured
            except JobqueueError:
                other = False
            if other:
                raise Conflict(f"schedule {name!r} stands in queues.toml: remove it there, or pause it")
            if await ask(self._scripts.put(name, read=raw, record=b"", next_ms=None)) == 1:
                return
        raise Unavailable(f"schedule {name!r} is being changed by others all the time: try again")

    async def advance(self, dealt: Stored, *, now_ms: int, last: tuple[int, str] | None) -> None:
        """Move on to ``now_ms``, with when the ``last`` job is due and its id; nothing if others did, or changed it."""

        def moved(stored: Stored) -> Stored:
            if stored.since_ms >= now_ms or stored.schedule.timing != dealt.schedule.timing:
                return stored  # its ticks since then are others than those dealt with
            last_ms, last_job_id = last or (stored.last_ms, stored.last_job_id)
            return replace(stored, since_ms=now_ms, last_ms=last_ms, last_job_id=last_job_id)

        try:
            await self.change(dealt.name, moved)
        except NotFound:
            return


def from_ms(ms: int) -> datetime:
    """A moment from ms since the epoch."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def to_ms(moment: datetime) -> int:
    """A moment as ms since the epoch."""
    return round(moment.timestamp() * 1000)


def _pack(stored: Stored) -> bytes:
    plan = stored.schedule
    return encode(
        {
            "cron": plan.cron, "timezone": plan.timezone, "queue": plan.queue, "job": plan.job,
            "kwargs": dict(plan.kwargs), "missed": plan.missed.value, "jitter_s": plan.jitter_s,
            "configured": stored.configured, "paused": stored.paused, "created": stored.created_ms,
            "since": stored.since_ms, "last": stored.last_ms, "last_job": stored.last_job_id,
        }
    )  # fmt: skip


def _unpack(name: str, raw: bytes) -> Stored:
    data = decode(raw)
    try:
        plan = Schedule(
            cron=data["cron"], timezone=data["timezone"], queue=data["queue"], job=data["job"],
            kwargs=data["kwargs"], missed=Missed(data["missed"]), jitter_s=data["jitter_s"],
        )  # fmt: skip
        _check_parts(data)
        return Stored(
            name=name, schedule=checked(plan), configured=data["configured"], paused=data["paused"],
            created_ms=data["created"], since_ms=data["since"], last_ms=data["last"], last_job_id=data["last_job"],
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError, InvalidInput) as exc:
        raise UnreadablePayload(f"the record of schedule {name!r} is damaged ({exc}): delete it") from exc


def _check_parts(data: dict[str, Any]) -> None:
    for part, kind in _PARTS.items():
        if type(data[part]) is not kind:
            raise TypeError(f"{part} is a {type(data[part]).__name__}")
    from_ms(data["since"])
