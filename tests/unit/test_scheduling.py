"""When schedules tick: daylight saving time, ticks that were missed, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.errors import InvalidInput
from jobqueue.scheduling import (
    CATCH_UP,
    MAX_CAUGHT_UP,
    MAX_KWARGS_BYTES,
    Missed,
    Schedule,
    ScheduleView,
    checked,
    due,
    jitter,
    next_run,
    ticks,
)

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
ZONES = ("UTC", "America/New_York", "Europe/Berlin", "Asia/Kathmandu")


def schedule(cron: str = "* * * * *", timezone: str = "UTC", **fields: Any) -> Schedule:
    return Schedule(cron=cron, timezone=timezone, queue="ocr", job="ocr_document", **fields)


def on_the_wall(cron: str, timezone: str, start: datetime, hours: int) -> list[str]:
    """The ticks within some hours, as a clock on the wall there shows them."""
    found = takewhile(lambda tick: tick <= start + timedelta(hours=hours), ticks(schedule(cron, timezone), start))
    return [f"{tick.astimezone(ZoneInfo(timezone)):%H:%M %Z}" for tick in found]


SPRING = {
    "America/New_York": (datetime(2026, 3, 8, 5, tzinfo=UTC), "EST", "EDT"),  # 02:00 becomes 03:00
    "Europe/Berlin": (datetime(2026, 3, 28, 23, tzinfo=UTC), "CET", "CEST"),
}
AUTUMN = {
    "America/New_York": (datetime(2026, 11, 1, 4, tzinfo=UTC), "EDT", "EST", "01"),  # 02:00 becomes 01:00
    "Europe/Berlin": (datetime(2026, 10, 24, 22, tzinfo=UTC), "CEST", "CET", "02"),  # 03:00 becomes 02:00
}


@pytest.mark.parametrize("zone", SPRING)
def test_a_time_that_is_skipped_in_spring_comes_right_after_the_gap_and_once(zone: str) -> None:
    midnight, _, summer = SPRING[zone]
    assert on_the_wall("30 2 * * *", zone, midnight, 23) == [f"03:00 {summer}"]
    assert on_the_wall("0,15,30 2 * * *", zone, midnight, 23) == [f"03:00 {summer}"]
    assert on_the_wall("30 2,3 * * *", zone, midnight, 23) == [f"03:00 {summer}", f"03:30 {summer}"]


@pytest.mark.parametrize("zone", SPRING)
def test_a_minute_of_every_hour_has_no_tick_in_the_gap(zone: str) -> None:
    midnight, winter, summer = SPRING[zone]
    found = on_the_wall("0 * * * *", zone, midnight, 3)
    assert found == [f"01:00 {winter}", f"03:00 {summer}", f"04:00 {summer}"]
    assert on_the_wall("*/30 2 * * *", zone, midnight, 23) == []


@pytest.mark.parametrize("zone", AUTUMN)
def test_a_time_that_comes_twice_in_autumn_ticks_the_first_time(zone: str) -> None:
    midnight, summer, _, hour = AUTUMN[zone]
    assert on_the_wall(f"30 {int(hour)} * * *", zone, midnight, 25) == [f"{hour}:30 {summer}"]


@pytest.mark.parametrize("zone", AUTUMN)
def test_a_schedule_seen_first_in_the_second_hour_does_not_tick_in_the_past(zone: str) -> None:
    midnight, _, winter, hour = AUTUMN[zone]
    second = midnight + timedelta(hours=int(hour) + 1, minutes=10)
    assert f"{second.astimezone(ZoneInfo(zone)):%H:%M %Z}" == f"{hour}:10 {winter}"
    following = next_run(schedule(f"30 {int(hour)} * * *", zone), second)
    assert following is not None
    assert following - second > timedelta(hours=23)


@pytest.mark.parametrize("zone", AUTUMN)
def test_an_interval_goes_on_through_both_hours(zone: str) -> None:
    midnight, summer, winter, hour = AUTUMN[zone]
    found = on_the_wall("*/30 * * * *", zone, midnight, int(hour) + 2)
    assert [tick for tick in found if tick.startswith(hour)] == [
        f"{hour}:00 {summer}", f"{hour}:30 {summer}", f"{hour}:00 {winter}", f"{hour}:30 {winter}",
    ]  # fmt: skip


# ── against a walk from minute to minute ─────────────────────────────────────────────────────────────────────────

fields = st.one_of(st.just("*"), st.integers(1, 12).map("*/{}".format))
minutes = st.one_of(fields, st.lists(st.integers(0, 59), min_size=1, max_size=4).map(lambda n: ",".join(map(str, n))))
hours = st.one_of(fields, st.integers(0, 23).map(str), st.integers(0, 11).map(lambda n: f"{n}-{n + 12}"))
days = st.one_of(st.just("*"), st.integers(1, 28).map(str))
weekdays = st.one_of(st.just("*"), st.integers(0, 7).map(str), st.sampled_from(["MON-FRI", "SUN,WED"]))
moments = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # see timezones

_DAYS = {"MON-FRI": {0, 1, 2, 3, 4}, "SUN,WED": {6, 2}}


def _matches(text: str, value: int, lowest: int) -> bool:
    if text.startswith("*"):
        return (value - lowest) % int(text.partition("/")[2] or 1) == 0
    if "-" in text:
        low, high = map(int, text.split("-"))
        return low <= value <= high
    return value in map(int, text.split(","))


def _matches_weekday(text: str, value: int) -> bool:
    if text == "*" or text in _DAYS:
        return text == "*" or value in _DAYS[text]
    return (int(text) - 1) % 7 == value


def _walk(minute: str, hour: str, day: str, weekday: str, after: datetime) -> datetime:
    """The first minute after a moment at which every field matches; days and weekdays as Debian's cron joins them."""
    moment = after.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while True:
        by_day, by_weekday = _matches(day, moment.day, 1), _matches_weekday(weekday, moment.weekday())
        if (by_day and by_weekday) if "*" in (day, weekday) else (by_day or by_weekday):
            if _matches(hour, moment.hour, 0) and _matches(minute, moment.minute, 0):
                return moment
            moment += timedelta(minutes=1)
        else:
            moment = moment.replace(hour=0, minute=0) + timedelta(days=1)


@given(minutes, hours, days, weekdays, moments)
def test_the_next_run_is_the_one_that_a_walk_from_minute_to_minute_finds(
    minute: str, hour: str, day: str, weekday: str, after: datetime
) -> None:
    found = next_run(schedule(f"{minute} {hour} {day} * {weekday}"), after)
    assert found == _walk(minute, hour, day, weekday, after)


@given(minutes, hours, st.sampled_from(ZONES), moments)
def test_each_tick_is_later_than_the_one_before_whatever_the_zone(
    minute: str, hour: str, zone: str, after: datetime
) -> None:
    last = after
    for tick, _ in zip(ticks(schedule(f"{minute} {hour} * * *", zone), after), range(30), strict=False):
        assert tick > last
        assert tick.tzinfo is UTC
        last = tick


@given(minutes, st.sampled_from(ZONES), moments, st.lists(st.integers(1, 400), min_size=1, max_size=20))
def test_however_the_looks_fall_each_tick_is_due_at_one_of_them(
    minute: str, zone: str, start: datetime, pauses: list[int]
) -> None:
    plan, since, found = schedule(f"{minute} * * * *", zone, missed=Missed.ALL), start, []
    for pause in pauses:
        now = since + timedelta(seconds=pause * 10)
        found += due(plan, since, now)
        since = now
    assert found == list(takewhile(lambda tick: tick <= since, ticks(plan, start)))


# ── missed ticks ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("missed", Missed)
def test_a_tick_in_time_is_enqueued_by_every_policy(missed: Missed) -> None:
    plan = schedule("0 12 * * *", missed=missed)
    assert due(plan, NOON - timedelta(seconds=1), NOON + timedelta(seconds=59)) == [NOON]
    assert due(plan, NOON, NOON + timedelta(minutes=5)) == []


def test_missed_ticks_are_skipped_made_up_for_by_one_or_by_each() -> None:
    since, now = NOON - timedelta(hours=5), NOON + timedelta(minutes=30)
    hourly = schedule("0 * * * *")
    assert due(replace(hourly, missed=Missed.SKIP), since, now) == []
    assert due(replace(hourly, missed=Missed.ONCE), since, now) == [NOON]
    assert due(replace(hourly, missed=Missed.ALL), since, now) == [NOON - timedelta(hours=n) for n in (4, 3, 2, 1, 0)]


def test_what_is_made_up_for_is_bounded_in_number_and_age() -> None:
    found = due(schedule(missed=Missed.ALL), NOON - timedelta(days=3), NOON)
    assert found == [NOON - timedelta(minutes=n) for n in reversed(range(MAX_CAUGHT_UP))]
    old = schedule("0 0 1 * *", missed=Missed.ONCE)
    assert due(old, NOON - timedelta(days=3), NOON.replace(hour=0) + CATCH_UP - timedelta(seconds=1)) == [
        NOON.replace(hour=0)
    ]
    assert due(old, NOON - timedelta(days=3), NOON.replace(hour=0) + CATCH_UP) == []


def test_a_clock_that_goes_back_repeats_no_tick() -> None:
    assert due(schedule(missed=Missed.ALL), NOON, NOON - timedelta(hours=1)) == []


def test_the_jitter_of_a_schedule_is_its_own_and_stays() -> None:
    plan = schedule(jitter_s=60)
    found = {jitter(name, plan) for name in ("a", "b", "c", "a")}
    assert len(found) == 3
    assert all(timedelta(0) <= each < timedelta(minutes=1) for each in found)
    assert jitter("a", schedule()) == timedelta(0)


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("61 * * * *", "minute '61' is no good: give *, or 0-59"),
        ("* 24 * * *", "hour '24' is no good: give *, or 0-23"),
        ("* * 0 * *", "day-of-month '0'"),
        ("* * * FEBRUARY *", "month 'FEBRUARY' is no good: give *, or 1-12 or JAN-DEC"),
        ("* * * * 8", "day-of-week '8' is no good: give *, or 0-7 or SUN-SAT"),
        ("*/0 * * * *", "minute '*/0'"),
        ("5-1 * * * *", "minute '5-1'"),
        ("0 0 31 2 *", "day-of-month '31' is no good: give *, or 1-31 (days that the months have)"),
        ("* * */20 * 1L", "never comes"),
        ("* * * *", "give five fields, minute hour day-of-month month day-of-week"),
        ("0 * * * * *", "give five fields"),
        ("@reboot", "one of @yearly"),
        ("", "give five fields"),
        ("1," * 60 + "1 * * * *", "at most 100"),
    ],
)
def test_wrong_crontab_is_refused_by_the_field_with_what_is_allowed(cron: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        checked(schedule(cron))
    assert said in str(caught.value)


@given(st.text(alphabet="0123456789*/,-#LWMONJAn @", max_size=40))
def test_no_text_gets_past_the_check_and_fails_later(text: str) -> None:
    try:
        plan = checked(schedule(text))
    except InvalidInput:
        return
    assert next_run(plan, NOON) is not None


@pytest.mark.parametrize(
    ("zone", "said"),
    [
        ("Europe/Berlni", "did you mean Europe/Berlin"),
        ("europe/berlin", "did you mean Europe/Berlin"),
        ("New York", "did you mean America/New_York"),
        ("Berlin", "did you mean Europe/Berlin"),
        ("../../etc/passwd", "IANA name"),
        ("", "IANA name"),
        ("x" * 10_000, "IANA name"),
    ],
)
def test_an_unknown_time_zone_is_refused_with_near_ones(zone: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        checked(schedule(timezone=zone))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"jitter_s": -1.0}, "jitter_s"),
        ({"jitter_s": float("nan")}, "jitter_s"),
        ({"jitter_s": 3601.0}, "from 0 to 3,600"),
        ({"kwargs": {"text": "x" * MAX_KWARGS_BYTES}}, "at most 4,096"),
        ({"kwargs": {"what": object()}}, "can't be put on the queue"),
        ({"kwargs": {1: "x"}}, "strings"),
    ],
)
def test_other_parts_are_bounded(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        checked(schedule(**fields))


@pytest.mark.parametrize("part", ["queue", "job"])
@pytest.mark.parametrize("text", ["", "a\nb", "x" * 101])
def test_a_name_of_queue_or_job_is_short_and_printable(part: str, text: str) -> None:
    changed: dict[str, Any] = {part: text}
    with pytest.raises(InvalidInput, match=part):
        checked(replace(schedule(), **changed))


def test_crontab_is_kept_in_its_plain_form() -> None:
    assert checked(schedule(" @Daily ")).cron == "0 0 * * *"
    assert checked(schedule("  */5  9-17 * *   mon-fri ")).cron == "*/5 9-17 * * MON-FRI"


def test_a_view_is_one_flat_object_of_plain_data() -> None:
    view = ScheduleView(
        name="nightly", schedule=schedule("0 4 * * *", kwargs={"n": 1}), origin="api", paused=False, created_at=NOON,
        next_run_at=None, last_run_at=NOON, last_job_id="ocr-nightly-1",
    )  # fmt: skip
    assert view.to_data() == {
        "name": "nightly", "cron": "0 4 * * *", "timezone": "UTC", "queue": "ocr", "job": "ocr_document",
        "kwargs": {"n": 1}, "missed": "skip", "jitter_s": 0.0, "origin": "api", "paused": False,
        "created_at": "2026-06-01T12:00:00+00:00", "next_run_at": None, "last_run_at": "2026-06-01T12:00:00+00:00",
        "last_job_id": "ocr-nightly-1",
    }  # fmt: skip
