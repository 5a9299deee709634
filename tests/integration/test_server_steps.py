"""Replaying tasks and looking at the children of their steps, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import pytest_asyncio

from jobqueue.job import new_id
from tests.unit.server_support import Lab


@pytest_asyncio.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab.start() as running:
        yield running


async def finished(lab: Lab, *, queued: bool = True) -> str:
    task_id = await lab.add_task(queued=queued)
    async with lab.records.unit() as unit:
        await unit.finish_task("acme", task_id, state="failed", error="boom", at=datetime.now(UTC))
    if queued:
        await lab.queue.change(task_id, state="failed")
    return task_id


async def test_a_finished_task_is_replayed_from_a_step_and_its_row_is_open_again(lab: Lab) -> None:
    task_id = await finished(lab)
    body = {"step": "extract", "failed_only": True}
    answer = await lab.client.post(f"/api/tasks/{task_id}/replay", json=body, headers=lab.auth)
    assert (answer.status, answer.headers["Location"]) == (202, f"/api/tasks/{task_id}/status")
    assert lab.queue.replays == [(task_id, "extract", True)]
    row = lab.records.committed.tasks[task_id]
    assert (row.state, row.error, row.finished_at) == ("accepted", None, None)
    assert (lab.records.committed.entries[-1].action, lab.records.committed.entries[-1].subject) == (
        "task.replay", task_id,
    )  # fmt: skip


async def test_a_refused_replay_leaves_the_row_as_it_was(lab: Lab) -> None:
    task_id = await finished(lab)
    before = lab.records.committed.tasks[task_id]
    answer = await lab.client.post(f"/api/tasks/{task_id}/replay", json={"step": "nowhere"}, headers=lab.auth)
    assert (answer.status, (await answer.json(content_type=None))["code"]) == (422, "invalid_input")
    assert lab.records.committed.tasks[task_id] == before


async def test_a_task_that_runs_is_not_replayed(lab: Lab) -> None:
    task_id = await lab.add_task()
    answer = await lab.client.post(f"/api/tasks/{task_id}/replay", headers=lab.auth)
    assert (answer.status, (await answer.json(content_type=None))["code"]) == (409, "conflict")
    assert lab.queue.replays == []


async def test_a_task_that_the_queue_has_forgotten_is_submitted_whole(lab: Lab) -> None:
    task_id = await finished(lab, queued=False)
    answer = await lab.client.post(f"/api/tasks/{task_id}/replay", json={"step": "extract"}, headers=lab.auth)
    assert (answer.status, lab.records.committed.tasks[task_id].state) == (404, "failed")
    assert (await lab.client.post(f"/api/tasks/{task_id}/replay", headers=lab.auth)).status == 202
    assert task_id in lab.queue.flows


async def test_the_children_of_a_step_come_in_pages(lab: Lab) -> None:
    task_id = await lab.add_task()
    answer = await lab.client.get(f"/api/tasks/{task_id}/steps/ocr/children?offset=7&limit=9", headers=lab.auth)
    page = await answer.json()
    assert (page["step"], page["offset"], page["total"], page["children"][0]["index"]) == ("ocr", 7, 9, 7)
    bad = await lab.client.get(f"/api/tasks/{task_id}/steps/ocr/children?offset=-1", headers=lab.auth)
    assert bad.status == 422


@pytest.mark.parametrize("method", ["post", "get"])
async def test_another_tenants_task_is_as_good_as_missing(lab: Lab, method: str) -> None:
    path = "replay" if method == "post" else "steps/ocr/children"
    for task_id in (await finished(lab), new_id("task")):
        answer = await lab.client.request(method, f"/api/tasks/{task_id}/{path}", headers=lab.other_auth)
        assert answer.status == 404
    assert lab.queue.replays == []
