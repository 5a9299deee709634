"""Handlers of declared job types, as the registry binds them for a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from jobqueue.errors import ConfigError, InvalidInput
from jobqueue.queues import Queue, parse
from jobqueue.registry import Handler, plan
from jobqueue.typed import Task

if TYPE_CHECKING:
    from collections.abc import Mapping as Unseen


class Outcome(BaseModel):
    seen: str


class Read(Task[Outcome], queue="ocr", function="read", version=2, upgrades={1: lambda data: data | {"pages": 1}}):
    file_id: str
    pages: int


class Elsewhere(Task[None], queue="llm", function="read"):
    pass


def queue_with(*jobs: str) -> Queue:
    policy = {"backoff": "fixed", "base_s": 1.0, "cap_s": 1.0, "max_attempts": 2}
    spec = {job: {"timeout_s": 5.0, "retry": "once", "keep_result_s": 60.0} for job in jobs}
    ocr = {"weight": 1.0, "concurrency": 1, "jobs": spec}
    return parse({"retry": {"once": policy}, "queues": {"ocr": ocr}}, "test")["ocr"]


async def call(handler: Handler, *args: Any, _meta: dict[str, Any] | None = None, **kwargs: Any) -> Any:
    """Call it as the engine does, through the plan of a queue whose one job type is ``read``."""
    (function,) = plan(queue_with("read"), {"read": handler}, [Read, Elsewhere]).functions
    return await function.coroutine({"meta": _meta or {}}, *args, **kwargs)


async def takes_the_task(ctx: dict[str, Any], task: Read) -> Outcome:
    return Outcome(seen=f"{task.file_id}:{task.pages}")


async def takes_arguments(ctx: dict[str, Any], *, file_id: str, pages: int) -> dict[str, Any]:
    return {"seen": f"{file_id}:{pages}"}


@pytest.mark.parametrize("handler", [takes_the_task, takes_arguments])
async def test_a_handler_takes_the_task_or_its_fields_and_its_result_becomes_plain(handler: Handler) -> None:
    assert await call(handler, _meta={"v": 2}, file_id="f", pages=3) == {"seen": "f:3"}
    assert await call(handler, file_id="f") == {"seen": "f:1"}, "what carries no version is of the first"
    assert await call(handler, _meta={"v": 2}, file_id="f", pages=3, newer=True) == {"seen": "f:3"}


@pytest.mark.parametrize("handler", [takes_the_task, takes_arguments])
async def test_a_payload_that_does_not_fit_never_reaches_the_handler(handler: Handler) -> None:
    with pytest.raises(InvalidInput, match="file_id: Field required"):
        await call(handler)
    with pytest.raises(InvalidInput, match="takes its arguments by name"):
        await call(handler, "f")
    with pytest.raises(InvalidInput, match="of version 3, and only 2 is known here"):
        await call(handler, _meta={"v": 3}, file_id="f", pages=1)
    with pytest.raises(InvalidInput, match="file_id: Field required"):
        await call(handler, ctx="an argument of this name doesn't get in the way")


async def test_a_result_that_is_not_as_declared_is_the_handler_s_permanent_failure() -> None:
    async def wrong(ctx: dict[str, Any], *, file_id: str, pages: int) -> int:
        return pages

    with pytest.raises(InvalidInput, match="the result of 'read' isn't what it declares"):
        await call(wrong, file_id="f")


async def test_a_handler_without_a_declaration_gets_what_comes() -> None:
    async def plain(ctx: dict[str, Any], a: int, *, b: int) -> int:
        return a + b

    found = plan(queue_with("plain"), {"plain": plain}, [Read])
    assert found.versions == {}
    assert await found.functions[0].coroutine({}, 1, b=2) == 3


def test_a_plan_knows_the_versions_that_its_handlers_read() -> None:
    assert plan(queue_with("read"), {"read": takes_the_task}).versions == {"read": 2}
    assert plan(queue_with("read"), {"read": takes_arguments}, [Elsewhere, Read]).versions == {"read": 2}
    assert plan(queue_with("read"), {"read": takes_arguments}, [Elsewhere]).versions == {}


def test_a_handler_of_another_job_type_s_task_is_a_configuration_error() -> None:
    async def handler(ctx: dict[str, Any], task: Elsewhere) -> None: ...

    with pytest.raises(ConfigError, match="'read' on queue 'ocr' takes a Elsewhere: it declares another job type"):
        plan(queue_with("read"), {"read": handler})


def test_an_annotation_that_can_not_be_read_is_a_configuration_error() -> None:
    async def handler(ctx: dict[str, Any], task: Unseen[str, str]) -> None: ...

    with pytest.raises(ConfigError, match=r"handler .*'Unseen' is not defined: import what annotates it"):
        plan(queue_with("read"), {"read": handler})
