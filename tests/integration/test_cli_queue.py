"""``jobqueue queue``, on a real Redis."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from jobqueue.broker.enqueue import NewJob
from jobqueue.broker.scripts import Scripts
from jobqueue.cli.main import main
from tests.engine_support import INGEST, connected
from tests.integration.test_cli_schedule import Command as ScheduleCommand


class Command(ScheduleCommand):
    """The command in this process."""

    def run(self, *arguments: str) -> tuple[int, str, str]:
        self._monkeypatch.setattr(sys, "argv", ["jobqueue", "queue", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self._capsys.readouterr()
        return int(ended.value.code or 0), out, err

    def answering(self, answer: str, *arguments: str) -> tuple[int, str]:
        """Run it at a terminal; what it asked there."""
        asked: list[str] = []

        def read(prompt: str = "") -> str:
            asked.append(prompt)
            return answer

        self._monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
        self._monkeypatch.setattr("click.termui.visible_prompt_func", read)
        code, _, err = self.run(*arguments)
        return code, err + "".join(asked)

    def rules(self) -> dict[str, dict[str, Any]]:
        return {rule["scope"]: rule for rule in self.json("show", "ingest")["rules"]}


@pytest.fixture
def command(redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.setenv("JOBQUEUE_REDIS_URL", redis_url)
    return Command(monkeypatch, capsys)


@pytest.fixture
def on_redis(redis_url: str) -> Callable[[Callable[[Any], Awaitable[Any]]], Any]:
    """Do something with a pool, between two commands."""

    async def connect_and(work: Callable[[Any], Awaitable[Any]]) -> Any:
        async with connected(redis_url) as pool:
            return await work(pool)

    return lambda work: asyncio.run(connect_and(work))


async def three_jobs(pool: Any) -> None:
    await pool.enqueue_many([NewJob(function="f"), NewJob(function="f"), NewJob(function="f", defer_s=60)])


async def one_runs(pool: Any) -> None:
    assert len((await Scripts(pool, INGEST).claim(1, lease_ms=20_000, worker="w")).jobs) == 1


def test_the_queues_are_listed_with_their_counts(command: Command, on_redis: Any) -> None:
    on_redis(three_jobs)
    listed = {each["name"]: each for each in command.json("list")["queues"]}
    assert set(listed) == {"ingest", "ocr", "llm", "export", "system"}
    assert (listed["ingest"]["waiting"], listed["ingest"]["deferred"]) == (2, 1)
    assert "Workers" in command.run("list")[1]


@pytest.mark.parametrize(
    ("arguments", "scope"),
    [
        ((), "queue"),
        (("--type", "ocr_document"), "type:ocr_document"),
        (("--tenant", "acme"), "tenant:acme"),
        (("--scope", "provider:openai"), "provider:openai"),
    ],
)
def test_a_scope_is_paused_and_resumed(command: Command, arguments: tuple[str, ...], scope: str) -> None:
    assert command.json("pause", "ingest", *arguments) == {"queue": "ingest", "scope": scope, "paused": True}
    assert command.rules()[scope]["paused"] is True
    assert command.json("resume", "ingest", *arguments) == {"queue": "ingest", "scope": scope, "paused": False}
    assert command.rules() == {}


def test_a_limit_is_set_replaced_and_removed(command: Command) -> None:
    made = command.json("limit", "ingest", "tenant:acme", "--concurrency", "4", "--rate", "60/m", "--weight", "2")
    assert made == {
        "queue": "ingest", "scope": "tenant:acme", "concurrency": 4, "rate_per_s": 1.0, "burst": 1, "weight": 2.0,
    }  # fmt: skip
    assert command.rules()["tenant:acme"].items() >= {"concurrency": 4, "weight": 2.0, "source": "operator"}.items()
    command.json("limit", "ingest", "tenant:acme", "--rate", "90/m", "--burst", "9")
    assert command.rules()["tenant:acme"]["concurrency"] is None
    assert command.json("unlimit", "ingest", "tenant:acme") == {"queue": "ingest", "scope": "tenant:acme"}
    assert command.rules() == {}


def test_a_hold_is_set_shown_and_lifted(command: Command) -> None:
    where = ("--where", "tenant_id=acme", "--where", "q=a=b")
    made = command.json("hold", "ingest", "bad", "--type", "f", *where, "--reason", "floods")
    assert (made["hold"], made["where"]) == ("bad", {"tenant_id": "acme", "q": "a=b"})
    rule = command.rules()["hold:bad"]
    assert (rule["function"], rule["where"], rule["paused"]) == ("f", {"tenant_id": "acme", "q": "a=b"}, True)
    assert "f q=a=b tenant_id=acme: floods" in command.run("show", "ingest")[1]
    assert command.json("lift", "ingest", "bad") == {"queue": "ingest", "lifted": "bad"}
    assert command.rules() == {}


def test_each_verb_says_in_a_line_what_it_did(command: Command) -> None:
    lines = [
        command.run(*arguments)[1]
        for arguments in (
            ("pause", "ocr"),
            ("resume", "ocr"),
            ("pause", "ocr", "--tenant", "acme"),
            ("limit", "ocr", "provider:openai", "--concurrency", "3", "--rate", "30/m"),
            ("unlimit", "ocr", "provider:openai"),
            ("hold", "ocr", "bad", "--type", "*"),
            ("lift", "ocr", "bad"),
            ("drain", "ocr"),
            ("purge", "ocr", "--yes-purge", "0"),
        )
    ]
    assert lines == [
        "paused ocr\n",
        "resumed ocr\n",
        "paused tenant:acme on ocr\n",
        "limited provider:openai on ocr: 3 at once, 30/m, burst 1\n",
        "removed the rule of provider:openai on ocr\n",
        "holding bad on ocr\n",
        "lifted bad on ocr\n",
        "drained ocr: it is paused, and nothing runs\n",
        "cancelled 0 jobs of ocr\n",
    ]


def test_a_drain_gives_up_in_time_and_leaves_the_pause(command: Command, on_redis: Any) -> None:
    on_redis(three_jobs)
    on_redis(one_runs)
    code, out, err = command.run("drain", "ingest", "--timeout", "0.05")
    assert (code, out) == (1, "")
    assert "still run after 0.05 s; it stays paused" in err
    assert command.rules()["queue"]["paused"] is True


def test_a_purge_says_how_many_would_go_and_goes_by_the_number_it_is_given(command: Command, on_redis: Any) -> None:
    on_redis(three_jobs)
    on_redis(one_runs)
    code, out, err = command.run("purge", "ingest")
    assert (code, out) == (2, "")
    assert "2 jobs would go" in err
    assert "--yes-purge 2" in err
    code, _, err = command.run("purge", "ingest", "--yes-purge", "200")
    assert code == 1
    assert "has 2 waiting jobs, not 200" in err
    assert command.json("purge", "ingest", "--yes-purge", "2") == {"queue": "ingest", "cancelled": 2}
    shown = command.json("show", "ingest")
    assert (shown["waiting"], shown["deferred"], shown["running"]) == (0, 0, 1)


@pytest.mark.parametrize(("answer", "code", "left"), [("y", 0, 0), ("n", 130, 3), ("", 130, 3)])
def test_on_a_terminal_a_purge_asks(command: Command, on_redis: Any, answer: str, code: int, left: int) -> None:
    on_redis(three_jobs)
    ended, asked = command.answering(answer, "purge", "ingest")
    assert ended == code
    assert "Cancel all 3 jobs that wait on ingest?" in asked
    assert on_redis(lambda pool: pool.zcard(INGEST.queue)) == left


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("show", "nowhere"), 1, "no queue 'nowhere'; there are ingest"),
        (("pause", "nowhere"), 1, "no queue 'nowhere'"),
        (("resume", "ingest"), 1, "has no rule for queue"),
        (("pause", "ingest", "--type", "f", "--tenant", "a"), 2, "one of --type, --tenant and --scope"),
        (("pause", "ingest", "--scope", "acme"), 1, "scope 'acme': queue, type:FUNCTION, tenant:ID"),
        (("pause", "ingest", "--tenant", "a\x1f"), 1, "queue, type:FUNCTION"),
        (("limit", "ingest", "queue"), 1, "give at least one of them"),
        (("limit", "ingest", "hold:x", "--rate", "1/s"), 1, "queue, type:FUNCTION"),
        (("limit", "ingest", "queue", "--rate", "fast"), 1, "such as 60/m"),
        (("limit", "ingest", "queue", "--concurrency", "-1"), 1, "concurrency -1: 0 (nothing starts)"),
        (("limit", "ingest", "queue", "--burst", "3"), 1, "only beside a rate"),
        (("limit", "ingest", "type:f", "--weight", "3"), 1, "only tenants take turns"),
        (("limit", "ingest", "tenant:a", "--weight", "nan"), 1, "weight nan"),
        (("unlimit", "ingest", "tenant:a"), 1, "has no rule for tenant:a"),
        (("hold", "ingest", "Bad", "--type", "f"), 1, "hold 'Bad'"),
        (("hold", "ingest", "bad"), 2, "--type"),
        (("hold", "ingest", "bad", "--type", "f", "--where", "tenant_id"), 2, "give NAME=VALUE"),
        (("hold", "ingest", "bad", "--type", "f", "--where", "=x"), 2, "give NAME=VALUE"),
        (("lift", "ingest", "bad"), 1, "has no rule for hold:bad"),
        (("drain", "ingest", "--timeout", "0"), 2, "0"),
        (("purge", "ingest", "--yes-purge", "-1"), 2, "-1"),
        (("purge", "ingest", "--json"), 2, "--yes-purge 0"),
    ],
)
def test_a_mistake_is_explained(command: Command, arguments: tuple[str, ...], code: int, said: str) -> None:
    ended, out, err = command.run(*arguments)
    assert (ended, out) == (code, "")
    assert said in " ".join(err.split())
    assert command.rules() == {}
