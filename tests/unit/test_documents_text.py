"""A page's text: from the text layer where it is sound, else by recognition."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from handlers.documents import plain
from handlers.documents.plausible import plausible
from handlers.documents.sample_text import AGREEMENT
from handlers.documents.text import read_page
from jobqueue.errors import InvalidInput, LimitExceeded, RejectedFile
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


def test_a_file_put_in_the_place_of_another_is_read_anew(read: Read) -> None:
    for text in ("The buyer signs first.", "The seller signs next.", "The buyer signs first."):
        assert read(hostile.text_pdf([text])).text == text


def test_shifted_letters_and_unmapped_glyphs_are_no_text() -> None:
    prose = " ".join(AGREEMENT.split())
    assert plausible(prose)
    assert not plausible("".join(chr((ord(c) - 97 + 3) % 26 + 97) if "a" <= c <= "z" else c for c in prose))
    assert not plausible(prose.replace("e", "\ufffd"))
    assert plausible("Договор купли-продажи квартиры между продавцом и покупателем " * 5)  # not judged by Latin shapes


def test_a_page_beyond_the_last_is_refused(read: Read) -> None:
    with pytest.raises(RejectedFile, match="page 2 is missing: the file ends with page 1"):
        read(hostile.text_pdf(), number=2)
    with pytest.raises(InvalidInput, match="counted from 1"):
        read(hostile.text_pdf(), number=0)


def test_a_type_that_is_not_accepted_is_not_read(read: Read) -> None:
    with pytest.raises(InvalidInput, match="application/java-archive"):
        read(b"", "application/java-archive")


def test_a_page_with_too_much_text_is_refused(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "MAX_CHARACTERS", 10)
    with pytest.raises(LimitExceeded, match="page 1 holds 15 characters, more than the 10 allowed"):
        read(b"fifteen letters", "text/plain")


def test_a_page_with_something_on_it_but_no_words_is_unreadable_not_empty(read: Read) -> None:
    page = read(hostile.picture(Image.effect_mandelbrot((600, 800), (-2, -1.5, 1, 1.5), 50), "PNG"), "image/png")
    assert page.source is PageSource.UNREADABLE
    assert (page.text, page.confidence, list(page.words)) == ("", 0.0, [])


def test_the_words_of_a_recognised_page_point_into_its_text_and_onto_the_page(read: Read) -> None:
    page = read(hostile.mixed_pdf(), number=2)
    words = list(page.words)
    assert [word.text for word in words] == hostile.PROSE.split()
    for word in words:
        assert page.text[word.start :].startswith(word.text)
        assert 0 <= word.left < word.right <= page.width_px
        assert 0 <= word.top < word.bottom <= page.height_px
    assert not any(word.suspect for word in words)


def test_a_picture_of_text_beside_a_text_layer_is_read_too_and_nothing_twice(read: Read) -> None:
    page = read(hostile.letter_with_scanned_clause_pdf())
    assert page.source is PageSource.BOTH
    assert page.text == f"{hostile.LETTER_TEXT}\n\n{hostile.PROSE}"
    assert 0.9 < page.confidence < 1
    words = list(page.words)
    assert [word.text for word in words] == hostile.PROSE.split()
    assert all(page.text[word.start :].startswith(word.text) for word in words)
    assert all(page.height_px * 0.5 < word.top < word.bottom < page.height_px for word in words)


def test_a_photograph_beside_a_text_layer_changes_nothing(read: Read) -> None:
    page = read(hostile.letter_with_scanned_clause_pdf(Image.effect_mandelbrot((600, 300), (-2, -1.5, 1, 1.5), 50)))
    assert (page.source, page.text, page.confidence) == (PageSource.TEXT, hostile.LETTER_TEXT, 1.0)


def test_a_layer_of_shifted_letters_over_a_scan_is_not_believed(read: Read) -> None:
    shifted = "".join(chr((ord(c) - 97 + 3) % 26 + 97) if c.islower() else c for c in hostile.LETTER_TEXT)
    page = read(hostile.letter_with_scanned_clause_pdf(text=shifted))
    assert page.source is PageSource.OCR
    assert "earnest money" in page.text
