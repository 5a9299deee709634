"""A page's text: from the text layer where it is sound, else by recognition."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from handlers.documents import plain, recognition
from handlers.documents.recognition import recognise
from handlers.documents.text import read_page
from jobqueue.errors import ConfigError, InvalidInput, LimitExceeded, RejectedFile, SandboxCrashed, Unavailable
from jobqueue.tasks import PageSource, PageText
from tests.unit import hostile_files as hostile

Read = Callable[..., PageText]


@pytest.fixture(params=["pymupdf", "pypdfium2"])
def read(request: pytest.FixtureRequest, tmp_path: Path) -> Read:
    def call(data: bytes, mime_type: str = "application/pdf", number: int = 1) -> PageText:
        path = tmp_path / "file"
        path.write_bytes(data)
        found = read_page(str(path), mime_type, number, engine=request.param, languages="eng")
        return PageText.model_validate(found)

    return call


def test_a_sound_text_layer_is_taken_as_it_is(read: Read) -> None:
    page = read(hostile.text_pdf(["cover", hostile.PROSE]), number=2)
    assert (page.number, page.source, page.confidence) == (2, PageSource.TEXT, 1.0)
    assert page.text == hostile.PROSE
    assert page.seconds > 0


def test_a_scanned_page_is_recognised(read: Read) -> None:
    page = read(hostile.mixed_pdf(), number=2)
    assert page.source is PageSource.OCR
    assert page.text == hostile.PROSE
    assert 0.85 < page.confidence <= 1


def test_a_blank_page_is_empty(read: Read) -> None:
    page = read(hostile.mixed_pdf(), number=3)
    assert (page.source, page.text, page.confidence) == (PageSource.EMPTY, "", 0.0)


def test_an_envelope_id_stamped_on_a_scan_is_not_its_text(read: Read) -> None:
    page = read(hostile.stamped_scan_pdf())
    assert page.source is PageSource.OCR
    assert "$8,500.00" in page.text


def test_a_text_layer_of_nonsense_over_a_scan_is_not_believed(read: Read) -> None:
    page = read(hostile.garbled_scan_pdf())
    assert (page.source, page.text) == (PageSource.OCR, hostile.PROSE)


def test_a_page_number_alone_is_kept(read: Read) -> None:
    page = read(hostile.text_pdf(["- 12 -"]))
    assert "12" in page.text
    assert page.source is not PageSource.EMPTY


def test_a_text_layer_without_mapped_glyphs_is_not_believed(read: Read) -> None:
    page = read(hostile.unmapped_text_pdf())
    assert page.source is PageSource.EMPTY or "\ufffd" not in page.text


def test_every_page_of_a_tiff_is_recognised(read: Read) -> None:
    page = read(hostile.multi_page_tiff(), "image/tiff", 2)
    assert (page.source, page.text) == (PageSource.OCR, "Second page of the addendum.")


def test_a_text_file_is_one_page(read: Read) -> None:
    page = read(hostile.utf16_text(), "text/plain")
    assert page.text == "Kaufpreis: 425.000 €\nKäufer: Ingrid Voßberg"
    assert (page.source, page.confidence) == (PageSource.TEXT, 1.0)
    with pytest.raises(RejectedFile, match="page 2"):
        read(b"one page", "text/plain", 2)
    with pytest.raises(RejectedFile, match="no plain text"):
        read(hostile.binary_noise(), "text/plain")


def test_a_page_beyond_the_last_is_refused(read: Read) -> None:
    with pytest.raises(RejectedFile, match="page 2 is missing: the file ends with page 1"):
        read(hostile.text_pdf(), number=2)
    with pytest.raises(InvalidInput, match="counted from 1"):
        read(hostile.text_pdf(), number=0)


def test_a_type_that_is_not_accepted_is_not_read(read: Read) -> None:
    with pytest.raises(InvalidInput, match="application/zip"):
        read(b"", "application/zip")


def test_a_page_with_too_much_text_is_refused(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "MAX_CHARACTERS", 10)
    with pytest.raises(LimitExceeded, match="page 1 holds 15 characters, more than the 10 allowed"):
        read(b"fifteen letters", "text/plain")


# ── recognition ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_sheet_scanned_sideways_or_upside_down_is_read(degrees: int) -> None:
    page = hostile.print_page(hostile.PROSE).rotate(degrees, expand=True)
    assert recognise(page, languages="eng", dpi=200).text == hostile.PROSE


def test_straightening_a_skewed_page_makes_words_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    prose = "\n".join(f"{line} Clause {number}" for number in range(6) for line in hostile.PROSE.splitlines())
    skewed = hostile.print_page(prose).rotate(4, resample=Image.Resampling.BICUBIC, fillcolor=255)

    def right_words() -> int:
        seen = recognise(skewed, languages="eng", dpi=200).text.split()
        blocks = difflib.SequenceMatcher(None, prose.split(), seen, autojunk=False).get_matching_blocks()
        return sum(block.size for block in blocks)

    straight = right_words()
    monkeypatch.setattr(recognition, "straighten", lambda image: image)
    assert right_words() < straight
    assert straight >= 0.99 * len(prose.split())


def test_nothing_is_recognised_on_blank_or_tiny_pictures() -> None:
    for size in ((600, 800), (3, 3), (4_000, 17)):
        seen = recognise(Image.new("L", size, 255), languages="eng", dpi=None)
        assert (seen.text, seen.confidence) == ("", 0.0)


def test_a_language_without_data_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigError, match=r"ocr_languages is 'eng\+tlh'"):
        recognise(hostile.print_page("Deed"), languages="eng+tlh", dpi=200)


def test_a_page_that_takes_too_long_is_refused_naming_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognition, "TIMEOUT_S", 0.01)
    with pytest.raises(LimitExceeded, match=r"longer than 0\.01 s"):
        recognise(hostile.print_page(hostile.PROSE), languages="eng", dpi=200)


def test_a_tesseract_that_was_killed_is_worth_another_try(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "tesseract"
    program.write_text("""#!/bin/sh
case "$1" in --list-langs) echo eng ;; --version) echo "tesseract 5.3.0" ;; *) kill -9 $$ ;; esac
""")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(SandboxCrashed, match="signal 9"):
        recognise(hostile.print_page("Deed"), languages="eng", dpi=200)


def test_a_worker_without_tesseract_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="install tesseract-ocr"):
        recognise(hostile.print_page("Deed"), languages="eng", dpi=200)
