"""Single jobs over HTTP, on a real queue: seen by their tenant alone, followed without a gap, truly cancelled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientResponse
from redis.exceptions import ConnectionError as RedisGoneError

from jobqueue.broker.options import Options
from jobqueue.client import Client
from jobqueue.errors import RejectedFile
from tests.engine_support import INGEST, client_of, left, running_worker, wait_until
from tests.integration import sse_support as sse
from tests.unit.server_support import Lab

SECRET = "Elm Street 7"  # an argument, which no answer may show


@pytest_asyncio.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    async with client_of(redis_url) as client:
        yield client


@pytest_asyncio.fixture
async def lab(client: Client) -> AsyncIterator[Lab]:
    async with Lab.start(heartbeat_s=0.05, max_streams=2, idle_timeout_s=1.0) as running:
        running.queue.jobs = client
        yield running


def redis(client: Client) -> Any:
    return client.pool


async def enqueue(client: Client, function: str = "f", tenant: str = "acme", **options: Any) -> str:
    job = await client.pool.enqueue_job(function, tenant_id=tenant, address=SECRET, **options)
    assert job is not None
    return job.job_id


async def get(lab: Lab, path: str, **options: Any) -> tuple[int, Any]:
    answer = await lab.client.get(path, **{"headers": lab.auth, **options})
    text = await answer.text()
    assert SECRET not in text
    return answer.status, json.loads(text)


async def open_stream(lab: Lab, job_id: str, *, last: str | None = None) -> ClientResponse:
    return await sse.open_stream(lab, f"/api/jobs/{job_id}/events", last=last)


read_event = partial(sse.read_event, never=SECRET)


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_job_is_shown_from_its_enqueueing_to_its_result_without_its_arguments(
    lab: Lab, client: Client, redis_url: str
) -> None:
    async def f(ctx: dict[str, Any], **_: Any) -> dict[Any, Any]:
        await ctx["progress"](1, 2, "half")
        await ctx["partial"]({"page": 1, "price": Decimal("2.50")})
        return {"raw": b"\xff\0", "odd": float("nan"), 7: "seven"}

    job_id = await enqueue(client)
    status, view = await get(lab, f"/api/jobs/{job_id}")
    assert (status, view["state"], view["attempt"], view["result"], view["partial"]) == (200, "queued", 0, None, [])
    async with running_worker(redis_url, f):
        await client.result(job_id, timeout_s=5)
    status, view = await get(lab, f"/api/jobs/{job_id}")
    assert (status, view["state"], view["attempt"], view["error"]) == (200, "succeeded", 1, None)
    assert view["result"] == {"raw": "_wA=", "odd": None, "7": "seven"}
    assert [piece["data"] for piece in view["partial"]] == [{"page": 1, "price": "2.50"}]
    _, newer = await get(lab, f"/api/jobs/{job_id}?after={view['event_id']}")
    assert newer["partial"] == []


@pytest.mark.parametrize("method", ["GET", "GET events", "DELETE"])
@pytest.mark.parametrize("phase", ["waiting", "finished", "cancelled"])
async def test_a_job_of_another_tenant_or_of_none_is_missing(
    lab: Lab, client: Client, redis_url: str, method: str, phase: str
) -> None:
    async def f(ctx: dict[str, Any], **_: Any) -> str:
        return "theirs"

    theirs = await enqueue(client, tenant="globex")
    nobodys = await client.pool.enqueue_job("f", address=SECRET)
    odd = await client.pool.enqueue_job("f", tenant_id=["acme"])
    by_meta = await client.pool.enqueue_job("f", _options=Options(tenant="globex"), tenant_id="acme")
    assert nobodys is not None
    assert odd is not None
    assert by_meta is not None
    ids = [theirs, nobodys.job_id, odd.job_id, by_meta.job_id]
    if phase == "finished":
        async with running_worker(redis_url, f):
            for job_id in ids:
                await client.result(job_id, timeout_s=5)
    elif phase == "cancelled":
        for job_id in ids:
            assert await client.cancel_job(job_id) == "cancelled"
    verb, _, tail = method.partition(" ")
    seen = set()
    for job_id in [*ids, "ingest-never", "nosuchqueue-1", "x", "ingest-%7Bx%7D", "ingest-%00", "..%2f..", "a" * 300]:
        path = f"/api/jobs/{job_id}" + (f"/{tail}" if tail else "")
        answer = await lab.client.request(verb, path, headers=lab.auth)
        assert answer.status == 404, job_id
        body = await answer.json(content_type=None)
        seen.add(body["detail"].replace(job_id, "ID"))
    assert "no job ID" in seen
    own = await lab.client.get(f"/api/jobs/{theirs}", headers=lab.other_auth)
    assert own.status == 200
    assert (await own.json())["tenant_id"] == "globex"
    assert (await lab.client.get(f"/api/jobs/{by_meta.job_id}", headers=lab.other_auth)).status == 200
    assert INGEST.abort not in await left(redis(client))


async def test_without_a_key_nothing_is_told(lab: Lab, client: Client) -> None:
    job_id = await enqueue(client)
    for method, path in (("GET", ""), ("GET", "/events"), ("DELETE", "")):
        assert (await lab.client.request(method, f"/api/jobs/{job_id}{path}")).status == 401
    assert (await client.job(job_id)).state == "queued"


async def test_a_long_poll_answers_when_there_is_something_new(lab: Lab, client: Client, redis_url: str) -> None:
    go = asyncio.Event()

    async def f(ctx: dict[str, Any], **_: Any) -> None:
        await go.wait()
        await ctx["partial"]("new")
        await asyncio.Event().wait()

    job_id = await enqueue(client)
    async with running_worker(redis_url, f):
        await wait_until(lambda: runs(client, job_id))
        _, view = await get(lab, f"/api/jobs/{job_id}")
        poll = asyncio.create_task(get(lab, f"/api/jobs/{job_id}?wait=20&after={view['event_id']}"))
        await wait_until(lambda: bool(client._events._watchers), what="the poll's watch")
        assert not poll.done()
        go.set()
        async with asyncio.timeout(5):
            status, found = await poll
        assert (status, [piece["data"] for piece in found["partial"]]) == (200, ["new"])
        _, same = await get(lab, f"/api/jobs/{job_id}?wait=1&after={found['event_id']}")
        assert same == found | {"partial": []}


async def runs(client: Client, job_id: str) -> bool:
    return (await client.job(job_id)).state == "running"


@pytest.mark.parametrize(
    "query", ["wait=61", "wait=-1", "wait=x", "wait=1.5", "wait=", "after=x", "after=1-1.2&wait=5"]
)
async def test_a_malformed_question_is_refused(lab: Lab, client: Client, query: str) -> None:
    job_id = await enqueue(client)
    status, problem = await get(lab, f"/api/jobs/{job_id}?{query}")
    assert (status, problem["code"]) == (422, "invalid_input")


async def test_long_polls_and_streams_of_a_tenant_are_bounded_and_a_stopping_server_ends_them(client: Client) -> None:
    async with Lab.start(max_streams=2, heartbeat_s=0.05) as lab:
        lab.queue.jobs = client
        job_id = await enqueue(client)
        _, view = await get(lab, f"/api/jobs/{job_id}")
        poll = asyncio.create_task(get(lab, f"/api/jobs/{job_id}?wait=60&after={view['event_id']}"))
        stream = await open_stream(lab, job_id)
        await read_event(stream)
        await wait_until(lambda: client._events._watchers == 2)
        refused = await lab.client.get(f"/api/jobs/{job_id}/events", headers=lab.auth)
        assert refused.status == 503
        async with asyncio.timeout(5):
            await lab.client.server.close()
        assert await read_event(stream) == {}
        poll.cancel()
        await asyncio.gather(poll, return_exceptions=True)
        await wait_until(lambda: client._events._watchers == 0)


# ── streaming ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_stream_that_breaks_off_again_and_again_shows_every_piece_once_and_the_end(
    lab: Lab, client: Client, redis_url: str
) -> None:
    async def f(ctx: dict[str, Any], **_: Any) -> None:
        for n in range(120):
            await ctx["partial"](n)
            if n % 10 == 0:
                await asyncio.sleep(0.02)

    job_id = await enqueue(client)
    pieces: list[int] = []
    last: str | None = None
    async with running_worker(redis_url, f):
        for _ in range(100):
            answer = await open_stream(lab, job_id, last=last)
            for _ in range(9):
                event = await read_event(answer)
                last = event.get("id", last)
                if event.get("event") == "partial":
                    pieces.append(event["data"]["data"])
                if event.get("event") == "end":
                    break
            answer.close()
            if event.get("event") == "end":
                break
    assert event["data"] == {"state": "succeeded"}
    assert pieces == list(range(120))
    await wait_until(lambda: client._events._watchers == 0, what="the last watch's end")
    again = await open_stream(lab, job_id, last=last)
    assert (await read_event(again))["event"] == "end", "nothing is told twice"


async def test_a_stream_tells_states_progress_and_the_failure(lab: Lab, client: Client, redis_url: str) -> None:
    go = asyncio.Event()

    async def f(ctx: dict[str, Any], **_: Any) -> None:
        await ctx["progress"](1, 3, "a third")
        await go.wait()
        raise RejectedFile("the file is empty")

    job_id = await enqueue(client)
    answer = await open_stream(lab, job_id)
    first = await read_event(answer)
    assert (first["event"], first["data"]["state"]) == ("state", "queued")
    async with running_worker(redis_url, f):
        while (event := await read_event(answer))["data"].get("message") != "a third":
            pass
        assert event["data"] == {"done": 1, "total": 3, "message": "a third"} or event["event"] == "state"
        go.set()
        while (event := await read_event(answer))["event"] != "end":
            failed = event
    assert (failed["data"]["state"], failed["data"]["error"]) == ("failed", "the file is empty")
    assert event["data"] == {"state": "failed"}
    assert await read_event(answer) == {}


async def test_a_reader_that_leaves_or_a_queue_that_goes_away_ends_the_stream(
    lab: Lab, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await enqueue(client)
    left_ = await open_stream(lab, job_id)
    await read_event(left_)
    left_.close()
    await wait_until(lambda: client._events._watchers == 0)
    answer = await open_stream(lab, job_id)
    await read_event(answer)

    async def away(*_: Any, **__: Any) -> None:
        raise RedisGoneError("gone")

    monkeypatch.setattr("jobqueue.broker.jobwatch.look_at_job", away)
    assert await read_event(answer) == {}, "no end: it may be taken up again"


async def test_a_strange_last_event_id_is_refused_before_the_stream_begins(lab: Lab, client: Client) -> None:
    job_id = await enqueue(client)
    answer = await lab.client.get(f"/api/jobs/{job_id}/events", headers=lab.auth | {"Last-Event-ID": "nonsense"})
    assert answer.status == 422


# ── cancelling ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def delete(lab: Lab, job_id: str) -> tuple[int, Any]:
    answer = await lab.client.delete(f"/api/jobs/{job_id}", headers=lab.auth)
    return answer.status, await answer.json(content_type=None)


async def test_a_cancel_answers_what_is_true(lab: Lab, client: Client, redis_url: str) -> None:
    started = asyncio.Event()

    async def f(ctx: dict[str, Any], **_: Any) -> None:
        started.set()
        await asyncio.Event().wait()

    waiting = await enqueue(client, _defer_by=60)
    assert await delete(lab, waiting) == (200, {"state": "cancelled"})
    running = await enqueue(client)
    async with running_worker(redis_url, f):
        await started.wait()
        assert await delete(lab, running) == (202, {"state": "cancelling"})
        async with asyncio.timeout(1):
            while (await get(lab, f"/api/jobs/{running}"))[1]["state"] != "cancelled":  # noqa: ASYNC110  # over HTTP
                await asyncio.sleep(0.01)
    status, problem = await delete(lab, running)
    assert (status, problem["code"]) == (409, "conflict")
    before = await left(redis(client))
    assert (await delete(lab, "ingest-never"))[0] == 404
    assert await left(redis(client)) == before, "asking leaves nothing behind"
    actions = [(entry.action, entry.subject) for entry in lab.records.committed.entries if entry.action == "job.cancel"]
    assert actions == [("job.cancel", waiting), ("job.cancel", running), ("job.cancel", running)]
