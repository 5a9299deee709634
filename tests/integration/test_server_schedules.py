"""A tenant's schedules over HTTP, on a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from jobqueue.broker.keys import QueueKeys, queue_name
from jobqueue.broker.schedules import Schedules
from jobqueue.queues import load
from jobqueue.scheduling import Schedule
from tests.unit.server_support import Lab

NIGHTLY: dict[str, Any] = {
    "name": "nightly", "cron": "30 4 * * mon-fri", "timezone": "Europe/Berlin", "queue": "ocr", "job": "ocr_document",
    "kwargs": {"file_id": "file-1", "contract_id": "contract-1"}, "missed": "once",
}  # fmt: skip
WITHOUT_NAME = {key: value for key, value in NIGHTLY.items() if key != "name"}


@pytest_asyncio.fixture
async def lab(pool: Any) -> AsyncIterator[Lab]:
    async with Lab.start() as running:
        running.queue.schedules = Schedules(pool, load())
        await running.queue.schedules.synchronise({"ours": Schedule(cron="@daily", queue="system", job="expire")})
        yield running


async def ask(lab: Lab, method: str, path: str = "", *, other: bool = False, **options: Any) -> tuple[int, Any]:
    headers = lab.other_auth if other else lab.auth
    answer = await lab.client.request(method, f"/api/schedules{path}", headers=headers, **options)
    return answer.status, await answer.json(content_type=None)


async def test_a_schedule_is_created_listed_changed_and_deleted(lab: Lab) -> None:
    status, made = await ask(lab, "POST", json=NIGHTLY)
    assert status == 201
    assert (made["name"], made["cron"], made["missed"]) == ("nightly", "30 4 * * MON-FRI", "once")
    assert made["kwargs"] == NIGHTLY["kwargs"] | {"tenant_id": "acme"}
    assert made["next_run_at"] > made["created_at"]
    assert await ask(lab, "GET") == (200, {"schedules": [made]})
    assert await ask(lab, "GET", "/nightly") == (200, made)

    status, paused = await ask(lab, "POST", "/nightly/pause")
    assert (status, paused["paused"], paused["next_run_at"]) == (200, True, None)
    status, changed = await ask(lab, "PUT", "/nightly", json=WITHOUT_NAME | {"cron": "@hourly"})
    assert (status, changed["cron"], changed["paused"]) == (200, "0 * * * *", True)
    status, resumed = await ask(lab, "POST", "/nightly/resume")
    assert (status, resumed["paused"]) == (200, False)

    assert await ask(lab, "DELETE", "/nightly") == (204, None)
    assert await ask(lab, "GET") == (200, {"schedules": []})
    actions = [entry.action for entry in lab.records.committed.entries if entry.action.startswith("schedule.")]
    assert actions == [f"schedule.{verb}" for verb in ("create", "pause", "update", "resume", "delete")]


async def test_a_run_now_enqueues_the_tenants_job(lab: Lab, pool: Any) -> None:
    await ask(lab, "POST", json=NIGHTLY | {"paused": True})
    status, answer = await ask(lab, "POST", "/nightly/run")
    assert status == 202
    assert await pool.exists(QueueKeys(queue_name("ocr")).job(answer["job_id"]))
    assert (await ask(lab, "GET", "/nightly"))[1]["last_job_id"] == answer["job_id"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("PUT", ""), ("DELETE", ""), ("POST", "/pause"), ("POST", "/resume"), ("POST", "/run")],
)
@pytest.mark.parametrize("name", ["nightly", "ours", "nowhere"])
async def test_others_and_the_operators_schedules_are_as_good_as_missing(
    lab: Lab, method: str, path: str, name: str
) -> None:
    await ask(lab, "POST", json=NIGHTLY, other=True)
    options: dict[str, Any] = {"json": WITHOUT_NAME} if method == "PUT" else {}
    status, problem = await ask(lab, method, f"/{name}{path}", **options)
    assert (status, problem["code"]) == (404, "not_found")
    status, kept = await ask(lab, "GET", "/nightly", other=True)
    assert (status, kept["paused"], kept["last_job_id"]) == (200, False, None)


async def test_two_tenants_may_use_the_same_name_and_one_tenant_not_twice(lab: Lab) -> None:
    assert (await ask(lab, "POST", json=NIGHTLY))[0] == 201
    assert (await ask(lab, "POST", json=NIGHTLY, other=True))[0] == 201
    status, problem = await ask(lab, "POST", json=NIGHTLY)
    assert (status, problem["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cron": "30 25 * * *"}, "hour '25' is no good: give *, or 0-23"),
        ({"timezone": "Berlin"}, "did you mean Europe/Berlin?"),
        ({"queue": "system", "job": "expire"}, "queue 'system': there is ingest"),
        ({"job": "expire"}, "queue 'ocr' has ocr_document"),
        ({"kwargs": {"tenant_id": "globex"}}, "tenant_id"),
        ({"kwargs": {"x": "y" * 5000}}, "at most 4,096"),
        ({"name": "a.b"}, "name"),
        ({"name": "globex.nightly"}, "name"),
        ({"cron": "1," * 100}, "cron"),
        ({"jitter_s": -1}, "jitter_s"),
        ({"missed": "sometimes"}, "missed"),
        ({"crom": "* * * * *"}, "crom"),
    ],
)
async def test_what_is_no_good_is_refused_and_said(lab: Lab, changes: dict[str, Any], said: str) -> None:
    status, problem = await ask(lab, "POST", json=NIGHTLY | changes)
    assert status == 422
    assert said in problem["detail"]
    assert await ask(lab, "GET") == (200, {"schedules": []})


async def test_without_a_key_nothing_is_told(lab: Lab) -> None:
    assert (await lab.client.get("/api/schedules")).status == 401
    assert (await lab.client.post("/api/schedules/nightly/run")).status == 401
