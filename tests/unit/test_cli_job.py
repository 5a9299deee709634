"""``jobqueue job``, against a server on a socket that answers as it is told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from click.testing import CliRunner

from jobqueue.cli import job as job_module
from jobqueue.cli.api import Api, open_api
from jobqueue.cli.common import Failed
from jobqueue.errors import Conflict, NotFound
from jobqueue.server.problems import to_response
from jobqueue.views import JobView

JOB = "ocr-1/a?b"  # whatever a service calls its job
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _view(state: str, **fields: Any) -> JobView:
    return JobView(id=JOB, queue="ocr", function="read", tenant_id="acme", state=state, **fields)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[Handler], None]:
    """Have the commands talk to a server that this handler is."""

    def install(handler: Handler) -> None:
        @asynccontextmanager
        async def connect(_config: object) -> AsyncIterator[Api]:
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", handler)
            async with TestServer(app) as server, open_api(str(server.make_url("")).rstrip("/"), "jq_key") as api:
                yield api

        monkeypatch.setattr(job_module, "connect", connect)

    return install


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobqueue.settings.load", lambda: None)


def test_show_prints_what_is_known_on_lines_of_its_own(serve: Callable[[Handler], None]) -> None:
    paths = []

    async def answer(request: web.Request) -> web.Response:
        paths.append(request.raw_path)
        piece = {"id": "1-1", "number": 1, "attempt": 1, "data": {"text": "\x1b[31mred"}}
        view = _view("running", attempt=2, done=1, total=3, message="page 1", partial=[piece])
        return web.json_response(text=view.model_dump_json())

    serve(answer)
    shown = CliRunner().invoke(job_module.job, ["show", JOB], catch_exceptions=False)
    assert paths == ["/api/jobs/ocr-1%2Fa%3Fb"]
    assert "1 of 3 page 1" in shown.output
    assert "\x1b[31mred" not in shown.output
    document = json.loads(CliRunner().invoke(job_module.job, ["show", JOB, "--json"]).output)
    assert (document["state"], document["attempt"]) == ("running", 2)


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("end", ["succeeded", "failed"])
def test_watch_takes_a_broken_stream_up_where_it_broke_off(
    serve: Callable[[Handler], None], end: str, as_json: bool
) -> None:
    seen: list[str | None] = []
    lines = [
        ('id: 1-0.00000001\nevent: state\ndata: {"state": "running"}\n\n', False),
        ('id: 1-1.00000001\nevent: partial\ndata: {"number": 1, "attempt": 1, "data": "one"}\n\n', True),
        ('id: 1-2.00000001\nevent: partial\ndata: {"number": 2, "attempt": 1, "data": "two"}\n\n', False),
        (f'id: 1-2.00000002\nevent: state\ndata: {{"state": "{end}"}}\n\nevent: end\ndata: {{}}\n\n', False),
    ]

    async def answer(request: web.Request) -> web.StreamResponse:
        if not request.path.endswith("/events"):
            return web.json_response(text=_view(end, error="no" if end == "failed" else None).model_dump_json())
        seen.append(request.headers.get("Last-Event-ID"))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"retry: 3000\n\n: still here\n\n")
        while lines:
            line, breaks = lines.pop(0)
            await response.write(line.encode())
            if breaks:
                assert request.transport is not None
                request.transport.abort()
                break
        return response

    serve(answer)
    arguments = ["watch", JOB, "--json"] if as_json else ["watch", JOB]
    shown = CliRunner().invoke(job_module.job, arguments)
    assert seen == [None, "1-1.00000001"]
    if as_json:
        document = json.loads(shown.stdout)
        assert [piece["data"] for piece in document["partial"]] == ["one", "two"]
        assert document["state"] == end
    else:
        assert shown.stdout == '"one"\n"two"\n'
    if end == "failed":
        assert isinstance(shown.exception, Failed)
        assert str(shown.exception) == f"{JOB}: no"
    else:
        assert shown.exception is None


def test_cancel_says_what_the_server_says(serve: Callable[[Handler], None]) -> None:
    answers: list[web.Response] = [
        web.json_response({"state": "cancelled"}),
        web.json_response({"state": "cancelling"}, status=202),
        to_response(Conflict("job x has finished already")),
        to_response(NotFound("no job x")),
    ]

    async def answer(request: web.Request) -> web.Response:
        assert request.method == "DELETE"
        return answers.pop(0)

    serve(answer)
    run = CliRunner().invoke
    assert run(job_module.job, ["cancel", JOB]).output == f"{JOB}  cancelled\n"
    assert json.loads(run(job_module.job, ["cancel", JOB, "--json"]).output) == {"job_id": JOB, "state": "cancelling"}
    assert isinstance(run(job_module.job, ["cancel", JOB]).exception, Conflict)
    assert isinstance(run(job_module.job, ["cancel", JOB]).exception, NotFound)


@pytest.mark.parametrize("job_id", ["", ".", ".."])
def test_an_id_that_is_a_path_is_never_sent(serve: Callable[[Handler], None], job_id: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        raise AssertionError(request.path)

    serve(answer)
    assert isinstance(CliRunner().invoke(job_module.job, ["show", job_id]).exception, NotFound)
