"""The ingest handler: verdicts on files, recorded once."""

from __future__ import annotations

from pathlib import Path

import pytest

from handlers.ingest import ingest_document
from jobqueue.errors import LimitExceeded, NotFound, RejectedFile
from tests.unit import hostile_files as hostile
from tests.unit.documents_support import FILE, TENANT, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_good_file_is_accepted_with_what_was_found_and_an_audit_entry(world: World) -> None:
    world.upload(hostile.text_pdf(["one", "two"]), "receipt.pdf")
    answer = await ingest_document(world.ctx(), tenant_id=TENANT, file_id=FILE)
    assert answer == {
        "mime_type": "application/pdf",
        "pages": 2,
        "sha256": world.file.sha256,
        "size_bytes": world.file.size_bytes,
    }
    assert world.file.state == "accepted"
    assert world.file.info is not None
    assert world.file.info.pages == 2
    [entry] = world.records.rows.trail
    assert (entry.action, entry.actor, entry.subject) == ("file.accepted", "worker:ingest", FILE)


async def test_a_bad_file_is_rejected_with_its_reason_and_the_error_goes_on(world: World) -> None:
    world.upload(hostile.encrypted_pdf(), "Vossberry offer.pdf")
    with pytest.raises(RejectedFile, match="password"):
        await ingest_document(world.ctx(), tenant_id=TENANT, file_id=FILE)
    assert world.file.state == "rejected"
    assert world.file.reason is not None
    assert world.file.reason.startswith("Vossberry offer.pdf is protected by a password")
    [entry] = world.records.rows.trail
    assert entry.action == "file.rejected"
    assert "Vossberry" not in str(entry)


async def test_running_again_changes_nothing_and_leaves_one_audit_entry(world: World) -> None:
    world.upload(hostile.text_pdf(), "receipt.pdf")
    first = await ingest_document(world.ctx(), tenant_id=TENANT, file_id=FILE)
    row = world.file
    assert await ingest_document(world.ctx(), tenant_id=TENANT, file_id=FILE) == first
    assert world.file == row
    assert len(world.records.rows.trail) == 1


async def test_a_file_rejected_for_a_limit_is_accepted_once_the_limit_is_raised(world: World) -> None:
    world.upload(hostile.text_pdf(["one", "two"]), "receipt.pdf")
    with pytest.raises(LimitExceeded, match="max_pages"):
        await ingest_document(world.ctx(max_pages=1), tenant_id=TENANT, file_id=FILE)
    await ingest_document(world.ctx(max_pages=2), tenant_id=TENANT, file_id=FILE)
    assert (world.file.state, world.file.reason) == ("accepted", None)
    assert [entry.action for entry in world.records.rows.trail] == ["file.rejected", "file.accepted"]


async def test_a_file_that_changed_in_storage_is_rejected(world: World) -> None:
    world.upload(hostile.text_pdf(), "receipt.pdf")
    world.blobs.objects[world.file.blob_key] = hostile.text_pdf(["another"])
    with pytest.raises(RejectedFile, match="SHA-256 differs"):
        await ingest_document(world.ctx(), tenant_id=TENANT, file_id=FILE)
    assert world.file.state == "rejected"


async def test_another_tenant_s_file_is_not_found(world: World) -> None:
    world.upload(hostile.text_pdf(), "receipt.pdf")
    with pytest.raises(NotFound):
        await ingest_document(world.ctx(), tenant_id="tenant-2", file_id=FILE)
    assert world.sandbox.calls == []


async def test_missing_storage_leaves_no_verdict(world: World) -> None:
    world.upload(hostile.text_pdf(), "receipt.pdf")
    world.blobs.objects.clear()
    with pytest.raises(NotFound):
        await ingest_document(world.ctx(), tenant_id=TENANT, file_id=FILE)
    assert world.file.state == "received"
    assert world.records.rows.trail == []
