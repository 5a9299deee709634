"""Boxes to tick, lines to sign and form fields are found on real pages, and nothing where there are none."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from handlers.documents.bitmap import bitmap
from handlers.documents.marks_drawn import lines, squares, written
from handlers.documents.marks_glyphs import glyph_marks
from handlers.documents.marks_labels import Around
from handlers.documents.marks_lines import kind_of
from handlers.documents.text import read_page
from jobqueue.tasks import PageMark, PageText, PageWord
from tests.unit import hostile_files as hostile
from tests.unit import marked_pages as pages

ENGINES = ("pymupdf", "pypdfium2")
WITH_LIBRARY = pytest.mark.skipif(
    importlib.util.find_spec("tesserocr") is None, reason="there is no wheel of tesserocr for this machine"
)
SCANS = [
    ("tesseract", 1.5, 8),
    ("tesseract", 0.0, 1),
    pytest.param("tesserocr", -1.5, 1, marks=WITH_LIBRARY),
    pytest.param("tesserocr", 0.6, 8, marks=WITH_LIBRARY),
]


def read(tmp_path: Path, data: bytes, mime_type: str = "application/pdf", **options: str) -> PageText:
    path = tmp_path / "file"
    path.write_bytes(data)
    return PageText.model_validate(
        read_page(str(path), mime_type, 1, **{"engine": "pymupdf", "languages": "eng", **options})
    )


def match(truth: pages.Truth, marks: list[PageMark], unit: float, degrees: float = 0.0) -> PageMark | None:
    """The mark found where one was drawn, on a sheet turned about its middle since."""
    angle, dx, dy = math.radians(degrees), truth.x - 306, truth.y - 396
    x, y = 306 + dx * math.cos(angle) + dy * math.sin(angle), 396 - dx * math.sin(angle) + dy * math.cos(angle)
    near = (mark for mark in marks if abs(mark.left / unit - x) < 16 and abs(mark.top / unit - y) < 16)
    return next((mark for mark in near if mark.kind == truth.kind), None)


def state(mark: PageMark) -> bool | None:
    return mark.checked if mark.kind == "checkbox" else mark.filled


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seed", range(4))
def test_every_mark_drawn_on_a_page_with_a_text_layer_is_found_as_it_is(tmp_path: Path, engine: str, seed: int) -> None:
    drawn = pages.contract(seed)
    page = read(tmp_path, drawn.pdf(), engine=engine)
    assert (page.source, page.width_px) == ("text", 1224)
    for truth in drawn.truths:
        found = match(truth, page.marks, unit=2.0)
        assert found is not None, truth
        assert state(found) is truth.state, truth
        assert found.label == truth.label or not truth.label
    assert len(page.marks) == len(drawn.truths)


@pytest.mark.parametrize(("reader", "degrees", "bits"), SCANS)
def test_the_marks_of_a_scan_are_found_however_it_was_scanned(
    tmp_path: Path, reader: str, degrees: float, bits: int
) -> None:
    drawn = pages.contract(3)
    sheet = pages.scanned(drawn.pdf(), seed=3, degrees=degrees, bits=bits)
    data = hostile.picture(sheet, "PNG", dpi=(200, 200))
    page = read(tmp_path, data, "image/png", ocr_engine=reader)
    found = [(truth, match(truth, page.marks, 200 / 72, degrees)) for truth in drawn.truths]
    assert sum(mark is not None for _, mark in found) >= 0.9 * len(drawn.truths)
    assert not [truth for truth, mark in found if mark is not None and state(mark) is not truth.state]
    assert len(page.marks) <= len(drawn.truths)
    for mark in page.marks:
        assert 0 <= mark.left < mark.right <= page.width_px
        assert 0 <= mark.top < mark.bottom <= page.height_px


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seed", range(3))
def test_tables_logos_underlined_headings_and_round_letters_are_no_marks(
    tmp_path: Path, engine: str, seed: int
) -> None:
    assert read(tmp_path, pages.plain(seed).pdf(), engine=engine).marks == []


def test_a_scan_of_a_page_without_marks_has_none(tmp_path: Path) -> None:
    sheet = pages.scanned(pages.plain(1).pdf(), seed=1, degrees=0.6, bits=1)
    assert read(tmp_path, hostile.picture(sheet, "PNG", dpi=(200, 200)), "image/png").marks == []


@pytest.mark.parametrize("engine", ENGINES)
def test_form_fields_are_told_with_their_state_and_the_words_beside_them(tmp_path: Path, engine: str) -> None:
    found = read(tmp_path, pages.form(), engine=engine).marks
    assert [(mark.kind, mark.label, state(mark)) for mark in sorted(found, key=lambda mark: (mark.top, mark.left))] == [
        ("checkbox", "Cash purchase", True),
        ("checkbox", "Loan purchase", False),
        ("checkbox", "Yes", False),
        ("checkbox", "No", True),
        ("field", "Buyer name", True),
        ("initials", "Buyer initials", False),
        ("signature", "Signature 60", True),
        ("signature", "Signature 300", False),
    ]
    assert {mark.source for mark in found} == {"form"}
    first = min(found, key=lambda mark: mark.top)
    assert (first.left, first.right) == pytest.approx((120, 144), abs=2)


@pytest.mark.parametrize("engine", ENGINES)
def test_boxes_and_blanks_made_of_characters_are_read(tmp_path: Path, engine: str) -> None:
    found = read(tmp_path, pages.typed(), engine=engine).marks
    assert [(mark.kind, mark.label, state(mark)) for mark in sorted(found, key=lambda mark: mark.top)] == [
        ("checkbox", "Cash at closing", True),
        ("checkbox", "Conventional loan", False),
        ("checkbox", "Included", True),
        ("checkbox", "Not included", False),
        ("checkbox", "Seller pays for the survey", True),
        ("signature", "Buyer's signature", False),
        ("initials", "Seller's initials", False),
    ]
    assert {mark.source for mark in found} == {"glyph"}


def test_boxes_of_a_font_of_pictures_are_read(tmp_path: Path) -> None:
    found = read(tmp_path, pages.dingbats(), engine="pypdfium2").marks  # PyMuPDF takes them for letters
    assert [(mark.label, mark.checked) for mark in found] == [
        ("Buyer waives the inspection", False),
        ("Buyer has seen the report", True),
    ]


def test_a_numbered_clause_x_is_not_a_ticked_box() -> None:
    words = [PageWord(text, 0, 1.0, 10, 20 * at, 30, 20 * at + 12, 1, at) for at, text in enumerate(("(ix)", "(x)"))]
    assert glyph_marks(words, Around(words, unit=2.0), at_most=9) == []
    assert [mark.checked for mark in glyph_marks(words[1:], Around(words, unit=2.0), at_most=9)] == [True]


def test_a_phone_number_to_fill_in_has_no_box() -> None:
    words = [
        PageWord(text, 0, 1.0, 10 + 20 * at, 10, 26 + 20 * at, 22, 1, 1) for at, text in enumerate(("(", ")", "5"))
    ]
    assert glyph_marks(words, Around(words, unit=2.0), at_most=9) == []


def test_a_speck_in_a_box_is_neither_a_tick_nor_nothing() -> None:
    sheet = Image.new("L", (300, 200), 255)
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((50, 50, 80, 80), outline=0, width=2)
    draw.rectangle((62, 62, 65, 65), fill=0)
    assert [found.checked for found in squares(bitmap(sheet), dpi=200)] == [None]


@pytest.mark.parametrize("thickness", [1, 2, 3])
def test_squares_that_are_solid_nested_or_open_are_no_boxes(thickness: int) -> None:
    sheet = Image.new("L", (400, 200), 255)
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((50, 50, 80, 80), fill=0)
    draw.rectangle((120, 50, 164, 94), outline=0, width=thickness)
    draw.rectangle((130, 60, 154, 84), outline=0, width=thickness)
    draw.line((200, 80, 200, 50, 230, 50, 230, 80), fill=0, width=thickness)
    draw.ellipse((260, 50, 290, 80), outline=0, width=thickness)
    assert squares(bitmap(sheet), dpi=200) == []


def test_a_line_a_little_askew_is_one_line_and_says_whether_it_is_written_on() -> None:
    sheet = Image.new("L", (1_000, 300), 255)
    draw = ImageDraw.Draw(sheet)
    draw.line((100, 200, 500, 205), fill=0, width=2)
    assert len(found := lines(bitmap(sheet), dpi=200)) == 1
    assert found[0] == pytest.approx((100, 200, 500, 206), abs=6)
    assert written(bitmap(sheet), found[0], dpi=200, but=[]) is False
    draw.arc((150, 180, 220, 230), 180, 360, fill=0, width=3)
    assert written(bitmap(sheet), found[0], dpi=200, but=[]) is True
    assert written(bitmap(sheet), found[0], dpi=200, but=[(140, 170, 230, 200)]) is False


def test_noise_and_a_fine_grid_have_no_boxes() -> None:
    assert squares(bitmap(Image.effect_noise((1_700, 2_200), 200)), dpi=200) == []
    weave = Image.new("L", (1_700, 2_200), 255)
    for at in range(0, 2_200, 9):
        ImageDraw.Draw(weave).line((0, at, 1_700, at), fill=0, width=2)
        ImageDraw.Draw(weave).line((at, 0, at, 2_200), fill=0, width=2)
    assert squares(bitmap(weave), dpi=200) == []


def test_what_a_line_is_for_depends_on_where_its_words_stand() -> None:
    assert kind_of("Landlord", under=True, signing=False) == "signature"
    assert kind_of("Landlord", under=False, signing=False) == "field"
    assert kind_of("By", under=False, signing=False) == "signature"
    assert kind_of("Printed name of tenant", under=True, signing=True) == "field"


def test_a_damaged_form_costs_no_page_its_text(tmp_path: Path) -> None:
    broken = pages.form().replace(b"/Rect [ ", b"/Rect [ (", 1)
    assert "ADDENDUM" in read(tmp_path, broken).text
