"""Contracts, reports and the page's own files."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from aiohttp import ClientPayloadError

from jobqueue.server.pages import FILES
from jobqueue.tasks import Extraction, Fact, Quote, Summary, Usage
from tests.unit.server_support import Lab

EXTRACTION = Extraction(
    document_class="lease",
    class_confidence=0.9,
    facts=[Fact(kind="rent", value="1200.00 EUR", confidence=0.8, quote=Quote(page=1, start=0, end=3, text="rent"))],
)


@pytest_asyncio.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab.start() as running:
        yield running


async def test_a_contract_shows_what_is_known_so_far(lab: Lab) -> None:
    file, contract = await lab.add_document(
        extraction=EXTRACTION,
        summary=Summary(text="A lease.", key_points=[]),
        usage={"extract": Usage(provider="offline", model="rules-1")},
        reports={"pdf": "acme/reports/x/report.pdf"},
    )
    found = await (await lab.client.get(f"/api/contracts/{contract.id}", headers=lab.auth)).json()
    assert found["file"]["name"] == file.name
    assert found["extraction"]["facts"][0]["value"] == "1200.00 EUR"
    assert found["summary"]["text"] == "A lease."
    assert found["analysis"] is None
    assert found["reports"] == {"pdf": f"/api/contracts/{contract.id}/reports/pdf"}
    assert "acme/" not in str(found)  # where things are stored is nobody's business


async def test_a_report_comes_as_an_attachment_under_the_file_s_name(lab: Lab) -> None:
    file, contract = await lab.add_document(reports={"pdf": "acme/reports/x/report.pdf"})
    content = b"%PDF-" + b"x" * 1_000_000
    await lab.blobs.put_bytes("acme/reports/x/report.pdf", content)
    lab.records.committed.files[file.id] = replace(file, name='Mietvertrag "Süd"; filename=x.pdf')
    answer = await lab.client.get(f"/api/contracts/{contract.id}/reports/pdf", headers=lab.auth)
    assert (answer.status, answer.content_type) == (200, "application/pdf")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"] == (
        'attachment; filename="report.pdf"; '
        "filename*=UTF-8''Mietvertrag%20%22S%C3%BCd%22%3B%20filename%3Dx%20report.pdf"
    )
    assert await answer.read() == content


@pytest.mark.parametrize(
    ("fmt", "mime_type", "end"),
    [
        ("txt", "text/plain", "txt"),
        ("json", "application/json", "json"),
        ("md", "text/markdown", "md"),
        ("hocr", "text/html", "hocr.html"),
        ("alto", "application/xml", "alto.xml"),
        ("searchable_pdf", "application/pdf", "searchable.pdf"),
        ("pdfa", "application/pdf", "pdfa.pdf"),
    ],
)
async def test_a_file_s_text_comes_as_an_attachment_that_runs_nothing(
    lab: Lab, fmt: str, mime_type: str, end: str
) -> None:
    _, contract = await lab.add_document(reports={fmt: "acme/contracts/x/document"})
    await lab.blobs.put_bytes("acme/contracts/x/document", b"<script>alert(1)</script>")
    answer = await lab.client.get(f"/api/contracts/{contract.id}/reports/{fmt}", headers=lab.auth)
    assert (answer.status, answer.content_type) == (200, mime_type)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"].startswith(f'attachment; filename="text.{end}"; ')
    assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")


async def test_a_report_not_written_yet_is_missing(lab: Lab) -> None:
    _, contract = await lab.add_document(reports={"pdf": "acme/reports/gone.pdf"})
    for fmt in ("docx", "pdf", "pdfa", "hocr.html", "exe"):
        answer = await lab.client.get(f"/api/contracts/{contract.id}/reports/{fmt}", headers=lab.auth)
        assert (answer.status, answer.content_type) == (404, "application/problem+json")


async def test_a_report_that_breaks_off_never_passes_for_whole(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(key: str) -> AsyncIterator[bytes]:
        yield b"%PDF-"
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr(lab.blobs, "stream", broken)
    _, contract = await lab.add_document(reports={"pdf": "acme/reports/x/report.pdf"})
    answer = await lab.client.get(f"/api/contracts/{contract.id}/reports/pdf", headers=lab.auth)
    with pytest.raises(ClientPayloadError):
        await answer.read()


async def test_the_page_and_its_files_come_from_here_alone(lab: Lab) -> None:
    page = await (await lab.client.get("/")).text()
    linked = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert {"/static/app.js", "/static/style.css", "/static/icon.svg"} <= set(linked)
    for path in linked:
        answer = await lab.client.get(path)
        assert answer.status == 200
        assert answer.charset == "utf-8"
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", page)


async def test_the_script_puts_strings_into_the_page_as_text_alone() -> None:
    script = FILES["app.js"].decode()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", script)


@pytest.mark.parametrize("name", ["..%2fapp.py", "%2e%2e/app.py", "nothing.js", "__init__.py"])
async def test_no_other_file_can_be_had(lab: Lab, name: str) -> None:
    assert (await lab.client.get(f"/static/{name}")).status == 404


async def test_what_was_unpacked_from_another_file_has_an_address_of_its_own(lab: Lab) -> None:
    _, contract = await lab.add_document()
    inner = replace(contract, id=f"{contract.id}.1.12")
    lab.records.committed.contracts[inner.id] = inner
    answer = await lab.client.get(f"/api/contracts/{inner.id}", headers=lab.auth)
    assert answer.status == 200
    assert (await answer.json())["id"] == inner.id
