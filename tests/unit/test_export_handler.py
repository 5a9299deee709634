"""The export handler over in-process doubles of its ports; the renderers are the real ones."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from handlers.export import PAGED, RENDERERS, export_report
from jobqueue.binding import bind
from jobqueue.errors import InvalidInput, LimitExceeded, NotFound
from jobqueue.payloads import ANALYSIS_FORMATS, EXTENSIONS, ExportReport, ReportFormat
from jobqueue.tasks import DocumentText
from tests.unit.rendering_support import InlineSandbox, World
from tests.unit.textual_support import LETTER_200, page_of, scan_of, scanned_pdf

PDF = "acme/contracts/c1/report.pdf"
DOCX = "acme/contracts/c1/report.docx"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(temp_dir=tmp_path)


def _files(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def _export(world: World, **more: Any) -> Any:
    return bind(export_report, ExportReport)(world.ctx, **{"tenant_id": "acme", "contract_id": "c1"} | more)


async def test_reports_are_stored_noted_and_audited(world: World) -> None:
    answer = await _export(world)
    assert answer == {
        "reports": {"pdf": PDF, "docx": DOCX},
        "size_bytes": {"pdf": len(world.blobs.data[PDF]), "docx": len(world.blobs.data[DOCX])},
    }
    assert world.blobs.data[PDF].startswith(b"%PDF-")
    assert world.blobs.data[DOCX].startswith(b"PK")
    assert world.records.contract.reports == {"pdf": PDF, "docx": DOCX}
    (entry,) = world.records.trail
    assert (entry.tenant_id, entry.actor, entry.action, entry.subject) == (
        "acme", "worker:export", "contract.exported", "c1",
    )  # fmt: skip
    assert entry.detail["pdf"] == hashlib.sha256(world.blobs.data[PDF]).hexdigest()


async def test_a_second_run_stores_the_same_bytes(world: World) -> None:
    first = await _export(world)
    before = dict(world.blobs.data)
    assert await _export(world) == first
    assert world.blobs.data == before


async def test_only_the_asked_formats_are_written_and_others_are_kept(world: World) -> None:
    world.records.contract = replace(world.records.contract, reports={"pdf": PDF})
    answer = await _export(world, formats=["docx", "docx"])
    assert answer["reports"] == {"docx": DOCX}
    assert PDF not in world.blobs.data
    assert world.records.contract.reports == {"pdf": PDF, "docx": DOCX}


async def test_watchers_hear_of_each_format(world: World) -> None:
    await _export(world)
    assert world.steps == [(0, 2, "writing pdf"), (1, 2, "writing docx"), (2, 2, "done")]


@pytest.mark.parametrize("formats", [["pdf", "exe"], ["../../x"], [], "pdf"])
async def test_unknown_formats_are_refused_by_name_before_anything_is_written(world: World, formats: Any) -> None:
    with pytest.raises(InvalidInput, match="formats"):
        await _export(world, formats=formats)
    assert world.sandbox.calls == []


@pytest.mark.parametrize(
    ("part", "name", "job"),
    [
        ("text_key", "text", "ocr_document"),
        ("extraction", "extraction", "extract_terms"),
        ("summary", "summary", "summarise_contract"),
        ("analysis", "analysis", "analyse_contract"),
    ],
)
async def test_a_missing_part_is_named_with_the_job_that_makes_it(world: World, part: str, name: str, job: str) -> None:
    world.records.contract = replace(world.records.contract, **{part: None})  # type: ignore[arg-type]  # by name
    with pytest.raises(InvalidInput, match=f"c1 has no {name} yet: run {job} first"):
        await _export(world)


async def test_several_missing_parts_are_all_named(world: World) -> None:
    world.records.file = replace(world.records.file, info=None)
    world.records.contract = replace(world.records.contract, summary=None)
    with pytest.raises(InvalidInput, match="no info and no summary yet: run ingest_document, summarise_contract"):
        await _export(world)


async def test_another_tenant_s_contract_is_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        await _export(world, tenant_id="other")


@pytest.mark.parametrize("error", [LimitExceeded("more than 50 MB written"), asyncio.CancelledError()])
async def test_a_failed_rendering_leaves_nothing_behind(tmp_path: Path, error: BaseException) -> None:
    def fail(function: str, path: Path) -> None:
        if "word" in function:
            path.write_bytes(b"half a file")
            raise error

    world = World(temp_dir=tmp_path, sandbox=InlineSandbox(before=fail))
    with pytest.raises(type(error)):
        await _export(world)
    assert _files(tmp_path) == []
    assert world.records.contract.reports == {}
    assert world.records.trail == []


async def test_rendering_runs_in_the_sandbox_under_limits_and_the_directory_is_removed(world: World) -> None:
    await _export(world)
    assert [function for function, _ in world.sandbox.calls] == [
        "handlers.rendering.pdf:render_pdf",
        "handlers.rendering.word:render_docx",
    ]
    assert all(limits and limits.file_bytes == 50_000_000 for _, limits in world.sandbox.calls)
    assert _files(world.temp_dir) == []


TEXTUAL = ["txt", "json", "md", "hocr", "alto"]


@pytest.fixture
def scanned(world: World, tmp_path: Path) -> World:
    """The world after a scan was read, and before anything else."""
    (tmp_path / "made").mkdir()
    page = page_of(1, LETTER_200, "Deed of trust")
    scan = scanned_pdf(tmp_path / "made" / "scan.pdf", scan_of(page)).read_bytes()
    text = DocumentText(pages=[page]).model_dump_json().encode()
    world.blobs.data = {"acme/files/f1/original": scan, "acme/contracts/c1/text.json": text}
    world.records.contract = replace(world.records.contract, extraction=None, summary=None, analysis=None)
    world.temp_dir = tmp_path / "temp"
    world.temp_dir.mkdir()
    return world


async def test_the_text_s_formats_need_no_analysis_and_never_take_the_place_of_the_text(scanned: World) -> None:
    before = dict(scanned.blobs.data)
    answer = await _export(scanned, formats=[*TEXTUAL, "searchable_pdf", "pdfa"])
    ends = {
        "txt": "txt", "json": "json", "md": "md", "hocr": "hocr.html", "alto": "alto.xml",
        "searchable_pdf": "searchable.pdf", "pdfa": "pdfa.pdf",
    }  # fmt: skip
    assert answer["reports"] == {name: f"acme/contracts/c1/document.{end}" for name, end in ends.items()}
    assert scanned.records.contract.reports == answer["reports"]
    assert before.items() <= scanned.blobs.data.items()
    for name, key in answer["reports"].items():
        data = scanned.blobs.data[key]
        assert answer["size_bytes"][name] == len(data)
        assert data.startswith(b"%PDF-") if name in PAGED else b"trust" in data
    assert _files(scanned.temp_dir) == []


async def test_a_report_beside_the_text_still_needs_the_analysis(scanned: World) -> None:
    with pytest.raises(InvalidInput, match="no extraction and no summary and no analysis yet"):
        await _export(scanned, formats=["txt", "pdf"])
    assert scanned.sandbox.calls == []


@pytest.mark.parametrize(
    ("formats", "change", "said"),
    [
        (["txt"], {"text_key": None}, "no text yet: run ocr_document first"),
        (["pdfa"], {"info": None}, "no info yet: run ingest_document first"),
    ],
)
async def test_what_the_text_s_formats_lack_is_named(
    scanned: World, formats: list[str], change: dict[str, Any], said: str
) -> None:
    if "info" in change:
        scanned.records.file = replace(scanned.records.file, **change)
    else:
        scanned.records.contract = replace(scanned.records.contract, **change)
    with pytest.raises(InvalidInput, match=said):
        await _export(scanned, formats=formats)


async def test_a_pdf_that_was_read_from_a_copy_is_made_from_that_copy(scanned: World) -> None:
    scanned.blobs.data["acme/files/f1/reading"] = scanned.blobs.data.pop("acme/files/f1/original")
    info = scanned.records.file.info
    assert info is not None
    read_from = info.model_copy(update={"reading_key": "acme/files/f1/reading", "copy_made": "decrypted"})
    scanned.records.file = replace(scanned.records.file, info=read_from)
    answer = await _export(scanned, formats=["searchable_pdf"])
    assert scanned.blobs.data[answer["reports"]["searchable_pdf"]].startswith(b"%PDF-")


async def test_a_file_without_pages_is_refused_for_a_pdf_of_its_pages_and_nothing_is_noted(scanned: World) -> None:
    info = scanned.records.file.info
    assert info is not None
    scanned.records.file = replace(scanned.records.file, info=info.model_copy(update={"mime_type": "text/plain"}))
    with pytest.raises(InvalidInput, match="ask for txt or md"):
        await _export(scanned, formats=["txt", "pdfa"])
    assert scanned.records.contract.reports == {}


def test_every_format_has_an_ending_and_a_writer_and_all_are_told_apart() -> None:
    every = set(get_args(ReportFormat))
    assert set(EXTENSIONS) == set(RENDERERS) == every
    assert len(set(EXTENSIONS.values())) == len(every)
    assert every > ANALYSIS_FORMATS
