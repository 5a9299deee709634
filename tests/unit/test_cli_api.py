"""The commands' side of the API, against a server on a socket that answers as it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import BodyPartReader, web
from aiohttp.test_utils import TestServer

from jobqueue.cli.api import Api, check, connect, open_api
from jobqueue.cli.local_files import address_file, key_file
from jobqueue.errors import (
    ConfigError,
    Denied,
    InvalidInput,
    JobqueueError,
    LimitExceeded,
    NotFound,
    Permanent,
    RejectedFile,
    Unavailable,
)
from jobqueue.server.problems import to_response
from jobqueue.settings import Settings
from jobqueue.views import TaskView

TASK = "task-0123456789abcdefghjkmnpqrs"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def _serving(handler: Handler) -> AsyncIterator[Api]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(app) as server, open_api(str(server.make_url("")).rstrip("/"), "jq_key") as api:
        yield api


def _view(state: str) -> TaskView:
    return TaskView(
        id=TASK, kind="process_file", tenant_id="t", state=state, progress=0.0, steps=[], created_at=datetime.now(UTC)
    )


@pytest.mark.parametrize(
    "error",
    [
        NotFound("there is no such task"),
        Denied("this API key is not valid"),
        LimitExceeded("the file is too large"),
        InvalidInput("the name is wrong"),
        Unavailable("Redis is away"),
    ],
)
async def test_the_servers_errors_come_back_as_what_they_were(error: JobqueueError) -> None:
    async def refuse(_request: web.Request) -> web.Response:
        return to_response(error)

    async with _serving(refuse) as api:
        with pytest.raises(type(error), match=str(error)) as caught:
            await api.task(TASK)
    assert type(caught.value) is type(error)


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (web.Response(text="<html>It works!</html>", content_type="text/html"), Unavailable),
        (web.json_response({"hello": "world"}), Unavailable),
        (web.Response(status=502, text="Bad Gateway"), Unavailable),
        (web.Response(status=302, headers={"Location": "http://elsewhere.example/"}), Unavailable),
        (web.json_response({"detail": "no", "code": "teapot"}, status=418), Permanent),
    ],
)
async def test_what_is_no_answer_of_ours_is_an_error_and_no_traceback(
    response: web.Response, error: type[JobqueueError]
) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return response

    async with _serving(answer) as api:
        with pytest.raises(error):
            await api.task(TASK)


async def test_the_key_is_sent_and_a_malformed_task_id_never_is() -> None:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers["Authorization"])
        return web.json_response(text=_view("running").model_dump_json())

    async with _serving(answer) as api:
        with pytest.raises(NotFound, match="a task's id is"):
            await api.task("../queues")
        assert seen == []
        assert (await api.task(TASK)).state == "running"
    assert seen == ["Bearer jq_key"]


async def test_a_stream_that_breaks_off_is_taken_up_again_until_the_task_has_finished() -> None:
    streams: list[list[str]] = [["running"], [], ["running", "succeeded"]]

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/status"):
            return web.json_response(text=_view("queued").model_dump_json())
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"retry: 3000\n\n: still here\n\n")
        for state in streams.pop(0):
            await response.write(f"id: 1\nevent: status\ndata: {_view(state).model_dump_json()}\n\n".encode())
        assert request.transport is not None
        if streams:
            request.transport.abort()
        return response

    async with _serving(answer) as api:
        assert [view.state async for view in api.watch(TASK)] == ["queued", "running", "running", "succeeded"]


async def test_a_server_that_is_not_there_is_no_reason_to_wait() -> None:
    async with open_api("http://127.0.0.1:1", "jq_key") as api:
        with pytest.raises(Unavailable, match=r"no server answers at http://127\.0\.0\.1:1: start it"):
            await anext(api.watch(TASK))


async def test_an_address_that_is_none_is_a_wrong_setting() -> None:
    async with open_api("not an address", "jq_key") as api:
        with pytest.raises(ConfigError, match="JOBQUEUE_SERVER_URL"):
            await api.queues()


async def test_a_download_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"half a report")
        assert request.transport is not None
        request.transport.abort()
        return response

    async with _serving(answer) as api:
        with pytest.raises(Unavailable):
            await api.download("/api/contracts/x/reports/pdf", tmp_path / "report.pdf")
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240  # a test's small directory


async def test_a_files_bytes_and_name_arrive_whole(tmp_path: Path) -> None:
    received: dict[str, bytes] = {}

    async def answer(request: web.Request) -> web.Response:
        part = await (await request.multipart()).next()
        assert isinstance(part, BodyPartReader)
        received[str(part.filename)] = bytes(await part.read())
        return web.json_response({"task_id": TASK, "file_id": "file-1", "contract_id": "contract-1"}, status=202)

    path = tmp_path / 'Kaufvertrag "Süd".pdf'
    path.write_bytes(bytes(range(256)) * 2_000)
    async with _serving(answer) as api:
        accepted = await api.upload(path)
    assert accepted.task_id == TASK
    assert received == {path.name: path.read_bytes()}


def test_what_is_no_file_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    for name, reason in (("nowhere.pdf", "no such file"), ("", "not a file")):
        with pytest.raises(RejectedFile, match=reason):
            check(tmp_path / name)


async def test_key_and_address_are_those_of_this_machine_unless_the_settings_name_others(tmp_path: Path) -> None:
    config = Settings(data_dir=tmp_path)
    with pytest.raises(Denied, match="JOBQUEUE_API_KEY"):
        async with connect(config):
            pass
    key_file(config).write_text("jq_stored\n")
    async with connect(config) as api:
        assert api.url == "http://127.0.0.1:8484"
    address_file(config).write_text("http://127.0.0.1:9999")
    async with connect(config) as api:
        assert api.url == "http://127.0.0.1:9999"
    async with connect(config.model_copy(update={"server_url": "https://jobs.example/"})) as api:
        assert api.url == "https://jobs.example"
