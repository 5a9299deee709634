"""``jobqueue schedule``, on a real Redis."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest

from jobqueue.broker.schedules import Schedules
from jobqueue.cli.main import main
from jobqueue.queues import load
from jobqueue.scheduling import Schedule
from tests.engine_support import connected

NIGHTLY = ("add", "nightly", "--cron", "30 4 * * *", "--queue", "ocr", "--job", "ocr_document")


class Command:
    """The command in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def run(self, *arguments: str) -> tuple[int, str, str]:
        self._monkeypatch.setattr(sys, "argv", ["jobqueue", "schedule", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self._capsys.readouterr()
        return int(ended.value.code or 0), out, err

    def json(self, *arguments: str) -> Any:
        code, out, err = self.run(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)


@pytest.fixture
def command(redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.setenv("JOBQUEUE_REDIS_URL", redis_url)
    return Command(monkeypatch, capsys)


def test_a_schedule_is_added_listed_paused_resumed_run_and_deleted(command: Command) -> None:
    added = command.json(*NIGHTLY, "--timezone", "Europe/Berlin", "--kwargs", '{"days": 7}', "--missed", "all")
    assert (added["kwargs"], added["missed"], added["timezone"]) == ({"days": 7}, "all", "Europe/Berlin")
    assert command.json("list") == {"schedules": [added]}
    assert command.json("pause", "nightly")["next_run_at"] is None
    assert "paused" in command.run("list")[1]
    assert command.json("resume", "nightly")["paused"] is False
    job_id = command.json("run", "nightly")["job_id"]
    assert job_id.startswith("ocr-nightly-")
    assert command.json("list")["schedules"][0]["last_job_id"] == job_id
    assert command.json("delete", "nightly") == {"deleted": "nightly"}
    assert command.json("list") == {"schedules": []}


def test_each_verb_says_in_a_line_what_it_did(command: Command) -> None:
    code, out, _ = command.run(*NIGHTLY)
    assert code == 0
    assert out.startswith("added nightly: next run 20")
    assert command.run("pause", "nightly")[1] == "paused nightly\n"
    assert command.run("resume", "nightly")[1].startswith("resumed nightly: next run 20")
    assert command.run("run", "nightly")[1].startswith("enqueued ocr-nightly-")
    assert command.run("delete", "nightly")[1] == "deleted nightly\n"
    assert command.run(*NIGHTLY, "--paused")[1] == "added paused nightly\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("delete", "nowhere"), 1, "jobqueue: no schedule 'nowhere'"),
        (("pause", "nowhere"), 1, "jobqueue: no schedule 'nowhere'"),
        ((*NIGHTLY, "--cron", "61 * * * *"), 1, "minute '61' is no good: give *, or 0-59"),
        ((*NIGHTLY, "--timezone", "berlin"), 1, "did you mean Europe/Berlin?"),
        ((*NIGHTLY, "--job", "expire"), 1, "queue 'ocr' has ocr_document"),
        ((*NIGHTLY, "--kwargs", "[1]"), 2, "give a JSON object"),
        ((*NIGHTLY, "--kwargs", "{"), 2, "give a JSON object"),
        ((*NIGHTLY, "--missed", "never"), 2, "'skip', 'once', 'all'"),
        (NIGHTLY[:2], 2, "--cron"),
    ],
)
def test_a_mistake_is_explained(command: Command, arguments: tuple[str, ...], code: int, said: str) -> None:
    ended, out, err = command.run(*arguments)
    assert (ended, out) == (code, "")
    assert said in " ".join(err.split())
    assert command.json("list") == {"schedules": []}


def test_a_tenants_schedule_is_paused_and_deleted_by_its_full_name(command: Command, redis_url: str) -> None:
    async def add() -> None:
        async with connected(redis_url) as pool:
            tenants = Schedules(pool, load()).of("acme")
            await tenants.create("nightly", Schedule(cron="@daily", queue="ocr", job="ocr_document"))

    asyncio.run(add())
    assert [each["name"] for each in command.json("list")["schedules"]] == ["acme.nightly"]
    assert command.json("pause", "acme.nightly")["paused"] is True
    assert command.json("delete", "acme.nightly") == {"deleted": "acme.nightly"}
