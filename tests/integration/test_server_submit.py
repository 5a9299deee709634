"""Starting tasks: uploads that stream, bodies that are checked, and nothing accepted that could be lost."""

from __future__ import annotations

import asyncio
import hashlib
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from jobqueue import tasks
from jobqueue.flows import Flow
from jobqueue.job import new_id
from jobqueue.tasks import Analysis, Extraction, Summary
from tests.unit.server_support import CountingBlobs, Lab, wait_until

ANALYSED: dict[str, Any] = {
    "text_key": "x",
    "extraction": Extraction(document_class="lease", class_confidence=0.9, facts=[]),
    "summary": Summary(text="A lease.", key_points=[]),
    "analysis": Analysis(clauses=[], findings=[]),
}
PROCESS = "/api/tasks/files/process"


@pytest_asyncio.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab.start(max_upload_bytes=10_000, max_json_bytes=2_000, idle_timeout_s=5.0) as running:
        yield running


def form(content: Any = b"%PDF-1.7", name: str = "deed.pdf", field: str = "file") -> aiohttp.FormData:
    data = aiohttp.FormData()
    data.add_field(field, content, filename=name, content_type="application/pdf")
    return data


def raw(body: bytes, boundary: str = "b") -> dict[str, Any]:
    return {"data": body, "headers": {"Content-Type": f"multipart/form-data; boundary={boundary}"}}


async def nothing_happened(lab: Lab) -> None:
    assert not lab.blobs.objects
    assert not lab.records.committed.tasks
    assert not lab.queue.flows


async def test_an_upload_is_stored_recorded_audited_and_queued(lab: Lab) -> None:
    answer = await lab.client.post(PROCESS, data=form(), headers=lab.auth)
    body = await answer.json()
    assert answer.status == 202
    assert answer.headers["Location"] == body["links"]["status"] == f"/api/tasks/{body['task_id']}/status"
    rows = lab.records.committed
    file, contract, task = rows.files[body["file_id"]], rows.contracts[body["contract_id"]], rows.tasks[body["task_id"]]
    assert file.blob_key == f"acme/files/{file.id}/original"
    assert lab.blobs.objects[file.blob_key] == b"%PDF-1.7"
    assert (file.name, file.size_bytes, file.state) == ("deed.pdf", 8, "received")
    assert file.sha256 == hashlib.sha256(b"%PDF-1.7").hexdigest()
    assert contract.file_id == task.file_id == file.id
    assert (task.kind, task.contract_id) == ("process_file", contract.id)
    assert Flow.from_data(task.spec) == lab.queue.flows[task.id]
    entry = rows.entries[-1]
    assert (entry.action, entry.subject, entry.actor.partition(":")[0]) == ("task.submit", task.id, "key")
    assert "deed" not in repr(entry)
    followed = await lab.client.get(answer.headers["Location"], headers=lab.auth)
    assert (await followed.json())["state"] == "queued"


async def test_a_file_of_exactly_the_limit_is_taken_and_one_byte_more_is_not(lab: Lab) -> None:
    assert (await lab.client.post(PROCESS, data=form(b"x" * 10_000), headers=lab.auth)).status == 202
    [task_id] = lab.queue.flows
    too_long = await lab.client.post(PROCESS, data=form(b"x" * 10_001), headers=lab.auth)
    assert too_long.status == 413
    assert "10,000 bytes" in await too_long.text()
    assert list(lab.queue.flows) == [task_id]
    assert len(lab.blobs.objects) == 1


async def test_a_declared_length_beyond_the_limit_is_refused_unread(lab: Lab) -> None:
    answer = await lab.client.post(PROCESS, data=form(b"x" * 200_000), headers=lab.auth)
    assert answer.status == 413
    await nothing_happened(lab)


@pytest.mark.parametrize("over", [0, 1])
async def test_a_20_mb_stream_passes_through_in_constant_memory(over: int) -> None:
    size = 20_000_000

    async def content() -> AsyncIterator[bytes]:
        chunk = b"x" * 50_000
        for _ in range(size // len(chunk)):
            yield chunk
        yield b"x" * over

    async with Lab.start(blobs=CountingBlobs(), max_upload_bytes=size) as lab:
        await lab.client.get("/livez")
        tracemalloc.start()
        try:
            answer = await lab.client.post(PROCESS, data=form(content()), headers=lab.auth)
            assert answer.status == (413 if over else 202)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 4_000_000


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\deed.pdf", "deed.pdf"),
        ("<script>alert(1)</script>.pdf", "script>.pdf"),
        ("a\u202eb.pdf", "ab.pdf"),
        ("x" * 400 + ".pdf", "x" * 251 + ".pdf"),
        ("Überlassungsvertrag № 7.pdf", "Überlassungsvertrag № 7.pdf"),
    ],
)
async def test_a_hostile_file_name_is_only_ever_a_cleaned_base_name(lab: Lab, name: str, stored: str) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="' + name.replace("\\", "\\\\").encode() + b'"'
        b"\r\n\r\ncontent\r\n--b--\r\n"
    )
    request = raw(body)
    answer = await lab.client.post(PROCESS, data=request["data"], headers={**lab.auth, **request["headers"]})
    assert answer.status == 202, await answer.text()
    [file] = lab.records.committed.files.values()
    assert file.name == stored
    assert file.blob_key == f"acme/files/{file.id}/original"


async def test_an_empty_file_is_taken_for_ingest_to_judge(lab: Lab) -> None:
    body = PART + b"\r\n--b--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b", **lab.auth}
    answer = await lab.client.post("/api/tasks/files/process", data=body, headers=headers)
    assert answer.status == 202, await answer.text()
    [file] = lab.records.committed.files.values()
    assert file.size_bytes == 0


PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"garbage", 400),
        (b"--b--\r\n", 422),
        (b"--c\r\n\r\nx\r\n--c--\r\n", 400),
        (PART + b"cut short", 400),
        (PART + b"x\r\n--bXX\r\n", 400),
        (PART + b"x\r\n" + PART + b"y\r\n--b--\r\n", 422),
        (b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nno file name\r\n--b--\r\n', 422),
        (b'--b\r\nContent-Disposition: form-data; name="other"; filename="f"\r\n\r\nx\r\n--b--\r\n', 422),
        (b"--b\r\n\r\nno headers\r\n--b--\r\n", 422),
        (b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n--b--\r\n", 422),
        (b"--b\r\nContent-Type: multipart/mixed\r\n\r\n--b--\r\n", 400),
        (b"--b\r\n" + b"X: y\r\n" * 500 + b"\r\nx\r\n--b--\r\n", 400),
        (b"--b\r\nX: " + b"y" * 50_000 + b"\r\n\r\nx\r\n--b--\r\n", 400),
        (b"--b\r\nno colon\r\n\r\nx\r\n--b--\r\n", 400),
        (b"p" * 5_000 + b"\r\n", 400),
    ],
    ids=lambda value: value[:40].decode() if isinstance(value, bytes) else str(value),
)
async def test_multipart_garbage_is_refused_and_leaves_nothing(lab: Lab, body: bytes, status: int) -> None:
    request = raw(body)
    answer = await lab.client.post(PROCESS, data=request["data"], headers={**lab.auth, **request["headers"]})
    problem = await answer.json(content_type="application/problem+json")
    assert answer.status == status, problem
    assert "file" in problem["detail"]
    await nothing_happened(lab)


@pytest.mark.filterwarnings("ignore::aiohttp.BadContentDispositionHeader")
@pytest.mark.filterwarnings("ignore::aiohttp.BadContentDispositionParam")
@pytest.mark.parametrize(
    "disposition", [b"form-data; name=file; filename=\xff\xfe;;", b";;;", b"form-data; filename*=x''%ff; name=file"]
)
async def test_a_malformed_disposition_is_refused(lab: Lab, disposition: bytes) -> None:
    request = raw(b"--b\r\nContent-Disposition: " + disposition + b"\r\n\r\nx\r\n--b--\r\n")
    answer = await lab.client.post(PROCESS, data=request["data"], headers={**lab.auth, **request["headers"]})
    assert answer.status in {400, 422}
    await nothing_happened(lab)


@pytest.mark.parametrize(
    "content_type", ["application/json", "multipart/form-data", "multipart/form-data; boundary=" + "b" * 99, ""]
)
async def test_what_is_no_multipart_is_told_how_to_upload(lab: Lab, content_type: str) -> None:
    answer = await lab.client.post(PROCESS, data=b"{}", headers={**lab.auth, "Content-Type": content_type})
    assert answer.status in {400, 422}
    assert "multipart/form-data" in (await answer.json(content_type="application/problem+json"))["detail"]


async def test_an_upload_that_stops_arriving_is_given_up() -> None:
    async def content() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.Event().wait()

    async with Lab.start(idle_timeout_s=0.1) as lab:
        answer = await lab.client.post(PROCESS, data=form(content()), headers=lab.auth)
        assert answer.status == 408
        await nothing_happened(lab)


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(lab: Lab) -> None:
    started = asyncio.Event()

    async def content() -> AsyncIterator[bytes]:
        yield b"first"
        started.set()
        await asyncio.Event().wait()

    with capture_logs() as logs:
        upload = asyncio.create_task(lab.client.post(PROCESS, data=form(content()), headers=lab.auth))
        await started.wait()
        upload.cancel()
        await asyncio.gather(upload, return_exceptions=True)
        await wait_until(lambda: bool(logs))
    assert [entry["status"] for entry in logs] == [499]
    await nothing_happened(lab)


async def test_storage_that_is_away_is_503_before_anything_is_recorded(lab: Lab) -> None:
    lab.blobs.down = True
    assert (await lab.client.post(PROCESS, data=form(), headers=lab.auth)).status == 503
    await nothing_happened(lab)


async def test_a_queue_that_is_away_loses_nothing_and_says_where_to_look(lab: Lab) -> None:
    lab.queue.down = True
    answer = await lab.client.post(PROCESS, data=form(), headers=lab.auth)
    problem = await answer.json(content_type="application/problem+json")
    assert (answer.status, problem["code"]) == (503, "not_queued")
    assert answer.headers["Retry-After"]
    row = lab.records.committed.tasks[problem["task_id"]]
    assert row.state == "accepted"
    assert row.id in problem["detail"]
    assert len(lab.blobs.objects) == 1
    lab.queue.down = False
    assert await lab.queue.submit(Flow.from_data(row.spec))  # the row alone is enough to start it later
    status = await lab.client.get(f"/api/tasks/{row.id}/status", headers=lab.auth)
    assert (await status.json())["state"] == "queued"


async def test_rows_land_together_or_not_at_all(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobqueue.server.submit.new_id", lambda kind: f"{kind}-{'0' * 26}")
    assert (await lab.client.post(PROCESS, data=form(), headers=lab.auth)).status == 202
    before = lab.records.committed.copy()
    assert (await lab.client.post(PROCESS, data=form(), headers=lab.auth)).status == 409
    assert lab.records.committed == before


async def test_an_accepted_file_is_read_again_for_its_contract_or_for_a_new_one(lab: Lab) -> None:
    file, contract = await lab.add_document()
    url = f"/api/tasks/files/{file.id}/ocr"
    named = await lab.client.post(url, json={"contract_id": contract.id}, headers=lab.auth)
    fresh = await lab.client.post(url, headers=lab.auth)
    assert (named.status, fresh.status) == (202, 202)
    assert (await named.json())["contract_id"] == contract.id
    other = lab.records.committed.contracts[(await fresh.json())["contract_id"]]
    assert other.id != contract.id
    assert other.file_id == file.id
    assert {flow.kind for flow in lab.queue.flows.values()} == {"ocr_file"}


async def test_a_file_is_not_read_into_a_contract_of_another_file(lab: Lab) -> None:
    (file, _), (_, other) = await lab.add_document(), await lab.add_document()
    answer = await lab.client.post(f"/api/tasks/files/{file.id}/ocr", json={"contract_id": other.id}, headers=lab.auth)
    assert answer.status == 422
    assert not lab.queue.flows


@pytest.mark.parametrize(
    ("state", "word"),
    [("received", "still being checked"), ("rejected", "encrypted"), ("quarantined", "encrypted")],
)
async def test_a_file_that_was_not_accepted_is_not_read(lab: Lab, state: str, word: str) -> None:
    file, _ = await lab.add_document()
    lab.records.committed.files[file.id] = replace(file, state=state, reason="it is encrypted")
    answer = await lab.client.post(f"/api/tasks/files/{file.id}/ocr", headers=lab.auth)
    assert answer.status == 409
    assert word in await answer.text()


async def test_a_contract_is_analysed_once_its_text_is_there(lab: Lab) -> None:
    _, contract = await lab.add_document()
    url, body = "/api/tasks/contracts/analyze", {"contract_id": contract.id}
    assert (await lab.client.post(url, json=body, headers=lab.auth)).status == 409
    lab.records.committed.contracts[contract.id] = replace(contract, text_key="x")
    answer = await lab.client.post(url, json=body, headers=lab.auth)
    assert answer.status == 202
    [flow] = lab.queue.flows.values()
    assert [step.name for step in flow.steps] == list(tasks.LLM_STEPS)


async def test_a_contract_is_exported_once_it_is_analysed(lab: Lab) -> None:
    _, bare = await lab.add_document(text_key="x")
    _, contract = await lab.add_document(**ANALYSED)
    url = "/api/tasks/contracts/export"
    assert (await lab.client.post(url, json={"contract_id": bare.id}, headers=lab.auth)).status == 409
    answer = await lab.client.post(url, json={"contract_id": contract.id, "formats": ["pdf"]}, headers=lab.auth)
    assert answer.status == 202
    [flow] = lab.queue.flows.values()
    assert flow.steps[0].kwargs["formats"] == ["pdf"]


async def test_a_text_is_exported_once_it_is_there_be_it_analysed_or_not(lab: Lab) -> None:
    _, unread = await lab.add_document()
    _, contract = await lab.add_document(text_key="x")
    url, formats = "/api/tasks/contracts/export", ["txt", "json", "md", "hocr", "alto", "searchable_pdf", "pdfa"]
    statuses = [
        (await lab.client.post(url, json=body, headers=lab.auth)).status
        for body in (
            {"contract_id": unread.id, "formats": formats},
            {"contract_id": contract.id, "formats": [*formats, "docx"]},
            {"contract_id": contract.id, "formats": ["exe"]},
            {"contract_id": contract.id, "formats": formats},
        )
    ]
    assert statuses == [409, 409, 422, 202]
    [flow] = lab.queue.flows.values()
    assert flow.steps[0].kwargs["formats"] == sorted(formats)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "contract_id"),
        (b"{", "JSON"),
        (b"[]", "object"),
        (b"[" * 1_000, "JSON"),
        (b"\xff", "JSON"),
        (b'{"contract_id": 7}', "string"),
        (b'{"contract_id": "contract-../../x"}', "pattern"),
        (b'{"contract_id": "' + new_id("contract").encode() + b'\\n"}', "pattern"),
        (b'{"contract_id": "' + new_id("contract").encode() + b'", "contract": 1}', "contract:"),
    ],
    ids=lambda value: str(value[:20]),
)
async def test_a_body_of_another_shape_is_refused_with_the_field_s_name(lab: Lab, body: bytes, word: str) -> None:
    headers = {**lab.auth, "Content-Type": "application/json"}
    answer = await lab.client.post("/api/tasks/contracts/analyze", data=body, headers=headers)
    assert answer.status == 422
    assert word in (await answer.json(content_type="application/problem+json"))["detail"]


@pytest.mark.parametrize("formats", [[], ["exe"], ["pdf"] * 10])
async def test_only_known_report_formats_are_exported(lab: Lab, formats: list[str]) -> None:
    _, contract = await lab.add_document(**ANALYSED)
    answer = await lab.client.post(
        "/api/tasks/contracts/export", json={"contract_id": contract.id, "formats": formats}, headers=lab.auth
    )
    assert answer.status == 422
    assert "formats" in await answer.text()


async def test_an_oversized_body_is_refused(lab: Lab) -> None:
    answer = await lab.client.post("/api/tasks/contracts/analyze", json={"contract_id": "x" * 3_000}, headers=lab.auth)
    assert (answer.status, answer.content_type) == (413, "application/problem+json")


async def test_a_body_must_be_declared_as_json(lab: Lab) -> None:
    headers = {**lab.auth, "Content-Type": "text/plain"}
    answer = await lab.client.post("/api/tasks/contracts/analyze", data=b"{}", headers=headers)
    assert answer.status == 415


async def test_a_body_that_never_arrives_is_given_up() -> None:
    async def content() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async with Lab.start(idle_timeout_s=0.1) as lab:
        headers = {**lab.auth, "Content-Type": "application/json"}
        answer = await lab.client.post("/api/tasks/contracts/analyze", data=content(), headers=headers)
        assert answer.status == 408


async def test_a_bug_in_an_adapter_is_a_500_that_tells_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_args: object, **_kwargs: object) -> None:
        raise ValueError("secret of the adapter")

    monkeypatch.setattr(lab.blobs, "put", broken)
    answer = await lab.client.post(PROCESS, data=form(), headers=lab.auth)
    assert answer.status == 500
    assert "secret" not in await answer.text()
    await wait_until(lambda: not lab.records.committed.tasks)
