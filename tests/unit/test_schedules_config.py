"""The schedules of ``queues.toml``: checked at start, every mistake with its file and key."""

from __future__ import annotations

from typing import Any

import pytest

from jobqueue.errors import ConfigError, InvalidInput
from jobqueue.queues import check_job, load, load_schedules, parse, parse_schedules
from jobqueue.scheduling import Missed, Schedule

NIGHTLY: dict[str, Any] = {"cron": "30 4 * * *", "queue": "ocr", "job": "scan"}


def file(**schedules: Any) -> dict[str, Any]:
    job = {"timeout_s": 60, "retry": "r", "keep_result_s": 0}
    return {
        "retry": {"r": {"backoff": "fixed", "base_s": 1.0, "cap_s": 1.0, "max_attempts": 2}},
        "queues": {
            "ocr": {"weight": 1, "concurrency": 1, "jobs": {"scan": job, "read": job | {"tenants_may_schedule": True}}},
            "llm": {"weight": 1, "concurrency": 1, "jobs": {"think": job}},
        },
        "schedules": schedules,
    }


def test_a_good_schedule_is_read_with_its_defaults() -> None:
    assert parse_schedules(file(nightly=NIGHTLY), "q.toml") == {
        "nightly": Schedule(cron="30 4 * * *", queue="ocr", job="scan")
    }
    full = {"timezone": "Europe/Berlin", "kwargs": {"days": 7}, "missed": "once", "jitter_s": 60}
    (found,) = parse_schedules(file(nightly=NIGHTLY | full), "q.toml").values()
    assert (found.timezone, found.kwargs, found.missed, found.jitter_s) == (
        "Europe/Berlin", {"days": 7}, Missed.ONCE, 60.0,
    )  # fmt: skip


def test_the_file_that_comes_along_runs_what_keeps_the_rest_in_order() -> None:
    found = load_schedules()
    assert {name: plan.cron for name, plan in found.items()} == {
        "roll_up_metrics": "* * * * *", "resubmit": "* * * * *", "check_health": "* * * * *", "expire": "17 * * * *",
    }  # fmt: skip
    assert {plan.queue for plan in found.values()} == {"system"}


def test_tenants_may_schedule_everything_but_what_keeps_the_rest_in_order() -> None:
    open_ = {name for name, queue in load().items() if any(job.tenants_may_schedule for job in queue.jobs.values())}
    assert open_ == {"ingest", "ocr", "llm", "export"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cron": "30 25 * * *"}, "schedules.nightly: cron '30 25 * * *': hour '25'"),
        ({"timezone": "Berlin"}, "schedules.nightly: timezone 'Berlin' is unknown: did you mean Europe/Berlin?"),
        ({"queue": "olc"}, "schedules.nightly: queue 'olc': there is ocr, llm"),
        ({"job": "think"}, "schedules.nightly: job 'think': queue 'ocr' has scan, read"),
        ({"jitter_s": -1}, "schedules.nightly: jitter_s"),
        ({"kwargs": {"x": "y" * 5000}}, "schedules.nightly: kwargs"),
        ({"missed": "perhaps"}, "schedules.nightly.missed"),
        ({"crom": ""}, "schedules.nightly.crom"),
    ],
)
def test_a_mistake_is_reported_with_its_file_and_key(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_schedules(file(nightly=NIGHTLY | changes), "my-queues.toml")
    assert str(caught.value).startswith("my-queues.toml: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["Nightly", "acme.nightly", "1st", "x" * 61])
def test_a_name_that_none_can_have_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="schedules"):
        parse_schedules(file(**{name: NIGHTLY}), "q.toml")


def test_where_a_queues_job_types_are_not_known_any_may_be_scheduled_but_by_no_tenant_a_closed_one() -> None:
    plan = Schedule(cron="* * * * *", queue="ocr", job="whatever")
    check_job(plan, {"ocr": None})
    queues = parse(file(), "q.toml")
    with pytest.raises(InvalidInput, match="queue 'llm': there is ocr"):
        check_job(Schedule(cron="* * * * *", queue="llm", job="think"), queues, by_tenant=True)
    with pytest.raises(InvalidInput, match="none to schedule jobs on"):
        check_job(plan, {"ocr": None}, by_tenant=True)
