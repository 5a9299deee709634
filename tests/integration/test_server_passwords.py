"""A protected file comes with its password, which nothing but the request itself ever has in clear."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from jobqueue.flows import Flow
from jobqueue.services.sealing import AesGcmSeal
from tests.unit.server_support import Lab

PROCESS = "/api/tasks/files/process"
SEAL = AesGcmSeal("a key of thirty-two characters!!")
PASSWORD = "Grüße, hunter2 & co"


@pytest_asyncio.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab.start(seal=SEAL) as running:
        yield running


def form(*fields: tuple[str, str | bytes]) -> aiohttp.FormData:
    """Fields in that order; bytes are a file's."""
    data = aiohttp.FormData(default_to_multipart=True)
    for name, value in fields:
        if isinstance(value, bytes):
            data.add_field(name, io.BytesIO(value), filename="deed.pdf")
        else:
            data.add_field(name, value)
    return data


@pytest.mark.parametrize("first", ["file", "password"])
async def test_a_password_before_or_after_its_file_goes_on_sealed_for_that_file(lab: Lab, first: str) -> None:
    fields: list[tuple[str, str | bytes]] = [("file", b"%PDF-1.7"), ("password", PASSWORD)]
    with capture_logs() as logged:
        answer = await lab.client.post(
            PROCESS, data=form(*sorted(fields, reverse=first == "password")), headers=lab.auth
        )
    body = await answer.json()
    assert answer.status == 202
    row = lab.records.committed.tasks[body["task_id"]]
    [ingest, *others] = Flow.from_data(row.spec).steps
    sealed = ingest.kwargs["sealed_password"]
    assert SEAL.unseal(sealed, of=f"acme/{body['file_id']}") == PASSWORD
    assert not any("sealed_password" in step.kwargs for step in others)
    left = repr((lab.records.committed, lab.queue.flows, lab.blobs.objects, logged, body))
    assert sealed in left
    assert "hunter2" not in left


async def test_an_empty_password_is_none(lab: Lab) -> None:
    answer = await lab.client.post(PROCESS, data=form(("file", b"%PDF-1.7"), ("password", "")), headers=lab.auth)
    assert answer.status == 202
    [flow] = lab.queue.flows.values()
    assert "sealed_password" not in flow.steps[0].kwargs


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ([("file", b"%PDF-1.7"), ("password", "x" * 128)], "longer than 127 characters"),
        ([("password", "x" * 100_000), ("file", b"%PDF-1.7")], "longer than 127 characters"),
        ([("password", "a"), ("password", "b"), ("file", b"%PDF-1.7")], "another field"),
        ([("file", b"%PDF-1.7"), ("secret", "a")], "another field"),
        ([("password", "a")], "holds no file"),
    ],
)
async def test_what_is_no_password_of_a_file_is_refused_and_nothing_is_kept(
    lab: Lab, fields: list[tuple[str, str | bytes]], told: str
) -> None:
    answer = await lab.client.post(PROCESS, data=form(*fields), headers=lab.auth)
    assert answer.status == 422
    detail = (await answer.json())["detail"]
    assert told in detail
    assert "xxx" not in detail
    assert not lab.blobs.objects
    assert not lab.queue.flows


async def test_a_server_without_a_key_refuses_a_password_and_says_which_setting_to_set() -> None:
    async with Lab.start() as lab:
        answer = await lab.client.post(PROCESS, data=form(("file", b"%PDF-1.7"), ("password", "a")), headers=lab.auth)
        assert answer.status == 422
        assert "JOBQUEUE_SECRET_KEY" in (await answer.json())["detail"]
        assert not lab.blobs.objects
        plain = await lab.client.post(PROCESS, data=form(("file", b"%PDF-1.7")), headers=lab.auth)
        assert plain.status == 202
