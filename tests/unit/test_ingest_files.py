"""The ingest handler: files uploaded twice, protected files, and files that hold others."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from handlers.ingest import ingest_document, plan_pages
from handlers.ocr import ocr_document
from jobqueue.broker.deadletter import DeadLetter
from jobqueue.errors import ConfigError, LimitExceeded, RejectedFile, Unavailable
from jobqueue.flows import Flow
from jobqueue.job import encode
from jobqueue.payloads import IngestDocument
from jobqueue.services.sealing import AesGcmSeal
from jobqueue.tasks import process_file
from tests.unit import hostile_files as hostile
from tests.unit import office_files as office
from tests.unit.documents_support import CONTRACT, FILE, NOW, TENANT, World

SEAL = AesGcmSeal("a key of thirty-two characters!!")


class Queue:
    """Takes tasks, once each; fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.flows: dict[str, Flow] = {}
        self.failures = failures

    async def submit(self, flow: Flow) -> bool:
        if self.failures:
            self.failures -= 1
            raise Unavailable("Redis is away")
        return self.flows.setdefault(flow.id, flow) is flow


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """All that is logged, at every level."""
    root, out = logging.getLogger(), io.StringIO()
    handler, level = logging.StreamHandler(out), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield out
    root.removeHandler(handler)
    root.setLevel(level)


def ctx(world: World, queue: Queue | None = None) -> dict[str, Any]:
    return world.ctx(seal=SEAL) | {"queues": queue or Queue()}


def sealed(password: str, *, file_id: str = FILE) -> SecretStr:
    return SecretStr(SEAL.seal(password, of=f"{TENANT}/{file_id}"))


def again(world: World, file_id: str, *, tenant_id: str = TENANT, minutes: int = 1) -> None:
    """The uploaded file once more, under another id."""
    row = replace(world.file, id=file_id, tenant_id=tenant_id, state="received", info=None, scan=None)
    world.records.rows.files[tenant_id, file_id] = replace(row, created_at=NOW + timedelta(minutes=minutes))


# ── duplicates ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_same_bytes_again_are_answered_from_the_earlier_result_and_say_so(world: World) -> None:
    world.upload(hostile.text_pdf(["one", "two"]), "receipt.pdf")
    first = await ingest_document(ctx(world), tenant_id=TENANT, file_id=FILE)
    again(world, "file-2")
    calls = len(world.sandbox.calls)
    second = await ingest_document(ctx(world), tenant_id=TENANT, file_id="file-2")
    assert second == first | {"duplicate_of": FILE}
    assert len(world.sandbox.calls) == calls
    row = world.records.rows.files[TENANT, "file-2"]
    assert row.state == "accepted"
    assert row.info is not None
    assert row.info.duplicate_of == FILE
    assert any("uploaded before, as file-1" in warning for warning in row.info.warnings)
    assert world.records.rows.trail[-1].detail["duplicate_of"] == FILE
    assert await ingest_document(ctx(world), tenant_id=TENANT, file_id="file-2") == second
    assert await ingest_document(ctx(world), tenant_id=TENANT, file_id=FILE) == first


async def test_no_result_crosses_from_tenant_to_tenant(world: World) -> None:
    world.upload(hostile.text_pdf(), "receipt.pdf")
    await ingest_document(ctx(world), tenant_id=TENANT, file_id=FILE)
    again(world, "file-2", tenant_id="tenant-2")
    answer = await ingest_document(ctx(world), tenant_id="tenant-2", file_id="file-2")
    assert "duplicate_of" not in answer
    assert world.sandbox.calls.count("handlers.documents.inspect:inspect") == 2


async def test_a_result_of_older_checks_is_no_answer(world: World) -> None:
    world.upload(hostile.text_pdf(), "receipt.pdf")
    await ingest_document(ctx(world), tenant_id=TENANT, file_id=FILE)
    assert world.file.info is not None
    old = replace(world.file, info=world.file.info.model_copy(update={"checks": 0}))
    world.records.rows.files[TENANT, FILE] = old
    again(world, "file-2")
    assert "duplicate_of" not in await ingest_document(ctx(world), tenant_id=TENANT, file_id="file-2")


async def test_the_trail_says_what_was_found_by_its_codes(world: World) -> None:
    world.upload(office.pdf_with("/OpenAction<</S/JavaScript/JS(x)>>"), "form.pdf")
    await ingest_document(ctx(world), tenant_id=TENANT, file_id=FILE)
    [entry] = world.records.rows.trail
    assert entry.detail["findings"] == "pdf_javascript pdf_open_action"


# ── passwords ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_protected_pdf_is_read_with_its_password_which_nothing_else_learns(
    world: World, logged: io.StringIO
) -> None:
    locked = office.locked_pdf("hunter2")
    world.upload(locked, "deed.pdf")
    await ingest_document(ctx(world), tenant_id=TENANT, file_id=FILE, sealed_password=sealed("hunter2"))
    assert world.file.info is not None
    assert world.file.info.copy_made == "decrypted"
    assert world.blobs.objects[world.file.blob_key] == locked
    assert await plan_pages(ctx(world), tenant_id=TENANT, file_id=FILE) == {"ranges": [{"first": 1, "last": 1}]}
    outline = await ocr_document(ctx(world), tenant_id=TENANT, file_id=FILE, contract_id=CONTRACT)
    assert outline["ocr_pages"] == 0
    assert "hunter2" not in logged.getvalue() + repr(world.records.rows)


async def test_a_wrong_password_is_refused_without_being_shown(world: World) -> None:
    world.upload(office.locked_pdf("mill"), "deed.pdf")
    with pytest.raises(RejectedFile, match="doesn't open it") as caught:
        await ingest_document(ctx(world), tenant_id=TENANT, file_id=FILE, sealed_password=sealed("hunter2"))
    assert "hunter2" not in str(caught.value) + repr(world.records.rows)


async def test_whoever_uploads_a_protected_pdf_again_has_to_know_its_password(world: World) -> None:
    world.upload(office.locked_pdf("mill"), "deed.pdf")
    await ingest_document(ctx(world), tenant_id=TENANT, file_id=FILE, sealed_password=sealed("mill"))
    again(world, "file-2")
    with pytest.raises(RejectedFile, match="protected by a password"):
        await ingest_document(ctx(world), tenant_id=TENANT, file_id="file-2")


async def test_a_password_opens_only_the_file_it_came_with_and_only_where_its_key_is(world: World) -> None:
    world.upload(office.locked_pdf("mill"), "deed.pdf")
    with pytest.raises(ConfigError, match="sealed with another key, or for another file: set JOBQUEUE_SECRET_KEY"):
        await ingest_document(ctx(world), tenant_id=TENANT, file_id=FILE, sealed_password=sealed("mill", file_id="x"))
    with pytest.raises(ConfigError, match="this worker has no key: set JOBQUEUE_SECRET_KEY"):
        await ingest_document(world.ctx(), tenant_id=TENANT, file_id=FILE, sealed_password=sealed("mill"))
    assert world.file.state == "received"  # the operator's fault, not the file's
    await ingest_document(ctx(world), tenant_id=TENANT, file_id=FILE, sealed_password=sealed("mill"))
    assert world.file.state == "accepted"


def test_a_password_crosses_to_the_worker_and_is_masked_for_people() -> None:
    job = IngestDocument(tenant_id=TENANT, file_id=FILE, sealed_password=sealed("hunter2"))
    assert SEAL.unseal(job.to_payload()["sealed_password"], of=f"{TENANT}/{FILE}") == "hunter2"
    assert "hunter2" not in repr(job)
    flow = process_file(task_id="task-1", tenant_id=TENANT, file_id=FILE, contract_id=CONTRACT, sealed_password="v1.x")
    assert [step.name for step in flow.steps if "sealed_password" in step.kwargs] == ["ingest"]
    letter = DeadLetter(
        entry_id="1-1", job_id="ingest-1", queue="ingest", function="ingest_document", reason="failed", error_class="E",
        message="", traceback="", attempts=1, enqueued_at=NOW, started_at=None, buried_at=NOW, flow_id="task-1",
        tenant_id=TENANT, trace_id="",
        payload=encode({"f": "ingest_document", "a": [], "k": dict(job.to_payload()), "et": 1}),
    )  # fmt: skip
    assert letter.detail()["kwargs"] == {"tenant_id": TENANT, "file_id": FILE, "sealed_password": "**********"}


# ── files in files ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_each_file_of_an_archive_gets_a_record_and_a_task_of_its_own(world: World) -> None:
    queue = Queue()
    inside = {"deed.pdf": hostile.text_pdf(), "more/terms.txt": b"Terms.", "__MACOSX/._deed.pdf": b"x"}
    world.upload(office.archive(inside | {"inner.zip": office.archive({"lease.docx": office.docx()})}), "all.zip")
    await ingest_document(ctx(world, queue), tenant_id=TENANT, file_id=FILE)
    assert world.file.info is not None
    children = world.file.info.children
    assert [child.name for child in children] == ["deed.pdf", "terms.txt", "lease.docx"]
    assert list(queue.flows) == [child.task_id for child in children] == ["task-1.1", "task-1.2", "task-1.3"]
    for child in children:
        await ingest_document(ctx(world, queue), tenant_id=TENANT, file_id=child.file_id)
        assert world.records.rows.files[TENANT, child.file_id].state == "accepted"
        assert world.records.rows.tasks[TENANT, child.task_id].file_id == child.file_id
    text = await ocr_document(ctx(world), tenant_id=TENANT, file_id=FILE, contract_id=CONTRACT)
    assert text["pages"] == 1


@pytest.mark.parametrize("make", [office.eml, office.msg])
async def test_attachments_of_a_mail_become_files(world: World, make: Any) -> None:
    queue = Queue()
    logo = hostile.huge_png()
    world.upload(make(("deed.pdf", hostile.text_pdf()), ("logo.png", logo)), "offer")
    await ingest_document(ctx(world, queue), tenant_id=TENANT, file_id=FILE)
    assert [
        world.records.rows.files[TENANT, flow.steps[0].kwargs["file_id"]].name for flow in queue.flows.values()
    ] == ["deed.pdf"]


async def test_unpacking_goes_on_where_a_crash_left_it(world: World) -> None:
    world.upload(office.archive({"a.txt": b"A deed.", "b.txt": b"A lease."}), "all.zip")
    queue = Queue(failures=1)
    with pytest.raises(Unavailable):
        await ingest_document(ctx(world, queue), tenant_id=TENANT, file_id=FILE)
    rows = world.records.rows
    assert world.file.state == "accepted"
    assert len(rows.tasks) == 2
    await ingest_document(ctx(world, queue), tenant_id=TENANT, file_id=FILE)
    assert sorted(queue.flows) == ["task-1.1", "task-1.2"]
    assert world.records.rows.tasks == rows.tasks
    assert len(world.records.rows.trail) == 3


async def test_files_in_files_in_files_come_to_an_end(world: World) -> None:
    mail = office.eml(("deed.txt", b"Deed of trust."))
    for _ in range(3):
        mail = office.eml(("forwarded.eml", mail))
    world.upload(mail, "offer.eml")
    for file_id in (FILE, f"{FILE}.1"):
        await ingest_document(ctx(world), tenant_id=TENANT, file_id=file_id)
    with pytest.raises(LimitExceeded, match=r"^forwarded\.eml holds files, and is itself 2 files deep"):
        await ingest_document(ctx(world), tenant_id=TENANT, file_id=f"{FILE}.1.1")
    assert world.records.rows.files[TENANT, f"{FILE}.1.1"].state == "rejected"
