"""Reports as DOCX, read back with python-docx and from the raw XML."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import docx
from docx.oxml.ns import qn
from lxml import etree

from handlers.rendering.word import render_docx
from jobqueue.tasks import Analysis, Extraction, PageSource, PageText, Report, Summary
from tests.unit.rendering_support import HOSTILE, fact, hostile_report, make_report, plain

HEADINGS = [
    "Summary", "Key terms", "Parties", "Dates", "Findings", "Clause checklist", "How each page was read",
    "Source and method",
]  # fmt: skip


def _document(report: Report, path: Path) -> Any:
    answer = render_docx(plain(report), str(path))
    assert answer == {"size_bytes": path.stat().st_size, "pages": None}
    return docx.Document(str(path))


def _tables(document: Any) -> list[list[list[str]]]:
    return [[[cell.text for cell in row.cells] for row in table.rows] for table in document.tables]


def test_the_headings_and_tables_are_where_readers_expect_them(tmp_path: Path) -> None:
    document = _document(make_report(), tmp_path / "r.docx")
    assert [p.text for p in document.paragraphs if p.style.name == "Heading 1"] == HEADINGS
    assert next(p.text for p in document.paragraphs if p.style.name == "Title") == make_report().title
    cover, terms, parties, dates, *findings, clauses, pages, source = _tables(document)
    assert cover[1] == ["Document class", "Purchase agreement (94% confidence)"]
    assert terms[2][:4] == ["Purchase price", "425,000.00 USD", "2", "95%"]
    assert parties[1][:2] == ["Buyer", "José García Núñez"]
    assert [row[0] for row in dates] == ["Date", "2024-03-01", "2024-03-20", "2024-04-15"]
    assert findings[0][0][0].splitlines()[1] == "Two different purchase prices"
    assert ["Title insurance", "Missing", "–", ""] in clauses
    assert pages[1] == ["1–2", "Text layer of the file", "4,000", "100%"]
    assert ["Size", "184,220 bytes"] in source


def test_headers_repeat_rows_hold_together_and_pages_are_counted(tmp_path: Path) -> None:
    document = _document(make_report(), tmp_path / "r.docx")
    for table in document.tables:
        assert all(row._tr.trPr.find(qn("w:cantSplit")) is not None for row in table.rows)
    repeated = [table.rows[0]._tr.trPr.find(qn("w:tblHeader")) is not None for table in document.tables]
    assert repeated == [False, True, True, True, False, False, False, True, True, True]
    footer = document.sections[0].footer._element.xml
    assert "NUMPAGES" in footer
    assert "Machine-read; check against the source document." in footer


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("1.docx", "2.docx")]
    for path in paths:
        render_docx(plain(hostile_report()), str(path))
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with zipfile.ZipFile(paths[0]) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(2024, 3, 4, 15, 30, 0)}


def test_the_properties_are_the_report_s(tmp_path: Path) -> None:
    properties = _document(make_report(), tmp_path / "r.docx").core_properties
    assert properties.title == make_report().title
    assert properties.created is not None
    assert properties.created.isoformat().startswith("2024-03-04T15:30:00")


def test_hostile_strings_stay_text_in_well_formed_xml(tmp_path: Path) -> None:
    document = _document(hostile_report(), tmp_path / "r.docx")
    assert any(HOSTILE[0][:60] in cell for table in _tables(document) for row in table for cell in row)
    with zipfile.ZipFile(tmp_path / "r.docx") as archive:
        for name in archive.namelist():
            if name.endswith((".xml", ".rels")):
                etree.fromstring(archive.read(name))  # raises for an illegal character


def test_nothing_outside_the_file_is_referred_to_or_taken_in(tmp_path: Path) -> None:
    _document(hostile_report(), tmp_path / "r.docx")
    with zipfile.ZipFile(tmp_path / "r.docx") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    assert not [name for name, data in parts.items() if name.endswith(".rels") and b'"External"' in data]
    assert not [name for name in parts if "/media/" in name or "/embeddings/" in name]
    assert not [name for name, data in parts.items() if b"root:x:" in data]


def test_a_right_to_left_name_is_marked_as_such(tmp_path: Path) -> None:
    facts = [fact("buyer", "יעקב לוי"), fact("seller", "Ann Smith")]
    report = make_report(extraction=Extraction(document_class="lease", class_confidence=1, facts=facts))
    hebrew, english = (row.cells[1].paragraphs[0] for row in _document(report, tmp_path / "r.docx").tables[1].rows[1:])
    assert (hebrew.text, hebrew.runs[0].font.rtl) == ("יעקב לוי", True)
    assert (english.text, english.runs[0].font.rtl) == ("Ann Smith", None)


def test_forty_parties_and_500_pages_are_all_there(tmp_path: Path) -> None:
    facts = [fact("buyer", f"Party {i}") for i in range(40)]
    pages = [PageText(number=i, text="x", source=PageSource.OCR, confidence=0.5 + 0.3 * (i % 2)) for i in range(1, 501)]
    extraction = Extraction(document_class="lease", class_confidence=1, facts=facts)
    tables = _tables(_document(make_report(extraction=extraction, pages=pages), tmp_path / "r.docx"))
    assert [row[1] for row in tables[1][1:]] == [f"Party {i}" for i in range(40)]
    assert len(tables[-2]) == 501


def test_an_empty_report_is_still_a_report(tmp_path: Path) -> None:
    empty = make_report(
        extraction=Extraction(document_class="other", class_confidence=0, facts=[]),
        summary=Summary(text="", key_points=[]),
        analysis=Analysis(clauses=[], findings=[]),
        pages=[],
        usage=[],
    )
    texts = [paragraph.text for paragraph in _document(empty, tmp_path / "r.docx").paragraphs]
    assert "No parties were found." in texts
    assert [text for text in texts if text in HEADINGS] == HEADINGS
