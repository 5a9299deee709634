"""Reports as PDF, read back by another library."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pymupdf
import pypdfium2
import pytest
from PIL import Image

from handlers.rendering.pdf import render_pdf
from jobqueue.errors import InvalidInput
from jobqueue.tasks import Analysis, Extraction, PageSource, PageText, Report, Summary
from tests.unit.rendering_support import FACTS, fact, hostile_report, make_report, plain

EXPLANATION = "stands for a character that the fonts of this report can't show"


def _open(path: Path) -> Any:
    return pymupdf.open(path)  # type: ignore[no-untyped-call]  # PyMuPDF ships no types


def _pages(report: Report, path: Path) -> list[str]:
    answer = render_pdf(plain(report), str(path))
    with _open(path) as document:
        pages = [" ".join(page.get_text().split()) for page in document]
    assert answer == {"size_bytes": path.stat().st_size, "pages": len(pages)}
    return pages


def test_every_fact_can_be_read_in_the_pdf(tmp_path: Path) -> None:
    text = " ".join(_pages(make_report(), tmp_path / "r.pdf"))
    for value in ("12 Oak Street, Springfield, IL 62701", "425,000.00 USD", "8,500.00 USD", "Illinois"):
        assert value in text
    for name in ("José García Núñez", "Wilhelmina O’Connor-Łukasiewicz"):
        assert name in text
    for fact_ in FACTS:
        assert fact_.quote.page == 1 or str(fact_.quote.page) in text
    for stated in ("2024-04-15", "Monday, April 15, 2024", "Two different purchase prices", "Title insurance Missing"):
        assert stated in text
    for stated in ("Purchase agreement (94% confidence)", "oak-street-purchase.pdf", "March 4, 2024, 15:30 UTC"):
        assert stated in text


def test_every_page_is_numbered_and_says_that_it_is_machine_read(tmp_path: Path) -> None:
    pages = _pages(make_report(), tmp_path / "r.pdf")
    for number, text in enumerate(pages, start=1):
        assert f"Page {number} of {len(pages)}" in text
        assert "Machine-read; check against the source document." in text


def test_the_same_report_gives_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    code = (
        "import sys; from tests.unit.rendering_support import hostile_report, plain\n"
        "from handlers.rendering.pdf import render_pdf; render_pdf(plain(hostile_report()), sys.argv[1])"
    )
    digests = set()
    for seed in ("1", "2"):
        path = tmp_path / f"{seed}.pdf"
        env = {**os.environ, "PYTHONHASHSEED": seed, "TZ": "Asia/Tokyo" if seed == "1" else "UTC"}
        root = Path(__file__).parents[2]
        subprocess.run([sys.executable, "-c", code, str(path)], check=True, env=env, cwd=root)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    render_pdf(plain(hostile_report()), str(tmp_path / "3.pdf"))
    render_pdf(plain(hostile_report()), str(tmp_path / "4.pdf"))
    digests |= {hashlib.sha256((tmp_path / f"{n}.pdf").read_bytes()).hexdigest() for n in (3, 4)}
    assert len(digests) == 1


def test_the_creation_date_is_the_report_s(tmp_path: Path) -> None:
    _pages(make_report(), tmp_path / "r.pdf")
    with _open(tmp_path / "r.pdf") as document:
        assert document.metadata["creationDate"] == "D:20240304153000+00'00'"
        assert document.metadata["title"] == make_report().title


def test_markup_in_a_document_is_text_and_no_local_file_is_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    Image.new("RGB", (4, 4)).save(secret)  # one that an <img> could really load
    tag = f'<img src="{secret}" width="9" height="9"/>'
    report = make_report(
        title=tag, file_name=tag, summary=Summary(text=f"{tag} <b>x</b> &amp;", key_points=[]),
        extraction=Extraction(document_class="lease", class_confidence=1, facts=[fact(tag, tag), fact("buyer", tag)]),
    )  # fmt: skip
    text = "".join(_pages(report, tmp_path / "r.pdf"))
    assert "<img src=" in text
    assert "<b>x</b> &amp;" in text
    with _open(tmp_path / "r.pdf") as document:
        assert not any(page.get_images() or page.get_links() for page in document)
        assert document.embfile_count() == 0


def test_hostile_strings_are_laid_out_within_the_page(tmp_path: Path) -> None:
    pages = _pages(hostile_report(), tmp_path / "r.pdf")
    assert len(pages) < 20
    assert "root:" not in "".join(pages)
    with _open(tmp_path / "r.pdf") as document:
        for page in document:
            for left, _top, right, _bottom, word, *_ in page.get_text("words"):
                assert left >= 40, word
                assert right <= page.rect.width - 40, word


def _shown_as(name: str, path: Path) -> str:
    facts = [fact("buyer", name)]
    report = make_report(extraction=Extraction(document_class="lease", class_confidence=1, facts=facts))
    return " ".join(_pages(report, path))


@pytest.mark.parametrize(
    "name",
    [
        "Nguyễn Thị Hằng",
        "Юлия Щербакова",
        "Ελένη Παπαδοπούλου",
        "Šárka Dvořáčková",
        "王小明",
        "山田太郎",
        "김철수",
        "สมชาย",
    ],
)
def test_names_of_many_scripts_are_shown(name: str, tmp_path: Path) -> None:
    text = _shown_as(name, tmp_path / "r.pdf")
    assert name in text
    assert EXPLANATION not in text


@pytest.mark.parametrize("name", ["יעקב לוי", "محمد بن سلمان الأمير"])
def test_hebrew_and_arabic_names_run_from_right_to_left(name: str, tmp_path: Path) -> None:
    assert EXPLANATION not in _shown_as(name, tmp_path / "r.pdf")
    with _open(tmp_path / "r.pdf") as document:
        letters = [
            (char["bbox"][0], char["c"])
            for page in document
            for block in page.get_text("rawdict")["blocks"]
            for line in block.get("lines", [])
            for span in line["spans"]
            for char in span["chars"]
            if unicodedata.bidirectional(char["c"]) in {"R", "AL"}
        ]
    from_the_right = "".join(char for _, char in sorted(letters, reverse=True))
    assert unicodedata.normalize("NFKC", from_the_right) == name.replace(" ", "")


def test_a_character_that_no_font_has_is_replaced_and_explained(tmp_path: Path) -> None:
    text = _shown_as("Ann 🏠 Smith", tmp_path / "r.pdf")
    with pypdfium2.PdfDocument(tmp_path / "r.pdf") as document:  # PyMuPDF doesn't tell U+FFFD from an unknown glyph
        assert "Ann � Smith" in document[0].get_textpage().get_text_range()
    assert EXPLANATION in text


def test_forty_parties_split_over_pages_under_repeated_headers(tmp_path: Path) -> None:
    facts = [fact("buyer", f"Party Number {i} of the Very Long Family Name") for i in range(40)]
    report = make_report(extraction=Extraction(document_class="lease", class_confidence=1, facts=facts))
    pages = _pages(report, tmp_path / "r.pdf")
    holding = [text for text in pages if "of the Very Long Family Name" in text]
    assert len(holding) > 1
    assert all("Role Name Page Confidence" in text for text in holding)
    assert all(any(f"Party Number {i} of" in text for text in pages) for i in range(40))


def test_a_document_of_500_pages_each_read_differently(tmp_path: Path) -> None:
    pages = [
        PageText(number=i, text="word " * 400, source=PageSource.OCR, confidence=0.5 + 0.3 * (i % 2))
        for i in range(1, 501)
    ]
    text = _pages(make_report(pages=pages), tmp_path / "r.pdf")
    assert "500 Optical character recognition 2,000 50%" in " ".join(text)


def test_an_empty_report_is_still_a_report(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "extraction": Extraction(document_class="other", class_confidence=0, facts=[]),
        "summary": Summary(text="", key_points=[]),
        "analysis": Analysis(clauses=[], findings=[]),
        "pages": [],
        "usage": [],
    }
    text = " ".join(_pages(make_report(**changes), tmp_path / "r.pdf"))
    assert "No key terms were found." in text
    assert "Nothing was found that needs attention." in text


def test_what_is_no_report_is_refused_before_a_file_is_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="this is not a report"):
        render_pdf({"title": "x"}, str(tmp_path / "r.pdf"))
    assert list(tmp_path.iterdir()) == []
