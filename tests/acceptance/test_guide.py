"""Every example and every command of the guide is run, and does what it says."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import re
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from jobqueue.binding import task_taken
from jobqueue.broker.keys import queue_name
from jobqueue.broker.options import Options, Unique
from jobqueue.cli.local import TENANT
from jobqueue.client import Client, NewJob, connect
from jobqueue.errors import NotFound, Transient
from jobqueue.flows import Step
from jobqueue.job import State
from jobqueue.queues import parse
from jobqueue.registry import plan
from tests.acceptance.documents import GUIDE, blocks, commands, sections
from tests.acceptance.reader import Reader
from tests.engine_support import INGEST, client_of, left, per_job, running_worker, wait_until
from tests.integration.conftest import plain_logs  # noqa: F401  # a fixture for this module too
from tests.unit.hostile_files import encrypted_pdf, text_pdf

SECTIONS: Final = sections(GUIDE)
TOPICS: Final = [title for title in SECTIONS if title]
QUEUES: Final = ("ingest", "ocr")
Namespace = dict[str, Any]

# ── examples ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def python_of(title: str) -> str:
    """The code of a section, after what all of them begin with."""
    return "\n".join([*blocks(SECTIONS[""], "python"), *blocks(SECTIONS[title], "python")])


def promised(code: str) -> list[str]:
    """What its comments say that it prints; every ``print`` has one."""
    prints = [line for line in code.splitlines() if line.lstrip().startswith("print(")]
    found = [re.fullmatch(r"\s*print\(.*\)  # (.+)", line) for line in prints]
    assert all(found), prints
    return [match[1] for match in found if match]


def compiled(code: str) -> tuple[Any, Any]:
    """Its definitions, and its statements, which wait."""
    definitions, statements = ast.Module([], []), ast.Module([], [])
    for node in ast.parse(code).body:
        defines = isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        (definitions if defines else statements).body.append(node)
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    first, then = (compile(p, str(GUIDE), "exec", flags=flags, dont_inherit=True) for p in (definitions, statements))
    return first, then


@asynccontextmanager
async def workers(url: str, namespace: Mapping[str, Any]) -> AsyncIterator[None]:
    """A worker of each queue with the handlers that were defined, built from a plan as our Settings are."""
    policy = {"backoff": "fixed", "base_s": 0.02, "cap_s": 0.02, "max_attempts": 3}
    handlers = {
        name: each for name, each in namespace.items() if inspect.iscoroutinefunction(each) and _is_handler(each)
    }
    assert handlers
    async with AsyncExitStack() as stack:
        for name in QUEUES:
            here = {function: each for function, each in handlers.items() if _declared_on(each) in {None, name}}
            job = {"timeout_s": 70.0, "retry": "soon", "keep_result_s": 60.0}
            queue = {"weight": 1.0, "concurrency": 10, "jobs": dict.fromkeys(here, job)}
            found = plan(parse({"retry": {"soon": policy}, "queues": {name: queue}}, "test")[name], here)
            extra = {"policies": found.policies, "versions": found.versions}
            await stack.enter_async_context(running_worker(url, *found.functions, queue=name, extra=extra))
        yield


def _is_handler(value: Any) -> bool:
    return inspect.iscoroutinefunction(value) and next(iter(inspect.signature(value).parameters), None) == "ctx"


def _declared_on(handler: Callable[..., Any]) -> str | None:
    task = task_taken(handler)
    return task.declared.queue if task else None


HOLDS_TOO: Final[dict[str, Callable[[Namespace], bool]]] = {
    "Enqueueing": lambda found: found["handle"].answer == "enqueued" and type(found["pages"]) is found["Pages"],
    "Waiting and following": lambda found: len({event.id for event in found["events"]}) == len(found["events"]),
    "Flows": lambda found: all(step.state == "succeeded" for step in found["task"].steps),
    "Limits": lambda found: found["busy"] == [] and "provider:openai" in found["rules"],
    "Schedules": lambda found: f"{found['schedule'].next_run_at:%M}" == "30",
}
"""What a section's text says and its example doesn't print."""


@pytest.mark.parametrize("title", TOPICS)
async def test_an_example_prints_what_its_comments_say(
    title: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBQUEUE_REDIS_URL", redis_url)
    code = python_of(title)
    expected = promised(code)
    assert expected
    definitions, statements = compiled(code)
    module = ModuleType("guide")
    monkeypatch.setitem(sys.modules, "guide", module)  # where pydantic looks for the module of a class
    printed: list[str] = []
    namespace = module.__dict__
    namespace["print"] = lambda *values: printed.append(" ".join(map(str, values)))  # workers log to the same output
    exec(definitions, namespace)
    async with workers(redis_url, namespace):
        try:
            await eval(statements, namespace)
            assert printed == expected
            assert title not in HOLDS_TOO or HOLDS_TOO[title](namespace)
            await wait_until(lambda: _nothing_left(namespace["client"], waiting="Unique" in title))
        finally:
            await namespace["client"].close()


async def _nothing_left(client: Client, *, waiting: bool) -> bool:
    """No key of a job that has ended; the report of the section on unique jobs is still ``waiting``."""
    pool: Any = client.pool
    return waiting or not per_job(await left(pool))


async def test_a_unique_job_keeps_its_key_through_its_retries(redis_url: str) -> None:
    seen: list[str] = []

    async def f(ctx: dict[str, Any]) -> None:
        job = NewJob(function="f", options=Options(unique=Unique(key="k")))
        seen.append((await client.pool.enqueue(job, queue=INGEST.name)).answer)
        if len(seen) < 3:
            raise Transient("not yet")

    async with client_of(redis_url) as client, running_worker(redis_url, f):
        first = await client.pool.enqueue(NewJob(function="f", options=Options(unique=Unique(key="k"))))
        await client.result(first.id, timeout_s=5)
    assert seen == ["duplicate"] * 3


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────


SYSTEM: Final = queue_name("system")
BESIDE: Final = (
    "Priorities and fair sharing",
    "Limits",
    "Schedules",
    "Pausing, holds, draining and purging",
    "Cancelling",
)
"""Sections whose commands are run beside those of the others, which takes half of the time."""


class Operator:
    """Runs the guide's commands, and sees to what each of them needs."""

    def __init__(self, reader: Reader, client: Client) -> None:
        self.reader = reader
        self.client = client
        self.letters = client.dead_letters("ingest")
        self.begun = asyncio.Event()
        self.read = self.locked = self.dead = ""

    async def begin(self) -> None:
        """One file that was read, and one that nobody can."""
        self.read, self.locked = await asyncio.gather(self._submit("agreement"), self._submit("locked", code=1))
        (letter,) = await self.letters.list()
        self.dead = letter.job_id
        self.begun.set()

    async def _submit(self, name: str, *, code: int = 0, wait: str = "--wait") -> str:
        answer = json.loads(await self.reader.run(f"jobqueue submit {name}.pdf {wait} --json", code=code))
        return str(answer["files"][0]["task_id"])

    async def run(self, line: str) -> None:
        words = line.split()
        if words[1:3] == ["queue", "drain"]:
            await self.begun.wait()  # what it pauses, and what is purged then, is needed to read a file
        match words[1:3]:
            case ["dead", verb]:
                await self.reader.run(line.replace("JOB", self.dead))
                if verb == "replay":
                    await wait_until(self._buried_again, within_s=20, what="its next dead letter")
            case ["job", "cancel"]:
                later = NewJob(function="expire", kwargs={"tenant_id": TENANT}, defer_s=60)
                job = await self.client.pool.enqueue(later, queue=SYSTEM)
                await self.reader.run(line.replace("JOB", job.id))
                assert await self.client.state(job.id) is State.CANCELLED
            case ["job", _]:
                step = (await self.client.view(self.read)).steps[0]
                assert step.job_id in await self.reader.run(line.replace("JOB", step.job_id) + " --json")
            case ["flow", "cancel"]:
                await self.client.control("ingest").pause()
                task_id = await self._submit("agreement", wait="")
                assert "cancelled" in await self.reader.run(line.replace("TASK", task_id))
                await self.client.control("ingest").resume()
            case ["flow", "replay"]:
                failed = "--failed-only" in words
                task_id = self.locked if failed else self.read
                await self.reader.run(line.replace("TASK", task_id))
                await self.reader.run(f"jobqueue watch {task_id}", code=1 if failed else 0)
            case _:
                await self.reader.run(line.replace("TASK", self.read))

    async def _buried_again(self) -> bool:
        try:
            return bool((await self.letters.get(self.dead)).detail()["history"])
        except NotFound:
            return False


@pytest.mark.timeout(300)
async def test_every_command_of_the_guide_does_what_it_says(tmp_path: Path) -> None:
    reader, queues = Reader(tmp_path), [*QUEUES, "llm", "export", "system"]
    (tmp_path / "agreement.pdf").write_bytes(text_pdf())
    (tmp_path / "locked.pdf").write_bytes(encrypted_pdf())
    lines = {title: commands(SECTIONS[title]) for title in TOPICS}
    assert sum(map(len, lines.values())) == len(commands(GUIDE.read_text("utf-8"))) > 30
    async with (
        reader.service("jobqueue up"),
        await connect("embedded", queues=queues, data_dir=tmp_path / "data") as client,
    ):
        operator = Operator(reader, client)

        async def run_all(titles: Sequence[str]) -> None:
            for title in titles:
                for line in lines[title]:
                    await operator.run(line)

        async with asyncio.TaskGroup() as group:
            group.create_task(run_all(BESIDE))
            await operator.begin()
            await run_all([title for title in TOPICS if title not in BESIDE])
        for name in queues:
            assert [rule.scope for rule in await client.control(name).rules() if rule.paused] == []
        assert "tidy" not in [schedule.name for schedule in await client.schedules.list()]
        await what_is_said_of_flows_of_other_services(reader, client)


async def what_is_said_of_flows_of_other_services(reader: Reader, client: Client) -> None:
    own = await client.enqueue_flow(Step(name="a", queue="ocr", function="of_another_service"), tenant_id=TENANT)
    assert own in await reader.run(f"jobqueue flow show {own} --json")
    await reader.run(f"jobqueue flow cancel {own}")
