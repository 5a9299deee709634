"""A page's text: from the text layer where it is sound, else by recognition."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from handlers.documents import plain, text
from handlers.documents.plausible import plausible
from handlers.documents.sample_text import AGREEMENT
from handlers.documents.text import read_page, read_pages
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


def pages_from(first: int, last: int, data: bytes, tmp_path: Path, mime_type: str = "application/pdf") -> list[int]:
    path = tmp_path / "file"
    path.write_bytes(data)
    pages = read_pages(str(path), mime_type, first, last, engine="pymupdf", languages="eng")
    singly = [read_page(str(path), mime_type, page["number"], engine="pymupdf", languages="eng") for page in pages]
    assert [page | {"seconds": 0} for page in pages] == [page | {"seconds": 0} for page in singly]
    return [page["number"] for page in pages]


def test_pages_with_a_layer_are_read_in_one_go_up_to_one_that_must_be_recognised(tmp_path: Path) -> None:
    texts = hostile.text_pdf([hostile.PROSE, hostile.PROSE, hostile.PROSE, "", hostile.PROSE])
    assert pages_from(1, 5, texts, tmp_path) == [1, 2, 3]
    assert pages_from(1, 2, texts, tmp_path) == [1, 2]
    assert pages_from(4, 5, texts, tmp_path) == [4]
    assert pages_from(5, 5, texts, tmp_path) == [5]
    assert pages_from(1, 2, hostile.multi_page_tiff(), tmp_path, "image/tiff") == [1]


def test_a_page_that_can_not_be_read_ends_the_go_before_it(tmp_path: Path) -> None:
    data = hostile.text_pdf([hostile.PROSE] * 2)
    assert pages_from(1, 3, data, tmp_path) == [1, 2]
    with pytest.raises(RejectedFile, match="page 3 is missing"):
        pages_from(3, 3, data, tmp_path)


def test_a_go_ends_when_its_time_or_size_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = hostile.text_pdf([hostile.PROSE] * 3)
    for bound in ("BATCH_S", "BATCH_CHARACTERS"):
        with monkeypatch.context() as patch:
            patch.setattr(text, bound, 0)
            assert pages_from(1, 3, data, tmp_path) == [1]
    assert pages_from(1, 3, data, tmp_path) == [1, 2, 3]


def test_a_text_file_is_one_page(read: Read) -> None:
    page = read(hostile.utf16_text(), "text/plain")
    assert page.text == "Kaufpreis: 425.000 €\nKäufer: Ingrid Voßberg"
    assert (page.source, page.confidence) == (PageSource.TEXT, 1.0)
    with pytest.raises(RejectedFile, match="page 2"):
        read(b"one page", "text/plain", 2)
    with pytest.raises(RejectedFile, match="no plain text"):
        read(hostile.binary_noise(), "text/plain")


def test_a_file_put_in_the_place_of_another_is_read_anew(read: Read) -> None:
    for line in ("The buyer signs first.", "The seller signs next.", "The buyer signs first."):
        assert read(hostile.text_pdf([line])).text == line


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
    own = len(hostile.LETTER_TEXT.split())
    words = list(page.words)
    assert [word.text for word in words] == page.text.split()
    assert all(page.text[word.start :].startswith(word.text) for word in words)
    assert (page.width_px, page.height_px) == (1224, 1584)  # of the layer: one unit for both
    assert all(word.confidence == 1.0 for word in words[:own])
    assert all(page.height_px * 0.5 < word.top < word.bottom < page.height_px for word in words[own:])
    assert words[own].block > words[own - 1].block


def test_a_photograph_beside_a_text_layer_changes_nothing(read: Read) -> None:
    page = read(hostile.letter_with_scanned_clause_pdf(Image.effect_mandelbrot((600, 300), (-2, -1.5, 1, 1.5), 50)))
    assert (page.source, page.text, page.confidence) == (PageSource.TEXT, hostile.LETTER_TEXT, 1.0)


def test_a_layer_of_shifted_letters_over_a_scan_is_not_believed(read: Read) -> None:
    shifted = "".join(chr((ord(c) - 97 + 3) % 26 + 97) if c.islower() else c for c in hostile.LETTER_TEXT)
    page = read(hostile.letter_with_scanned_clause_pdf(text=shifted))
    assert page.source is PageSource.OCR
    assert "earnest money" in page.text
