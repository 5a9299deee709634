"""What becomes of a file that a real clamd calls infected, can't look at as a whole, or finds nothing in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handlers.ingest import ingest_document, plan_pages
from handlers.ocr import ocr_document
from jobqueue.errors import InvalidInput, RejectedFile, Unavailable
from jobqueue.ports import VirusScanner
from jobqueue.services.virusscan import virus_scanner
from tests.clamd_support import EICAR, MAX_BYTES, running_clamd, zipped
from tests.unit import hostile_files
from tests.unit.documents_support import CONTRACT, FILE, TENANT, InProcessSandbox, World

AWAY = "unix:///nowhere/clamd.sock"


@pytest.fixture(scope="module")
def clamd() -> Iterator[str]:
    with running_clamd() as url:
        yield url


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def scanner(url: str) -> VirusScanner:
    return virus_scanner("required", url, sandbox=InProcessSandbox(), max_bytes=MAX_BYTES, max_age_days=0)


async def test_an_infected_file_is_quarantined_before_anything_parses_it(clamd: str, world: World) -> None:
    world.upload(EICAR, "deed.pdf")
    original = world.file.blob_key
    for _ in range(2):  # again, as after a crash
        with pytest.raises(RejectedFile, match=r"deed\.pdf is infected \(Eicar\.Test\.UNOFFICIAL\)"):
            await ingest_document(world.ctx(scanner=scanner(clamd)), tenant_id=TENANT, file_id=FILE)
    assert world.sandbox.calls == []
    assert (world.file.state, world.file.info) == ("quarantined", None)
    assert world.file.scan is not None
    assert (world.file.scan.verdict, world.file.scan.engine[:7]) == ("infected", "ClamAV ")
    assert original not in world.blobs.objects
    assert world.blobs.objects[world.file.blob_key] == EICAR
    [entry] = world.records.rows.trail
    assert (entry.action, entry.detail["finding"]) == ("file.quarantined", "Eicar.Test.UNOFFICIAL")
    assert "deed" not in str(entry)


async def test_nothing_reads_a_quarantined_file(clamd: str, world: World) -> None:
    world.upload(EICAR, "deed.txt")
    with pytest.raises(RejectedFile):
        await ingest_document(world.ctx(scanner=scanner(clamd)), tenant_id=TENANT, file_id=FILE)
    with pytest.raises(InvalidInput, match="is quarantined"):
        await plan_pages(world.ctx(), tenant_id=TENANT, file_id=FILE)
    with pytest.raises(InvalidInput, match="is quarantined"):
        await ocr_document(world.ctx(), tenant_id=TENANT, file_id=FILE, contract_id=CONTRACT)


async def test_the_same_bytes_again_are_quarantined_even_without_a_scanner(clamd: str, world: World) -> None:
    world.upload(EICAR, "deed.txt")
    with pytest.raises(RejectedFile):
        await ingest_document(world.ctx(scanner=scanner(clamd)), tenant_id=TENANT, file_id=FILE)
    rows = world.records.rows.files
    rows[TENANT, "file-0"] = rows.pop((TENANT, FILE))
    world.upload(EICAR, "renamed.txt")
    with pytest.raises(RejectedFile, match=r"renamed\.txt is infected \(Eicar\.Test\.UNOFFICIAL\)"):
        await ingest_document(world.ctx(), tenant_id=TENANT, file_id=FILE)
    assert world.file.state == "quarantined"


async def test_the_same_bytes_that_were_accepted_before_are_quarantined_too(clamd: str, world: World) -> None:
    world.upload(EICAR, "deed.txt")
    await ingest_document(world.ctx(), tenant_id=TENANT, file_id=FILE)  # there is no scanner yet
    rows = world.records.rows.files
    info = world.file.info
    assert info is not None
    accepted = replace(world.file, id="file-0", info=info.model_copy(update={"reading_key": "readable"}))
    world.upload(EICAR, "again.txt")
    rows[TENANT, "file-0"] = replace(accepted, blob_key=(await world.blobs.put_bytes("earlier", EICAR)).key)
    await world.blobs.put_bytes("readable", b"a copy of it")
    with pytest.raises(RejectedFile):
        await ingest_document(world.ctx(scanner=scanner(clamd)), tenant_id=TENANT, file_id=FILE)
    assert [(row.state, row.info) for row in world.records.rows.files.values()] == [("quarantined", None)] * 2
    assert sorted(world.blobs.objects) == [f"{TENANT}/quarantine/file-0", f"{TENANT}/quarantine/{FILE}"]


async def test_an_unscannable_file_is_rejected_with_its_own_reason(clamd: str, world: World) -> None:
    world.upload(zipped(("a.bin", bytes(2 * MAX_BYTES) + EICAR)), "plans.zip")
    with pytest.raises(RejectedFile, match=r"plans\.zip can't be checked for viruses, a part of it has"):
        await ingest_document(world.ctx(scanner=scanner(clamd)), tenant_id=TENANT, file_id=FILE)
    assert world.file.state == "rejected"
    assert world.file.scan is not None
    assert world.file.scan.verdict == "unscannable"


async def test_a_clean_file_s_record_says_who_looked(clamd: str, world: World) -> None:
    world.upload(hostile_files.text_pdf(), "deed.pdf")
    await ingest_document(world.ctx(scanner=scanner(clamd)), tenant_id=TENANT, file_id=FILE)
    first = world.file
    assert first.scan is not None
    assert (first.state, first.scan.verdict, first.scan.engine[:7]) == ("accepted", "clean", "ClamAV ")
    await ingest_document(world.ctx(scanner=scanner(clamd)), tenant_id=TENANT, file_id=FILE)
    assert world.file == first


async def test_a_file_waits_while_a_mandatory_scanner_is_away(world: World) -> None:
    world.upload(hostile_files.text_pdf(), "deed.pdf")
    with pytest.raises(Unavailable):
        await ingest_document(world.ctx(scanner=scanner(AWAY)), tenant_id=TENANT, file_id=FILE)
    assert (world.file.state, world.sandbox.calls, world.records.rows.trail) == ("received", [], [])


@pytest.mark.parametrize("broken", ["put_file", "save_file", "delete"])
async def test_a_quarantine_cut_off_anywhere_is_made_good_by_the_next_attempt(
    clamd: str, world: World, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.upload(EICAR, "deed.txt")

    async def stop(*_: Any, **__: Any) -> Any:
        raise Unavailable("the plug was pulled")

    with monkeypatch.context() as patch:
        patch.setattr(type(world.records.rows if broken == "save_file" else world.blobs), broken, stop)
        with pytest.raises(Unavailable):
            await ingest_document(world.ctx(scanner=scanner(clamd)), tenant_id=TENANT, file_id=FILE)
    with pytest.raises(RejectedFile):
        await ingest_document(world.ctx(scanner=scanner(clamd)), tenant_id=TENANT, file_id=FILE)
    assert world.file.state == "quarantined"
    assert world.blobs.objects[world.file.blob_key] == EICAR
    assert len(world.records.rows.trail) == 1
    if broken != "delete":  # there the `expire` job finds an object that no row names
        assert len(world.blobs.objects) == 1
