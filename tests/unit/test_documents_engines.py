"""Both PDF engines pass the same suite."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pikepdf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.documents.cleaning import clean_text
from handlers.documents.engine_parts import fitting_dpi
from handlers.documents.engines import ENGINES, PdfDocument, open_pdf
from jobqueue.errors import ConfigError, RejectedFile
from tests.unit import hostile_files as hostile
from tests.unit import layer_files as layers

Open = Callable[[bytes], PdfDocument]


@pytest.fixture(params=list(ENGINES))
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    path = tmp_path / "file.pdf"
    with ExitStack() as stack:

        def call(data: bytes) -> PdfDocument:
            path.write_bytes(data)
            return stack.enter_context(open_pdf(path, engine=request.param, file_name="offer.pdf"))

        yield call


def test_pages_are_counted_and_their_text_is_read_in_order(opened: Open) -> None:
    pdf = opened(hostile.text_pdf([hostile.PROSE, "Second page"]))
    assert pdf.page_count == 2
    assert clean_text(pdf.text(1)) == hostile.PROSE
    assert clean_text(pdf.text(2)) == "Second page"


def test_metadata_has_what_the_file_has(opened: Open) -> None:
    metadata = opened(hostile.text_pdf()).metadata
    assert metadata["title"] == "Earnest money receipt"
    assert metadata["created"] == "2000-01-01T00:00:00+00:00"
    assert "keywords" not in metadata
    assert opened(hostile.raw_pdf(*hostile.ONE_BLANK_PAGE)).metadata == {}


def test_a_hyphen_at_a_line_s_end_stays_a_hyphen(opened: Open) -> None:
    assert clean_text(opened(hostile.text_pdf(["financing contin-\ngency clause"])).text(1)) == (
        "financing contin-\ngency clause"
    )


def test_filled_form_fields_are_part_of_the_text(opened: Open) -> None:
    text = opened(hostile.form_pdf()).text(1)
    assert "purchase price" in text
    assert "425,000 USD" in text


def test_the_words_of_the_layer_are_those_of_its_text_with_their_lines(opened: Open) -> None:
    pdf = opened(hostile.text_pdf(["The buyer pays\nthe contin-\ngency price."]))
    layer = pdf.layer(1)
    assert layer.text == pdf.text(1)
    assert (layer.width_pt, layer.height_pt) == (612, 792)
    assert [(word[4], *word[6:]) for word in layer.words] == [
        ("The", 0, 0), ("buyer", 0, 1), ("pays", 0, 2), ("the", 1, 0), ("contin-", 1, 1), ("gency", 2, 0),
        ("price.", 2, 1),
    ]  # fmt: skip
    left, top, right, bottom = layer.words[1][:4]
    assert 90 < left < right < 140
    assert 792 - 700 - 16 < top < 792 - 700 < bottom < 792 - 700 + 6


def test_words_far_apart_are_in_different_lines(opened: Open) -> None:
    words = opened(layers.at_places((72, 700, "Buyer:"), (300, 700, "Date:"))).layer(1).words
    assert len({word[5:7] for word in words}) == 2


def test_a_scan_is_a_picture_over_the_whole_page(opened: Open) -> None:
    pdf = opened(hostile.mixed_pdf())
    assert [round(pdf.picture_share(number), 2) for number in (1, 2, 3)] == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("turned", [0, 90, 180, 270])
def test_pictures_are_found_where_the_page_shows_them(opened: Open, turned: int) -> None:
    out = io.BytesIO()
    with pikepdf.open(io.BytesIO(hostile.letter_with_scanned_clause_pdf())) as file:
        file.pages[0].Rotate = turned
        file.save(out)
    pdf = opened(out.getvalue())
    left, top, right, bottom = 0.12, 0.63, 0.82, 0.81
    places = {
        0: (left, top, right, bottom),
        90: (1 - bottom, left, 1 - top, right),
        180: (1 - right, 1 - bottom, 1 - left, 1 - top),
        270: (top, 1 - right, bottom, 1 - left),
    }
    assert pdf.bare_pictures(1, min_share=0.08) == [pytest.approx(places[turned], abs=0.01)]
    assert pdf.picture_share(1) == pytest.approx(0.13, abs=0.01)


def test_a_page_is_drawn_in_grey_at_the_resolution_asked_for(opened: Open) -> None:
    image, dpi = opened(hostile.mixed_pdf()).render(1, dpi=100, max_pixels=2_000_000)
    assert (image.mode, dpi) == ("L", 100)
    assert image.size == pytest.approx((850, 1100), abs=1)
    assert image.getextrema() == (0, 255)


def test_a_poster_is_drawn_at_the_resolution_that_fits(opened: Open) -> None:
    image, dpi = opened(hostile.poster_pdf()).render(1, dpi=300, max_pixels=1_000_000)
    assert 4 < dpi < 5.1
    assert 900_000 < image.width * image.height <= 1_000_000


@given(st.floats(0.01, 20_000), st.floats(0.01, 20_000), st.floats(10, 600), st.integers(1_000_000, 100_000_000))
def test_the_fitting_resolution_keeps_within_the_budget(width: float, height: float, dpi: float, budget: int) -> None:
    fitting = fitting_dpi(width, height, dpi=dpi, max_pixels=budget)
    assert 0 < fitting <= dpi
    assert math.ceil(width * fitting / 72) * math.ceil(height * fitting / 72) <= budget


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (hostile.encrypted_pdf(), r"offer\.pdf is protected by a password"),
        (b"%PDF-1.7\nnothing", r"offer\.pdf is damaged"),
        (hostile.lying_page_count_pdf(-3)[:-200], r"offer\.pdf is damaged"),
    ],
)
def test_what_can_not_be_opened_is_refused_by_name(opened: Open, data: bytes, words: str) -> None:
    with pytest.raises(RejectedFile, match=words):
        opened(data)


def test_a_page_that_is_not_there_is_refused_by_number(opened: Open) -> None:
    pdf = opened(hostile.text_pdf())
    for read in (pdf.text, pdf.layer, pdf.picture_share):
        with pytest.raises(RejectedFile, match="page 7"):
            read(7)
    with pytest.raises(RejectedFile, match="page 7"):
        pdf.render(7, dpi=72, max_pixels=1_000_000)


def test_pypdfium2_works_where_pymupdf_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymupdf", None)  # so Python marks a module that must not be imported
    path = tmp_path / "file.pdf"
    path.write_bytes(hostile.text_pdf())
    with open_pdf(path, engine="pypdfium2", file_name="offer.pdf") as pdf:
        assert clean_text(pdf.text(1)) == hostile.PROSE
    with pytest.raises(ConfigError, match="'pymupdf', which is not installed"):
        open_pdf(path, engine="pymupdf", file_name="offer.pdf")


def test_an_engine_that_does_not_exist_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one of pymupdf, pypdfium2"):
        open_pdf(tmp_path, engine="poppler", file_name="offer.pdf")
