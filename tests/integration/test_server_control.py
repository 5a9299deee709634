"""The queues' limits, pauses and holds over HTTP, on a real Redis: operators may, members may not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio

from jobqueue.broker.enqueue import NewJob
from jobqueue.broker.keys import HELD
from jobqueue.broker.scripts import Scripts
from jobqueue.ports import Role
from jobqueue.server.app import ROUTES
from jobqueue.server.auth import SESSION_COOKIE, mint_api_key
from tests.engine_support import INGEST, client_of
from tests.unit.server_support import Lab

RULES = "/api/queues/ingest/rules"
HOLD = {"function": "f", "where": {"tenant_id": "globex", "page": 7}, "reason": "floods us"}
CONTROL = [route for route in ROUTES if route.path.startswith("/api/queues/")]


@pytest_asyncio.fixture
async def lab(redis_url: str) -> AsyncIterator[Lab]:
    async with Lab.start() as running, client_of(redis_url) as client:
        running.queue.jobs = client
        key = await mint_api_key(running.records, "house", "the operator", "operator")
        running.client.session.headers["Authorization"] = f"Bearer {key}"
        yield running


async def ask(lab: Lab, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
    answer = await lab.client.request(method, path, json=body, **options)
    return answer.status, await answer.json(content_type=None)


async def scopes(lab: Lab) -> dict[str, dict[str, Any]]:
    status, answer = await ask(lab, "GET", RULES)
    assert (status, answer["queue"]) == (200, "ingest")
    return {rule["scope"]: rule for rule in answer["rules"]}


def audited(lab: Lab) -> list[tuple[str, str, dict[str, str]]]:
    entries = [entry for entry in lab.records.committed.entries if entry.action.startswith("queue.")]
    assert all(entry.tenant_id == "house" and entry.actor.startswith("key:key-") for entry in entries)
    return [(entry.action, entry.subject, dict(entry.detail)) for entry in entries]


async def test_a_limit_is_set_told_replaced_and_removed(lab: Lab) -> None:
    path = f"{RULES}/provider:openai"
    status, made = await ask(lab, "PUT", path, {"concurrency": 3, "rate": "90/m", "burst": 5})
    assert status == 200
    assert (made["scope"], made["concurrency"], made["rate_per_s"], made["burst"]) == ("provider:openai", 3, 1.5, 5)
    assert await scopes(lab) == {"provider:openai": made}
    assert (await ask(lab, "PUT", path, {"rate": "1/s"}))[1]["concurrency"] is None
    assert await ask(lab, "DELETE", path) == (204, None)
    assert await scopes(lab) == {}
    status, problem = await ask(lab, "DELETE", path)
    assert (status, problem["code"]) == (404, "not_found")
    assert audited(lab) == [
        (f"queue.{verb}", "ingest", {"scope": "provider:openai"}) for verb in ("limit", "limit", "unlimit", "unlimit")
    ]


@pytest.mark.parametrize("scope", ["provider:a/b c", "k:{x}", "k:ü%2F?#", "tenant:*", "queue"])
async def test_any_scope_that_can_be_fits_into_the_address(lab: Lab, scope: str) -> None:
    path = f"{RULES}/{quote(scope, safe='')}"
    assert (await ask(lab, "PUT", path, {"concurrency": 1}))[0] == 200
    assert list(await scopes(lab)) == [scope]
    assert (await ask(lab, "DELETE", path))[0] == 204


async def test_a_pause_holds_until_it_is_resumed(lab: Lab, pool: Any) -> None:
    assert await ask(lab, "POST", "/api/queues/ingest/pause") == (
        200, {"queue": "ingest", "scope": "queue", "paused": True},
    )  # fmt: skip
    await pool.enqueue_job("f")
    scripts = Scripts(pool, INGEST)
    assert (await scripts.claim(1, lease_ms=1000, worker="w")).jobs == []
    assert (await ask(lab, "POST", "/api/queues/ingest/pause", {"scope": "type:f"}))[0] == 200
    assert (await ask(lab, "POST", "/api/queues/ingest/resume"))[1]["paused"] is False
    assert {scope: rule["paused"] for scope, rule in (await scopes(lab)).items()} == {"type:f": True}
    assert (await ask(lab, "POST", "/api/queues/ingest/resume", {"scope": "type:f"}))[0] == 200
    assert len((await scripts.claim(1, lease_ms=1000, worker="w")).jobs) == 1
    assert (await ask(lab, "POST", "/api/queues/ingest/resume"))[0] == 404
    assert [(action, detail["scope"]) for action, _, detail in audited(lab)[:2]] == [
        ("queue.pause", "queue"), ("queue.pause", "type:f"),
    ]  # fmt: skip


async def test_a_hold_is_set_and_lifted_and_its_arguments_stay_out_of_the_audit_log(lab: Lab) -> None:
    status, made = await ask(lab, "PUT", "/api/queues/ingest/holds/bad", HOLD)
    assert (status, made["scope"], made["paused"], made["reason"]) == (200, "hold:bad", True, "floods us")
    assert made["where"] == {"tenant_id": "globex", "page": "7"}
    assert (await ask(lab, "DELETE", "/api/queues/ingest/holds/bad"))[0] == 204
    assert (await ask(lab, "DELETE", "/api/queues/ingest/holds/bad"))[0] == 404
    assert await scopes(lab) == {}
    assert audited(lab) == [(f"queue.{verb}", "ingest", {"hold": "bad"}) for verb in ("hold", "lift", "lift")]


async def test_a_drain_says_whether_anything_still_runs(lab: Lab, pool: Any) -> None:
    await pool.enqueue_many([NewJob(function="f")] * 2)
    scripts = Scripts(pool, INGEST)
    (job,) = (await scripts.claim(1, lease_ms=10_000, worker="w")).jobs
    assert await ask(lab, "POST", "/api/queues/ingest/drain", {"timeout_s": 0.05}) == (
        202, {"queue": "ingest", "drained": False, "running": 1},
    )  # fmt: skip
    await scripts.record([{"id": job.id, "token": job.token, "attempt": job.attempt, "finish": True}])
    status, answer = await ask(lab, "POST", "/api/queues/ingest/drain")
    assert (status, answer["drained"]) == (200, True)
    assert (await scopes(lab))["queue"]["paused"] is True


async def test_a_purge_needs_the_number_of_what_is_to_go(lab: Lab, pool: Any) -> None:
    await pool.enqueue_many([NewJob(function="f")] * 30)
    status, problem = await ask(lab, "POST", "/api/queues/ingest/purge", {"expected": 3})
    assert (status, problem["code"]) == (422, "invalid_input")
    assert "30 waiting jobs, not 3" in problem["detail"]
    assert await pool.zcount(INGEST.queue, "-inf", HELD) == 30
    assert await ask(lab, "POST", "/api/queues/ingest/purge", {"expected": 30}) == (
        200, {"queue": "ingest", "cancelled": 30},
    )  # fmt: skip
    assert not await pool.exists(INGEST.queue)
    assert audited(lab)[-1] == ("queue.purge", "ingest", {"expected": "30"})


@pytest.mark.parametrize(
    ("method", "path", "body", "said"),
    [
        ("PUT", "rules/tenant:a", {}, "at least one"),
        ("PUT", "rules/tenant:a", {"concurency": 1}, "concurency"),
        ("PUT", "rules/tenant:a", {"concurrency": "3"}, "concurrency"),
        ("PUT", "rules/tenant:a", {"concurrency": -1}, "concurrency"),
        ("PUT", "rules/tenant:a", {"concurrency": 10**30}, "concurrency"),
        ("PUT", "rules/tenant:a", {"concurrency": True}, "concurrency"),
        ("PUT", "rules/tenant:a", {"rate": 5}, "rate"),
        ("PUT", "rules/tenant:a", {"rate": "5/w"}, "such as 60/m"),
        ("PUT", "rules/tenant:a", {"rate": "9" * 12 + "/s"}, "1,000,000 a second"),
        ("PUT", "rules/tenant:a", {"burst": 5}, "only beside a rate"),
        ("PUT", "rules/tenant:a", {"weight": 0}, "weight"),
        ("PUT", "rules/type:f", {"weight": 2}, "only tenants take turns"),
        ("PUT", "rules/nothing", {"concurrency": 1}, "queue, type:FUNCTION"),
        ("PUT", "rules/hold:bad", {"concurrency": 1}, "queue, type:FUNCTION"),
        ("PUT", "rules/tenant:%0A", {"concurrency": 1}, "queue, type:FUNCTION"),
        ("DELETE", "rules/%00", None, "queue, type:FUNCTION"),
        ("POST", "pause", {"scope": ""}, "queue, type:FUNCTION"),
        ("POST", "pause", {"scope": None}, "scope"),
        ("POST", "pause", {"scope": "tenant:" + "x" * 500}, "scope"),
        ("POST", "resume", ["queue"], "body"),
        ("PUT", "holds/Bad", HOLD, "hold 'Bad'"),
        ("DELETE", "holds/..%2F..", None, "hold '../..'"),
        ("PUT", "holds/bad", {"where": {}}, "function"),
        ("PUT", "holds/bad", {"function": "f", "where": {"a": {"b": 1}}}, "where"),
        ("PUT", "holds/bad", {"function": "f", "where": {str(n): n for n in range(9)}}, "where"),
        ("PUT", "holds/bad", {"function": "f\n"}, "function"),
        ("PUT", "holds/bad", {"function": "f", "reason": "x" * 501}, "reason"),
        ("POST", "drain", {"timeout_s": 0}, "timeout_s"),
        ("POST", "drain", {"timeout_s": 3600}, "timeout_s"),
        ("POST", "purge", {}, "expected"),
        ("POST", "purge", {"expected": -1}, "expected"),
    ],
)
async def test_what_is_no_good_is_refused_said_and_not_done(  # noqa: PLR0917  # four of them are the case
    lab: Lab, pool: Any, method: str, path: str, body: Any, said: str
) -> None:
    answer = await lab.client.request(method, f"/api/queues/ingest/{path}", json=body)
    problem = await answer.json(content_type="application/problem+json")
    assert (answer.status, problem["code"]) == (422, "invalid_input")
    assert said in problem["detail"]
    assert audited(lab) == []
    assert not await pool.exists(INGEST.own("rules"))


def url_of(path: str) -> str:
    return path.replace("{queue}", "ingest").replace("{scope:[^/]+}", "tenant:a").replace("{name}", "bad")


@pytest.mark.parametrize("route", CONTROL, ids=lambda route: f"{route.method} {route.path}")
async def test_a_members_key_is_refused_and_told_what_it_takes(lab: Lab, pool: Any, route: Any) -> None:
    for headers in (lab.auth, lab.other_auth):
        answer = await lab.client.request(route.method, url_of(route.path), headers=headers, json={"expected": 0})
        problem = await answer.json(content_type="application/problem+json")
        assert (answer.status, problem["code"]) == (403, "forbidden")
        assert "the key of an operator" in problem["detail"]
    assert audited(lab) == []
    assert not await pool.exists(INGEST.own("rules"))


def test_all_of_these_routes_are_tried() -> None:
    assert len(CONTROL) == 9


@pytest.mark.parametrize("route", CONTROL, ids=lambda route: f"{route.method} {route.path}")
async def test_a_queue_that_is_not_there_is_missing(lab: Lab, route: Any) -> None:
    status, problem = await ask(lab, route.method, url_of(route.path).replace("ingest", "nowhere"), {"expected": 0})
    assert (status, problem["code"]) == (404, "not_found")
    assert "there are ingest, ocr, llm" in problem["detail"]
    assert audited(lab) == []


async def test_a_session_has_the_role_of_the_key_that_opened_it(lab: Lab) -> None:
    cases: list[tuple[Role, int]] = [("operator", 200), ("member", 403)]
    for role, status in cases:
        secret, _ = lab.access.open_session(lab.access.login_token("key-1", "house", role))
        headers = {"Cookie": f"{SESSION_COOKIE}={secret}"}
        del lab.client.session.headers["Authorization"]
        assert (await lab.client.get(RULES, headers=headers)).status == status
        lab.client.session.headers["Authorization"] = "-"


async def test_redis_that_is_away_is_503(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any, **__: Any) -> None:
        raise OSError("gone")

    monkeypatch.setattr(lab.queue.jobs.pool, "hgetall", away)
    status, problem = await ask(lab, "GET", RULES)
    assert (status, problem["code"]) == (503, "unavailable")
