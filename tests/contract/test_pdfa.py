"""What is called PDF/A is PDF/A-1b by the word of Apache PDFBox's validator."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from reportlab.pdfgen.canvas import Canvas

from handlers.rendering.paged.archive import write_pdfa
from jobqueue.tasks import PageText
from tests.unit.textual_support import LETTER_200, layer_page, page_of, scan_of, scanned_pdf, stored

_JARS = [
    Path("/usr/share/java") / f"{name}.jar"
    for name in (
        "preflight", "xmpbox", "pdfbox2", "fontbox2", "commons-logging", "commons-io", "javax.activation", "jaxb-api",
    )
]  # fmt: skip
_WORDS = ("Deed of trust", "José & Łukasz 契約書 عقد 😀")


@pytest.fixture
def said() -> Callable[[Path], str]:
    """What the validator says of a file."""
    missing = [jar.name for jar in _JARS if not jar.exists()]
    if missing or shutil.which("java") is None:
        reason = (
            f"a PDF/A validator is needed for these tests, bin/setup --tests installs it; missing: {missing or 'java'}"
        )
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)

    def ask(path: Path) -> str:
        classes = ":".join(map(str, _JARS))
        command = ["java", "-cp", classes, "org.apache.pdfbox.preflight.Validator_A1b", str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout

    return ask


def _scan(directory: Path) -> tuple[Path, str, list[PageText]]:
    pages = [page_of(n, LETTER_200, *_WORDS) for n in (1, 2, 3)]
    scan = scanned_pdf(directory / "scan.pdf", *map(scan_of, pages))
    return scan, "application/pdf", pages


def _fax(directory: Path) -> tuple[Path, str, list[PageText]]:
    pages = [page_of(1, (1_728, 2_200), *_WORDS), page_of(2, (1_000, 40_000), *_WORDS)]
    first, second = (scan_of(page, "1") for page in pages)
    first.save(directory / "a.tif", compression="group4", dpi=(204, 98), save_all=True, append_images=[second])
    return directory / "a.tif", "image/tiff", pages


def _photo(directory: Path) -> tuple[Path, str, list[PageText]]:
    Image.new("RGBA", (800, 600), (200, 30, 30, 128)).save(directory / "a.png")
    return directory / "a.png", "image/png", [page_of(1, (800, 600), "Deed", left=10)]


def _born_digital(directory: Path) -> tuple[Path, str, list[PageText]]:
    canvas = Canvas(str(directory / "born.pdf"), pagesize=(20_000, 400), encrypt="")
    for _ in range(2):
        canvas.drawString(72, 100, "Helvetica is not embedded, and the page is too wide")
        canvas.showPage()
    canvas.save()
    return directory / "born.pdf", "application/pdf", [layer_page(1, "Loose lines\nof 契約書"), layer_page(2, "")]


@pytest.mark.parametrize("make", [_scan, _fax, _photo, _born_digital])
def test_every_kind_of_source_becomes_valid_pdf_a(
    make: Callable[[Path], tuple[Path, str, list[PageText]]], said: Callable[[Path], str], tmp_path: Path
) -> None:
    source, mime_type, pages = make(tmp_path)
    out = tmp_path / "out.pdf"
    write_pdfa(stored(tmp_path, *pages), str(out), str(source), mime_type, "pymupdf")
    assert "is a valid PDF/A-1b file" in said(out)


def test_the_validator_does_refuse(said: Callable[[Path], str], tmp_path: Path) -> None:
    born, _, _ = _scan(tmp_path)
    assert "is not a valid PDF/A-1b file" in said(born)
