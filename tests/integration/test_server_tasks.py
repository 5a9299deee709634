"""Watching, listing and cancelling tasks; queues and health."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import pytest_asyncio

from jobqueue.job import new_id
from tests.unit.server_support import Lab


@pytest_asyncio.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab.start(ready_timeout_s=0.2) as running:
        yield running


async def finish(lab: Lab, task_id: str, state: str, error: str | None = None) -> None:
    async with lab.records.unit() as unit:
        await unit.finish_task("acme", task_id, state=state, error=error, at=datetime.now(UTC))


async def test_the_status_is_the_queue_s_live_view(lab: Lab) -> None:
    task_id = await lab.add_task()
    await lab.queue.change(task_id, state="running", progress=0.4)
    answer = await lab.client.get(f"/api/tasks/{task_id}/status", headers=lab.auth)
    view = await answer.json()
    assert (answer.status, view["state"], view["progress"]) == (200, "running", 0.4)
    assert [step["name"] for step in view["steps"]] == ["analyse", "summarise", "extract"]


@pytest.mark.parametrize(("state", "step"), [("succeeded", "succeeded"), ("failed", "unknown")])
async def test_a_task_the_queue_has_forgotten_is_known_by_its_row(lab: Lab, state: str, step: str) -> None:
    task_id = await lab.add_task(queued=False)
    await finish(lab, task_id, state, error="no text" if state == "failed" else None)
    view = await (await lab.client.get(f"/api/tasks/{task_id}/status", headers=lab.auth)).json()
    assert view["state"] == state
    assert view["finished_at"]
    assert {found["state"] for found in view["steps"]} == {step}


async def test_while_the_queue_is_away_only_finished_tasks_can_be_answered(lab: Lab) -> None:
    done, open_ = await lab.add_task(), await lab.add_task()
    await finish(lab, done, "succeeded")
    lab.queue.down = True
    assert (await lab.client.get(f"/api/tasks/{done}/status", headers=lab.auth)).status == 200
    answer = await lab.client.get(f"/api/tasks/{open_}/status", headers=lab.auth)
    assert (answer.status, (await answer.json(content_type=None))["code"]) == (503, "unavailable")


@pytest.mark.parametrize(
    "task_id",
    ["task-1", "queues", "task-" + "A" * 26, "task-" + "0" * 26 + ".", "file-" + "0" * 26, "..%2f..", "task-%00"],
)
async def test_a_malformed_id_is_missing(lab: Lab, task_id: str) -> None:
    assert (await lab.client.delete(f"/api/tasks/{task_id}", headers=lab.auth)).status in {404, 405}
    if task_id != "queues":
        assert (await lab.client.get(f"/api/tasks/{task_id}/status", headers=lab.auth)).status == 404


async def test_the_list_is_newest_first_with_live_views_and_is_bounded(lab: Lab) -> None:
    ids = [await lab.add_task() for _ in range(3)]
    await lab.queue.change(ids[2], state="running", progress=0.5)
    lab.queue.forget(ids[1])
    found = (await (await lab.client.get("/api/tasks?limit=2", headers=lab.auth)).json())["tasks"]
    assert [(task["id"], task["state"]) for task in found] == [(ids[2], "running"), (ids[1], "accepted")]
    assert all(task["contract_id"].startswith("contract-") for task in found)


async def test_the_list_outlives_the_queue(lab: Lab) -> None:
    ids = [await lab.add_task() for _ in range(20)]
    lab.queue.down = True
    found = (await (await lab.client.get("/api/tasks", headers=lab.auth)).json())["tasks"]
    assert [task["id"] for task in found] == ids[::-1]


@pytest.mark.parametrize("limit", ["0", "201", "-1", "x", "", "9" * 5_000, "\u0661"])
async def test_a_limit_that_is_none_is_refused(lab: Lab, limit: str) -> None:
    answer = await lab.client.get("/api/tasks", params={"limit": limit}, headers=lab.auth)
    assert answer.status == 422


async def test_a_waiting_task_is_cancelled_at_once_and_on_record(lab: Lab) -> None:
    task_id = await lab.add_task()
    answer = await lab.client.delete(f"/api/tasks/{task_id}", headers=lab.auth)
    assert (answer.status, await answer.json()) == (200, {"state": "cancelled"})
    assert lab.records.committed.tasks[task_id].state == "cancelled"
    entry = lab.records.committed.entries[-1]
    assert (entry.action, entry.subject) == ("task.cancel", task_id)


async def test_a_running_task_is_being_cancelled(lab: Lab) -> None:
    task_id = await lab.add_task()
    await lab.queue.change(task_id, state="running")
    answer = await lab.client.delete(f"/api/tasks/{task_id}", headers=lab.auth)
    assert (answer.status, await answer.json()) == (202, {"state": "cancelling"})
    assert lab.records.committed.tasks[task_id].state == "accepted"  # its end is the worker's to record


async def test_a_finished_task_can_not_be_cancelled(lab: Lab) -> None:
    live, forgotten = await lab.add_task(), await lab.add_task(queued=False)
    await lab.queue.change(live, state="succeeded")
    await finish(lab, forgotten, "succeeded")
    for task_id in (live, forgotten):
        answer = await lab.client.delete(f"/api/tasks/{task_id}", headers=lab.auth)
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (409, "conflict")
    assert lab.records.committed.tasks[forgotten].state == "succeeded"


async def test_a_task_that_never_reached_the_queue_can_be_cancelled(lab: Lab) -> None:
    task_id = await lab.add_task(queued=False)
    assert (await lab.client.delete(f"/api/tasks/{task_id}", headers=lab.auth)).status == 200
    assert lab.records.committed.tasks[task_id].state == "cancelled"


async def test_another_tenant_s_cancel_stops_nothing_and_leaves_no_entry(lab: Lab) -> None:
    task_id = await lab.add_task()
    before = list(lab.records.committed.entries)
    assert (await lab.client.delete(f"/api/tasks/{task_id}", headers=lab.other_auth)).status == 404
    assert lab.queue.views[task_id].state == "queued"
    assert lab.records.committed.entries == before


async def test_the_queues_are_counted(lab: Lab) -> None:
    await lab.add_task()
    found = await (await lab.client.get("/api/tasks/queues/status", headers=lab.auth)).json()
    assert [(queue["name"], queue["waiting"]) for queue in found["queues"]] == [("ingest", 1)]


async def test_alive_means_the_process_answers_and_ready_that_all_it_needs_does(lab: Lab) -> None:
    assert (await lab.client.get("/readyz")).status == 200
    lab.queue.down = lab.records.down = True
    answer = await lab.client.get("/readyz")
    assert (answer.status, await answer.json()) == (503, {"status": "unavailable", "down": ["queue", "records"]})
    assert (await lab.client.get("/livez")).status == 200


async def test_a_dependency_that_hangs_is_not_ready(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang() -> None:
        await lab.queue._changed.wait()

    monkeypatch.setattr(lab.records, "ping", hang)
    async with lab.queue._changed:
        answer = await lab.client.get("/readyz")
    assert (await answer.json())["down"] == ["records"]


async def test_an_unknown_task_is_missing(lab: Lab) -> None:
    for path in ("status", "events"):
        answer = await lab.client.get(f"/api/tasks/{new_id('task')}/{path}", headers=lab.auth)
        assert answer.status == 404
