"""Event streams: until the end, cut by readers who leave or don't read, and by a server that stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from aiohttp import ClientResponse
from structlog.testing import capture_logs

from tests.integration import sse_support as sse
from tests.integration.sse_support import read_event
from tests.unit.server_support import Lab, wait_until


@pytest_asyncio.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab.start(heartbeat_s=0.05, max_streams=2, idle_timeout_s=0.3) as running:
        yield running


async def open_stream(lab: Lab, task_id: str, *, last: str | None = None) -> ClientResponse:
    return await sse.open_stream(lab, f"/api/tasks/{task_id}/events", last=last)


async def test_a_stream_tells_every_change_until_the_end(lab: Lab) -> None:
    task_id = await lab.add_task()
    answer = await open_stream(lab, task_id)
    assert answer.content_type == "text/event-stream"
    assert answer.headers["Cache-Control"] == "no-store"
    first = await read_event(answer)
    assert (first["event"], first["data"]["state"]) == ("status", "queued")
    await lab.queue.change(task_id, state="running", progress=0.5)
    second = await read_event(answer)
    assert second["data"]["progress"] == 0.5
    assert second["id"] != first["id"]
    await lab.queue.change(task_id, state="succeeded", progress=1.0)
    assert (await read_event(answer))["data"]["state"] == "succeeded"
    last = await read_event(answer)
    assert (last["event"], last["data"]) == ("end", {"state": "succeeded"})
    assert await read_event(answer) == {}
    await wait_until(lambda: lab.queue.watchers == 0)


async def test_a_reader_that_comes_back_is_not_sent_what_it_has_seen(lab: Lab) -> None:
    task_id = await lab.add_task()
    answer = await open_stream(lab, task_id)
    seen = (await read_event(answer))["id"]
    answer.close()
    answer = await open_stream(lab, task_id, last=seen)
    await wait_until(lambda: lab.queue.watchers > 0)
    await lab.queue.change(task_id, progress=0.5)
    newer = await read_event(answer)
    assert newer["data"]["progress"] == 0.5
    answer.close()
    await lab.queue.change(task_id, state="succeeded", progress=1.0)
    answer = await open_stream(lab, task_id, last="a strange one")
    ended = await read_event(answer)
    assert ended["data"]["state"] == "succeeded"
    answer = await open_stream(lab, task_id, last=ended["id"])
    assert (await read_event(answer))["event"] == "end", "not told twice"


async def test_a_quiet_stream_is_kept_open_by_comments(lab: Lab) -> None:
    answer = await open_stream(lab, await lab.add_task())
    await read_event(answer)
    assert (await asyncio.wait_for(answer.content.readline(), 5)).startswith(b":")
    answer.close()


@pytest.mark.parametrize("queued", [True, False])
async def test_a_finished_task_s_stream_is_its_last_view_and_the_end(lab: Lab, queued: bool) -> None:
    task_id = await lab.add_task(queued=queued)
    if queued:
        await lab.queue.change(task_id, state="failed", error="no text")
    else:
        async with lab.records.unit() as unit:
            await unit.finish_task("acme", task_id, state="failed", error="no text", at=datetime.now(UTC))
    answer = await open_stream(lab, task_id)
    assert (await read_event(answer))["data"]["error"] == "no text"
    assert (await read_event(answer))["event"] == "end"
    assert await read_event(answer) == {}


async def test_a_task_not_queued_yet_is_told_once_without_an_end(lab: Lab) -> None:
    answer = await open_stream(lab, await lab.add_task(queued=False))
    assert (await read_event(answer))["data"]["state"] == "accepted"
    assert await read_event(answer) == {}


async def test_a_queue_lost_in_the_middle_ends_the_stream_without_an_end(lab: Lab) -> None:
    task_id = await lab.add_task()
    answer = await open_stream(lab, task_id)
    await read_event(answer)
    await wait_until(lambda: lab.queue.watchers == 1)
    lab.queue.down = True
    await lab.queue.change(task_id, progress=0.1)
    assert await read_event(answer) == {}
    await wait_until(lambda: lab.queue.watchers == 0)


async def test_a_reader_that_leaves_frees_its_watch_before_the_next_heartbeat() -> None:
    async with Lab.start(heartbeat_s=60.0) as lab:
        answer = await open_stream(lab, await lab.add_task())
        await read_event(answer)
        await wait_until(lambda: lab.queue.watchers == 1)
        with capture_logs() as logs:
            answer.close()
            await wait_until(lambda: lab.queue.watchers == 0)
            await wait_until(lambda: bool(logs))
        assert [entry["path"] for entry in logs] == ["/api/tasks/{id}/events"]


async def test_a_reader_that_does_not_read_is_cut_and_holds_up_nobody(lab: Lab) -> None:
    slow, brisk = await lab.add_task(), await lab.add_task()
    url = lab.client.make_url("/")
    reader, writer = await asyncio.open_connection(url.host, url.port, limit=1)
    writer.write(f"GET /api/tasks/{slow}/events HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {lab.key}\r\n\r\n".encode())
    await reader.read(1)
    answer = await open_stream(lab, brisk)
    await read_event(answer)
    await wait_until(lambda: lab.queue.watchers == 2)
    for number in range(400):  # more than the sockets' buffers hold
        await lab.queue.change(slow, error=f"{number} " + "x" * 200_000)
        await asyncio.sleep(0)
        if lab.queue.watchers == 1:
            break
    await lab.queue.change(brisk, progress=0.7)
    assert (await read_event(answer))["data"]["progress"] == 0.7
    await wait_until(lambda: lab.queue.watchers == 1)
    writer.close()
    answer.close()


async def test_streams_are_bounded_for_each_tenant(lab: Lab) -> None:
    task_id = await lab.add_task()
    streams = [await open_stream(lab, task_id) for _ in range(2)]
    refused = await lab.client.get(f"/api/tasks/{task_id}/events", headers=lab.auth)
    assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
    theirs = await lab.add_task("globex")
    other = await lab.client.get(f"/api/tasks/{theirs}/events", headers=lab.other_auth)
    assert other.status == 200
    for answer in (*streams, other):
        answer.close()
    await wait_until(lambda: lab.queue.watchers == 0)
    (await open_stream(lab, task_id)).close()


async def test_a_server_that_stops_ends_its_streams() -> None:
    async with Lab.start() as lab:
        answer = await open_stream(lab, await lab.add_task())
        await read_event(answer)
        stopping = asyncio.create_task(lab.client.server.close())
        assert await read_event(answer) == {}
        await asyncio.wait_for(stopping, 5)
        assert lab.queue.watchers == 0
