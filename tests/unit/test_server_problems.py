"""The error tree as HTTP."""

from __future__ import annotations

import json

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from jobqueue import errors
from jobqueue.server.problems import Forbidden, NotQueued, to_response


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.InvalidInput("x"), 422, "invalid_input"),
        (errors.RejectedFile("x"), 422, "rejected_file"),
        (errors.LimitExceeded("x"), 413, "limit_exceeded"),
        (errors.NotFound("x"), 404, "not_found"),
        (errors.Conflict("x"), 409, "conflict"),
        (errors.Denied("x"), 401, "denied"),
        (Forbidden("x"), 403, "forbidden"),
        (errors.Unavailable("x"), 503, "unavailable"),
        (errors.ProviderBusy("x"), 503, "provider_busy"),
        (errors.SandboxCrashed("x"), 503, "sandbox_crashed"),
        (web.HTTPNotFound(), 404, "not_found"),
        (web.HTTPMisdirectedRequest(text="x"), 421, "misdirected_request"),
    ],
)
def test_each_error_has_its_status_and_code(error: Exception, status: int, code: str) -> None:
    response = to_response(error)
    body = json.loads(response.text or "")
    assert (response.status, body["status"], body["code"]) == (status, status, code)
    assert response.content_type == "application/problem+json"
    assert body["title"]
    assert body["detail"]


def test_an_unknown_caller_is_told_how_to_authenticate() -> None:
    assert to_response(errors.Denied("x")).headers["WWW-Authenticate"].startswith("Bearer")
    assert "WWW-Authenticate" not in to_response(Forbidden("x")).headers


def test_a_provider_s_own_wish_for_patience_is_passed_on() -> None:
    assert to_response(errors.ProviderBusy("x", retry_after_s=12.3)).headers["Retry-After"] == "13"
    assert to_response(errors.Unavailable("x")).headers["Retry-After"] == "5"


def test_a_task_that_was_not_queued_is_named_for_programs_too() -> None:
    body = json.loads(to_response(NotQueued("task-1")).text or "")
    assert body["task_id"] == "task-1"
    assert "task-1" in body["detail"]


@pytest.mark.parametrize("error", [KeyError("Smith deed.pdf"), errors.ConfigError("Smith deed.pdf")])
def test_a_bug_shows_an_id_that_is_in_the_log_and_nothing_else(error: Exception) -> None:
    with capture_logs() as logs:
        response = to_response(error)
    [entry] = logs
    body = json.loads(response.text or "")
    assert response.status == 500
    assert body["error_id"] == entry["error_id"]
    assert body["error_id"] in body["detail"]
    assert "Smith" not in (response.text or "")
    assert "Smith" not in repr(logs)
