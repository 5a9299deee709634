"""Every route against callers it must not serve: unknown, revoked, of another tenant, from another origin."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from aiohttp import web
from structlog.testing import capture_logs

from jobqueue.job import new_id
from jobqueue.server.app import ROUTES
from jobqueue.server.auth import PUBLIC, SESSION_COOKIE
from tests.unit.server_support import Lab

PUBLIC_PATHS = ["/", "/static/app.js", "/livez", "/readyz"]
CLOSED = [route for route in ROUTES if route.path not in PUBLIC]


@pytest_asyncio.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab.start(allowed_hosts=frozenset({"Jobs.Example"})) as running:
        yield running


def url_of(path: str, ids: dict[str, str] | None = None) -> str:
    """A route's template with ids filled in: those given, or fresh ones that exist nowhere."""
    known = ids or {}
    path = re.sub(r"\{id:(\w+)-[^/]*\}(?=/|$)", lambda match: known.get(match[1]) or new_id(match[1]), path)
    path = path.replace("{id}", known.get("job") or new_id("ingest"))
    path = re.sub(r"\{\w+:(\w+)\|[^{}]*\}", r"\1", path)  # the first of several words
    return re.sub(r"\{(\w+)(?::(?:[^{}]|\{[^{}]*\})*)?\}", r"\1", path)  # a step's name may be "step", and so on


def test_an_id_route_becomes_a_url_a_client_could_ask_for() -> None:
    urls = {url_of(route.path, {"task": "T", "file": "F", "contract": "C"}) for route in ROUTES}
    assert {"/api/tasks/T/status", "/api/tasks/T", "/api/tasks/files/F/ocr", "/api/contracts/C/reports/pdf"} <= urls


@pytest.mark.parametrize("route", CLOSED, ids=lambda route: f"{route.method} {route.path}")
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer jq_" + "a" * 43},
        {"Authorization": "Basic YTpi"},
        {"X-API-Key": "nonsense"},
        {"Cookie": f"{SESSION_COOKIE}=nonsense"},
    ],
    ids=["nothing", "bad key", "bad scheme", "bad header", "bad cookie"],
)
async def test_a_closed_route_asks_who_is_there(lab: Lab, route: web.RouteDef, headers: dict[str, str]) -> None:
    answer = await lab.client.request(route.method, url_of(route.path), headers=headers)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert (await answer.json(content_type="application/problem+json"))["code"] == "denied"


async def test_a_key_opens_by_either_header(lab: Lab) -> None:
    for headers in (lab.auth, {"X-API-Key": lab.key}):
        assert (await lab.client.get("/api/tasks", headers=headers)).status == 200


async def test_a_bad_key_is_not_saved_by_a_good_cookie(lab: Lab) -> None:
    cookie = await sign_in(lab)
    answer = await lab.client.get("/api/tasks", headers={"X-API-Key": "jq_" + "a" * 43, "Cookie": cookie})
    assert answer.status == 401


async def test_a_revoked_key_opens_nothing_from_its_next_request_on(lab: Lab) -> None:
    keys = lab.records.committed.keys
    for key_id, key in keys.items():
        keys[key_id] = replace(key, revoked_at=datetime.now(UTC))
    assert (await lab.client.get("/api/tasks", headers=lab.auth)).status == 401


async def test_each_id_route_treats_another_tenant_s_things_as_missing(lab: Lab) -> None:
    file, contract = await lab.add_document(reports={"pdf": "acme/reports/x/report.pdf"})
    await lab.blobs.put_bytes("acme/reports/x/report.pdf", b"%PDF-")
    ids = {"file": file.id, "contract": contract.id, "task": await lab.add_task()}
    routes = [route for route in CLOSED if "{id:" in route.path]
    assert len(routes) == 8
    for route in routes:
        method, path = route.method, route.path
        theirs = await lab.client.request(method, url_of(path, ids), headers=lab.other_auth)
        never = await lab.client.request(method, url_of(path), headers=lab.other_auth)
        assert (method, path, theirs.status) == (method, path, 404)
        assert never.status == 404
    assert (await lab.client.get(f"/api/tasks/{ids['task']}/status", headers=lab.auth)).status == 200
    assert (await (await lab.client.get("/api/tasks", headers=lab.other_auth)).json()) == {"tasks": []}


@pytest.mark.parametrize("path", ["/api/tasks/contracts/analyze", "/api/tasks/contracts/export"])
async def test_another_tenant_s_contract_in_a_body_is_missing_too(lab: Lab, path: str) -> None:
    _, contract = await lab.add_document(text_key="x")
    answer = await lab.client.post(path, json={"contract_id": contract.id}, headers=lab.other_auth)
    assert answer.status == 404
    assert not lab.queue.flows


@pytest.mark.parametrize("path", [*PUBLIC_PATHS, "/login", "/api/tasks", "/no/such/page"])
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "10.0.0.1"])
async def test_a_host_this_server_is_not_gets_421_on_every_route(lab: Lab, path: str, host: str) -> None:
    answer = await lab.client.get(path, headers={**lab.auth, "Host": host})
    assert answer.status == 421
    assert "JOBQUEUE_ALLOWED_HOSTS" in await answer.text()


@pytest.mark.parametrize("host", ["", "a b", "localhost@evil.example"])
async def test_a_malformed_host_gets_400(lab: Lab, host: str) -> None:
    assert (await lab.client.get("/", headers={"Host": host})).status == 400


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "[::1]:8484", "127.0.0.9", "jobs.example:443"])
async def test_loopback_and_configured_names_are_answered(lab: Lab, host: str) -> None:
    assert (await lab.client.get("/livez", headers={"Host": host})).status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1", ""])
@pytest.mark.parametrize("path", [*PUBLIC_PATHS, "/api/tasks", "/no/such/page"])
async def test_a_page_of_another_origin_is_refused_on_every_route(lab: Lab, path: str, origin: str) -> None:
    answer = await lab.client.get(path, headers={**lab.auth, "Origin": origin})
    assert answer.status == 403


async def sign_in(lab: Lab) -> str:
    [key_id, _] = lab.records.committed.keys
    token = lab.access.login_token(key_id, "acme")
    answer = await lab.client.get("/login", params={"token": token}, allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    lab.client.session.cookie_jar.clear()
    return f"{SESSION_COOKIE}={answer.cookies[SESSION_COOKIE].value}"


async def test_a_sign_in_link_works_once_and_sets_a_cookie_no_script_can_read(lab: Lab) -> None:
    [key_id, _] = lab.records.committed.keys
    token = lab.access.login_token(key_id, "acme")
    head = await lab.client.head("/login", params={"token": token})
    assert head.status == 405  # a link preview must not burn the token
    answer = await lab.client.get("/login", params={"token": token}, allow_redirects=False)
    cookie = answer.headers["Set-Cookie"]
    for part in ("HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"):
        assert part in cookie
    assert "Secure" not in cookie
    assert lab.records.committed.entries[-1].action == "session.open"
    again = await lab.client.get("/login", params={"token": token}, allow_redirects=False)
    assert again.status == 401


async def test_the_cookie_is_secure_where_people_come_by_https() -> None:
    async with Lab.start(https=True) as lab:
        token = lab.access.login_token("key-1", "acme")
        answer = await lab.client.get("/login", params={"token": token}, allow_redirects=False)
        assert "Secure" in answer.headers["Set-Cookie"]


async def test_a_session_reads_freely_but_changes_things_only_from_our_own_page(lab: Lab) -> None:
    cookie = {"Cookie": await sign_in(lab)}
    own = {**cookie, "Origin": lab.origin}
    task_id = await lab.add_task()
    assert (await lab.client.get("/api/tasks", headers=cookie)).status == 200
    for headers in (
        cookie,
        {**cookie, "Origin": "http://evil.example"},
        {**own, "Sec-Fetch-Site": "cross-site"},
        {**own, "Sec-Fetch-Site": "same-site"},
    ):
        assert (await lab.client.delete(f"/api/tasks/{task_id}", headers=headers)).status == 403
    assert lab.queue.views[task_id].state == "queued"
    mine = await lab.client.delete(f"/api/tasks/{task_id}", headers={**own, "Sec-Fetch-Site": "same-origin"})
    assert mine.status == 200


async def test_neither_key_nor_token_nor_name_reaches_the_log(lab: Lab) -> None:
    token = lab.access.login_token("key-1", "acme")
    with capture_logs() as logs:
        await lab.client.get("/api/tasks", headers=lab.auth)
        await lab.client.get("/login", params={"token": token}, allow_redirects=False)
        await lab.client.get("/Smith-deed.pdf")
        await lab.client.get("/api/tasks", headers={"X-API-Key": "jq_" + "s" * 43})
    events = [(entry["path"], entry["status"], entry["tenant"]) for entry in logs]
    assert events == [("/api/tasks", 200, "acme"), ("/login", 303, None), (None, 404, None), ("/api/tasks", 401, None)]
    assert all(entry["event"] == "request" and entry["seconds"] >= 0 for entry in logs)
    for secret in (lab.key, token, "Smith", "sss"):
        assert secret not in repr(logs)


@pytest.mark.parametrize("path", [*PUBLIC_PATHS, "/api/tasks", "/no/such/page", "/login"])
async def test_every_answer_carries_the_security_headers(lab: Lab, path: str) -> None:
    answer = await lab.client.get(path, headers=lab.auth)
    csp = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in csp
    assert "frame-ancestors 'none'" in csp
    assert "unsafe" not in csp
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Server"] == "jobqueue"
    assert answer.headers["Cache-Control"] == ("no-cache" if path in {"/", "/static/app.js"} else "no-store")


async def test_unknown_addresses_and_methods_are_problems_too(lab: Lab) -> None:
    missing = await lab.client.get("/api/nothing", headers=lab.auth)
    assert (missing.status, missing.content_type) == (404, "application/problem+json")
    method = await lab.client.put("/api/tasks", headers=lab.auth)
    assert (method.status, method.content_type) == (405, "application/problem+json")
    assert "GET" in method.headers["Allow"]


async def test_a_database_that_is_away_is_503_and_not_a_lost_login(lab: Lab) -> None:
    lab.records.down = True
    answer = await lab.client.get("/api/tasks", headers=lab.auth)
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
