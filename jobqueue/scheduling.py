"""When schedules tick: crontab, time zones, and what becomes of ticks that nobody was there for. Pure decisions.

Crontab is read by cronsim, which follows Debian's cron, and so does daylight saving time: a schedule at fixed times
whose time is skipped in spring ticks right after the gap, and ticks once where its time comes twice in autumn; one
whose minute or hour begins with ``*`` follows the clock on the wall, both times round. (Only where clocks move by half
an hour, on Lord Howe Island, cronsim passes over some ticks of the latter on those two days.)
"""

from __future__ import annotations

import difflib
import enum
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import takewhile
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from jobqueue.errors import InvalidInput
from jobqueue.job import encode

ON_TIME: Final = timedelta(minutes=1)
"""A tick is missed when nobody enqueued it for so long."""
CATCH_UP: Final = timedelta(hours=23)
"""An older tick is never enqueued: its enqueue-once marker, which lives for a day at least, may be gone."""
MAX_CAUGHT_UP: Final = 100
"""How many missed ticks of one schedule ``all`` makes up for, the newest."""
NAME: Final = r"[a-z][a-z0-9_-]{0,59}"
"""What a schedule may be called, as a regular expression."""
MAX_KWARGS_BYTES: Final = 4_096
MAX_JITTER_S: Final = 3_600.0
MAX_CRON_CHARS: Final = 100
MAX_NAME_CHARS: Final = 100

_ALIASES: Final = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip
_FIELDS: Final = {
    "minute": "0-59",
    "hour": "0-23",
    "day-of-month": "1-31 (days that the months have), L for the last day or LW for the last weekday",
    "month": "1-12 or JAN-DEC",
    "day-of-week": "0-7 or SUN-SAT (0 and 7 are Sunday), 5L for the last Friday or MON#1 for the first Monday",
}
"""Field by cronsim's name -> what it may hold, besides ``*``, lists, ranges and steps."""
_LONG_AGO: Final = datetime(2000, 1, 1, tzinfo=UTC)


class Missed(enum.StrEnum):
    """What becomes of ticks that nobody enqueued in time: none, one run for all of them, or each."""

    SKIP = "skip"
    ONCE = "once"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Which job is enqueued by itself, and when.

    Attributes:
        cron: five fields of crontab, or an alias such as ``@daily``.
        queue, job: the short name of a queue, and one of its job types.
        timezone: the IANA name of the zone in which ``cron`` is read.
        kwargs: what the job is called with; plain data.
        missed: what becomes of ticks that nobody enqueued in time.
        jitter_s: each tick's job is due up to so much later: by a part that depends on the schedule's name and so stays
            the same, as systemd's ``FixedRandomDelay`` has it.
    """

    cron: str
    queue: str
    job: str
    timezone: str = "UTC"
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    missed: Missed = Missed.SKIP
    jitter_s: float = 0.0

    def __post_init__(self) -> None:
        if self.missed not in set(Missed):
            raise InvalidInput(f"missed {self.missed!r}: one of {', '.join(Missed)}")
        object.__setattr__(self, "missed", Missed(self.missed))

    @property
    def timing(self) -> tuple[str, str, str]:
        """What its ticks, and their jobs' ids, depend on."""
        return self.cron, self.timezone, self.queue


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleView:
    """A schedule as it stands. ``origin`` is ``config`` or ``api``; times are those at which its jobs are due."""

    name: str
    schedule: Schedule
    origin: str
    paused: bool
    created_at: datetime
    next_run_at: datetime | None
    last_run_at: datetime | None
    last_job_id: str | None

    def to_data(self) -> dict[str, Any]:
        """As one flat JSON object."""
        plan = self.schedule
        return {
            "name": self.name, "cron": plan.cron, "timezone": plan.timezone, "queue": plan.queue, "job": plan.job,
            "kwargs": dict(plan.kwargs), "missed": plan.missed.value, "jitter_s": plan.jitter_s,
            "origin": self.origin, "paused": self.paused, "created_at": self.created_at.isoformat(),
            "next_run_at": self.next_run_at and self.next_run_at.isoformat(),
            "last_run_at": self.last_run_at and self.last_run_at.isoformat(), "last_job_id": self.last_job_id,
        }  # fmt: skip


# ── ticks ────────────────────────────────────────────────────────────────────────────────────────────────────────


def ticks(schedule: Schedule, since: datetime) -> Iterator[datetime]:
    """Every tick after ``since``, in UTC, one later than the other; ends where none comes for 50 years.

    Raises:
        InvalidInput: the crontab or the time zone is none.

    >>> nightly = Schedule(cron="30 2 * * *", timezone="Europe/Berlin", queue="ocr", job="ocr_document")
    >>> it = ticks(nightly, datetime(2026, 3, 28, tzinfo=UTC))
    >>> [f"{next(it):%d %H:%M}" for _ in range(3)]  # on the 29th the clock jumps from 02:00 to 03:00
    ['28 01:30', '29 01:00', '30 00:30']
    """
    try:
        zone = UTC if schedule.timezone == "UTC" else ZoneInfo(schedule.timezone)
        local_ticks = CronSim(schedule.cron, since.astimezone(zone))
    except (CronSimError, ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise InvalidInput(f"no ticks of {schedule.cron!r} in {schedule.timezone!r}: {exc}") from exc
    last = since
    for local in local_ticks:
        tick = local.astimezone(UTC)
        # Not later: a time within the hour that came twice, or one of several skipped that meet at the gap's end.
        if tick > last:
            yield tick
            last = tick


def next_run(schedule: Schedule, after: datetime) -> datetime | None:
    """The first tick after a moment; None where none comes for 50 years."""
    return next(ticks(schedule, after), None)


def due(schedule: Schedule, since: datetime, now: datetime) -> list[datetime]:
    """The ticks to enqueue now, of those after ``since`` and up to ``now``, by the schedule's policy for missed ones.

    >>> hourly = Schedule(cron="0 * * * *", queue="ocr", job="ocr_document")
    >>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    >>> [len(due(replace(hourly, missed=each), noon - timedelta(hours=5), noon)) for each in Missed]
    [1, 1, 5]
    """
    start = max(since, now - (ON_TIME if schedule.missed is Missed.SKIP else CATCH_UP))
    found = list(takewhile(lambda tick: tick <= now, ticks(schedule, start)))
    return found[-1:] if schedule.missed is Missed.ONCE else found[-MAX_CAUGHT_UP:]


def jitter(name: str, schedule: Schedule) -> timedelta:
    """How long after each tick the job of the schedule of that name is due, to the millisecond."""
    part = int.from_bytes(hashlib.sha256(name.encode()).digest()[:6]) / 2**48
    return timedelta(milliseconds=int(part * schedule.jitter_s * 1000))


# ── checks at the border ─────────────────────────────────────────────────────────────────────────────────────────


def checked(schedule: Schedule) -> Schedule:
    """The schedule in its plain form: aliases resolved, fields one space apart.

    Raises:
        InvalidInput: a part of it is no good; quotes that part and says what is allowed.

    >>> checked(Schedule(cron="@daily", queue="ocr", job="ocr_document")).cron
    '0 0 * * *'
    """
    for part, text in (("queue", schedule.queue), ("job", schedule.job)):
        if not (text.isprintable() and 1 <= len(text) <= MAX_NAME_CHARS):
            raise InvalidInput(f"{part}: give the name of a {part}, 1-{MAX_NAME_CHARS} printable characters")
    cron = _checked_cron(schedule.cron)
    _check_timezone(schedule.timezone)
    if not 0 <= schedule.jitter_s <= MAX_JITTER_S:
        raise InvalidInput(f"jitter_s {schedule.jitter_s!r}: give seconds, from 0 to {MAX_JITTER_S:,.0f}")
    if not all(isinstance(name, str) for name in schedule.kwargs):
        raise InvalidInput("kwargs: the names of arguments are strings")
    if (size_bytes := len(encode(dict(schedule.kwargs)))) > MAX_KWARGS_BYTES:
        raise InvalidInput(
            f"kwargs take {size_bytes:,} bytes; at most {MAX_KWARGS_BYTES:,} fit: put large things into storage and "
            "pass their key"
        )
    return replace(schedule, cron=cron)


def _checked_cron(text: str) -> str:
    if len(text) > MAX_CRON_CHARS:
        raise InvalidInput(f"cron is {len(text):,} characters long; at most {MAX_CRON_CHARS} are read")
    fields = _ALIASES.get(text.strip().lower(), text).split()
    if len(fields) != len(_FIELDS):
        raise InvalidInput(
            f"cron {text!r}: give five fields, {' '.join(_FIELDS)}, such as '30 4 * * MON-FRI', "
            f"or one of {', '.join(_ALIASES)}"
        )
    cron = " ".join(fields).upper()
    try:
        never = next(CronSim(cron, _LONG_AGO), None) is None
    except CronSimError as exc:
        name = str(exc).removeprefix("Bad ")
        found = dict(zip(_FIELDS, fields, strict=True)).get(name, text)
        raise InvalidInput(
            f"cron {text!r}: {name} {found!r} is no good: give *, or {_FIELDS.get(name, 'five fields')}; "
            "also lists (1,15), ranges (1-5) and steps (*/10)"
        ) from None
    if never:
        raise InvalidInput(f"cron {text!r}: such a day never comes")
    return cron


@cache
def _timezones() -> dict[str, str]:
    """Every zone's name, by that name in lower case."""
    return {name.lower(): name for name in sorted(available_timezones())}


def _check_timezone(name: str) -> None:
    zones = _timezones()
    if zones.get(name.lower()) == name:
        return
    wanted = name[:MAX_CRON_CHARS].lower()
    cities = {zone.rpartition("/")[2]: zone for zone in zones}
    near = difflib.get_close_matches(wanted, zones, 3) or difflib.get_close_matches(wanted.replace(" ", "_"), cities, 3)
    meant = [zones[cities.get(zone, zone)] for zone in near]
    hint = f"did you mean {', '.join(meant)}?" if meant else "give an IANA name, such as Europe/Berlin or UTC"
    raise InvalidInput(f"timezone {name[:MAX_CRON_CHARS]!r} is unknown: {hint}")
