"""One page's text, from wherever it can be had: the file's own text layer, or recognition of its picture."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from handlers.documents import marks, ocr_engines, office_text, plain
from handlers.documents.cleaning import clean_text
from handlers.documents.engines import open_pdf
from handlers.documents.images import FORMATS, at_dpi, grey_page, likely_dpi
from handlers.documents.inlays import MIN_SHARE, joined, read_inlays
from handlers.documents.kept import kept_pdf
from handlers.documents.layer import LAYER_DPI, PlacedText, placed
from handlers.documents.plausible import letters, plausible, sound
from handlers.documents.recognition import Recognised, Render, recognise
from jobqueue.errors import InvalidInput, JobqueueError, LimitExceeded, RejectedFile
from jobqueue.tasks import PageMark, PageSource, PageText, PageWord, pack_words

if TYPE_CHECKING:
    from PIL.Image import Image

    from handlers.documents.engines import PdfDocument

MAX_RENDER_PIXELS: Final = 25_000_000  # A3 at 300 dpi has 17 million

BATCH_S: Final = 1.0  # after which `read_pages` begins no further page
BATCH_CHARACTERS: Final = 1_000_000  # of text and word tables, far from what an answer may hold

_SCAN_SHARE: Final = 0.5  # pictures over half a page are a scan ...
_STAMP_CHARACTERS: Final = 300  # ... and so few characters on it an envelope id or a page number, not its text


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """What reads: the PDF engine's name, the recognition engine's, and the languages to recognise."""

    pdf_engine: str
    ocr_engine: str
    languages: str

    def recognise(self, render: Render, own_dpi: float | None) -> Recognised:
        return recognise(
            render, engine=ocr_engines.ocr_engine(self.ocr_engine), languages=self.languages, own_dpi=own_dpi
        )


def read_page(
    path: str, mime_type: str, number: int, *, engine: str, languages: str, ocr_engine: str = ocr_engines.AUTO
) -> dict[str, Any]:
    """The text of one page of an accepted file, as the fields of `jobqueue.tasks.PageText`.

    Args:
        path: the file on this machine.
        mime_type: its type as `inspect` found it.
        number: of the page, counted from 1.
        engine: which PDF engine; see `open_pdf`.
        languages: for recognition; Tesseract's codes, joined by ``+``, or ``auto``.
        ocr_engine: which recognition engine; see `handlers.documents.ocr_engines.ocr_engine`.

    Raises:
        RejectedFile: the page is damaged, or isn't there.
        LimitExceeded: it takes too long, or has more than `plain.MAX_CHARACTERS` characters.
        InvalidInput: there is no such page number or type.
        ConfigError: an engine or a language is not installed.
    """
    started = time.monotonic()
    if number < 1:
        raise InvalidInput(f"there is no page {number}: pages are counted from 1")
    reader = _Reader(pdf_engine=engine, ocr_engine=ocr_engine, languages=languages)
    page = _page(Path(path), mime_type, number, reader)
    assert page is not None, "only a page that may not be recognised can come out as None"
    return _bounded(page, started)


def read_pages(
    path: str,
    mime_type: str,
    first: int,
    last: int,
    *,
    engine: str,
    languages: str,
    ocr_engine: str = ocr_engines.AUTO,
) -> list[dict[str, Any]]:
    """Page ``first`` as `read_page` reads it, and those after it that are as good as free: at least one, all in order.

    It ends with ``last``, before a page that must be recognised or can't be read, and about a second after it began:
    whoever asks for the next page then learns what is the matter with it, and it has its limits to itself.

    Raises as `read_page`, for the first page only.
    """
    began = time.monotonic()
    reader = _Reader(pdf_engine=engine, ocr_engine=ocr_engine, languages=languages)
    pages = [read_page(path, mime_type, first, engine=engine, languages=languages, ocr_engine=ocr_engine)]
    size = _size(pages[0])
    for number in range(first + 1, last + 1):
        started = time.monotonic()
        if pages[-1]["source"] != PageSource.TEXT or started - began > BATCH_S or size > BATCH_CHARACTERS:
            break
        try:
            page = _page(Path(path), mime_type, number, reader, cheaply=True)
            if page is None:
                break
            pages.append(_bounded(page, started))
        except JobqueueError:
            break  # raised again where it is the first page
        size += _size(page)
    return pages


def _size(page: dict[str, Any]) -> int:
    return len(page["text"]) + len(page.get("word_table", ""))


def _bounded(page: dict[str, Any], started: float) -> dict[str, Any]:
    number = page["number"]
    if len(page["text"]) > plain.MAX_CHARACTERS:
        raise LimitExceeded(
            f"page {number} holds {len(page['text']):,} characters, more than the {plain.MAX_CHARACTERS:,} allowed: "
            "split it"
        )
    return page | {"seconds": round(time.monotonic() - started, 3)}


def layered(path: str, mime_type: str, numbers: list[int], *, engine: str) -> bool:
    """Whether all these pages of an accepted file can be had without recognition; a damaged page can't.

    Raises `ConfigError` when the engine is not installed.
    """
    if mime_type != "application/pdf":
        return mime_type == "text/plain" or mime_type in office_text.READERS
    try:
        with open_pdf(Path(path), engine=engine, file_name="the file") as pdf:
            return all(_usable(pdf, number, clean_text(pdf.text(number))) for number in numbers)
    except RejectedFile:
        return False  # whoever reads that page says what is wrong with it


def _page(path: Path, mime_type: str, number: int, reader: _Reader, *, cheaply: bool = False) -> dict[str, Any] | None:
    """The page; None, where it is to be had ``cheaply`` and something on it must be recognised."""
    if mime_type == "text/plain":
        return _of_layer(number, PlacedText(text=_plain_page(path, number)))
    if mime_type in office_text.READERS:
        return _of_layer(number, PlacedText(text=office_text.page_of(path, mime_type, number)))
    if mime_type == "application/pdf":
        return _pdf_page(path, number, reader, cheaply=cheaply)
    if mime_type in FORMATS:
        return None if cheaply else _of_scan(number, _picture_page(path, mime_type, number, reader))
    raise InvalidInput(f"a file of type {mime_type!r} can't be read")


def _pdf_page(path: Path, number: int, reader: _Reader, *, cheaply: bool) -> dict[str, Any] | None:
    """By its text layer where that is sound, the pictures beside it included; else as it looks."""
    pdf = kept_pdf(path, engine=reader.pdf_engine)
    if number > pdf.page_count:
        raise RejectedFile(f"page {number} is missing: the file ends with page {pdf.page_count}")
    layer = placed(pdf.layer(number))
    usable = _usable(pdf, number, layer.text)
    if cheaply:
        bare = usable and not pdf.bare_pictures(number, min_share=MIN_SHARE)
        return _with_marks(_of_layer(number, layer), pdf, path) if bare else None
    if usable:
        read = functools.partial(reader.recognise, own_dpi=None)
        inlays = read_inlays(pdf, number, recognise=read, max_pixels=MAX_RENDER_PIXELS)
        page = _of_words(number, joined(layer, inlays), PageSource.BOTH) if inlays else _of_layer(number, layer)
        return _with_marks(page, pdf, path)
    scanned = pdf.picture_share(number) > _SCAN_SHARE

    def render(dpi: float) -> tuple[Image, float | None]:
        return pdf.render(number, dpi=dpi, max_pixels=MAX_RENDER_PIXELS)

    seen = reader.recognise(render, pdf.scan_dpi(number) if scanned else None)
    if letters(layer.text) > letters(seen.text) and sound(layer.text):  # short, but it says more
        return _with_marks(_of_layer(number, layer), pdf, path)
    return _of_scan(number, seen, path)


def _picture_page(path: Path, mime_type: str, number: int, reader: _Reader) -> Recognised:
    image, stated_dpi = grey_page(path, mime_type, number, max_pixels=MAX_RENDER_PIXELS)
    own_dpi = stated_dpi or likely_dpi(image)

    def render(dpi: float) -> tuple[Image, float | None]:
        return at_dpi(image, own_dpi, dpi, max_pixels=MAX_RENDER_PIXELS)

    return reader.recognise(render, own_dpi)


def _usable(pdf: PdfDocument, number: int, layer: str) -> bool:
    """Whether a page's own text is what the page says."""
    stamp_only = len(layer) < _STAMP_CHARACTERS and pdf.picture_share(number) > _SCAN_SHARE
    return not stamp_only and plausible(layer)


def _plain_page(path: Path, number: int) -> str:
    if number > 1:
        raise RejectedFile(f"page {number} is missing: a text file is one page")
    text = plain.decode(path.read_bytes())
    if text is None:
        raise RejectedFile("the file is no plain text: ingest it again")
    return clean_text(text)


def _of_layer(number: int, layer: PlacedText) -> dict[str, Any]:
    if not layer.text.strip():
        return _fields(number, "", PageSource.EMPTY, 0.0)
    return _fields(number, layer.text, PageSource.TEXT, 1.0) | _places(layer.size, layer.words.table)


def _of_words(number: int, seen: Recognised, source: PageSource) -> dict[str, Any]:
    if not seen.text:
        return _fields(number, "", PageSource.EMPTY if seen.blank else PageSource.UNREADABLE, 0.0)
    words = [PageWord(word.text, word.start, word.confidence, *word.box, word.block, word.line) for word in seen.words]
    return _fields(number, seen.text, source, seen.confidence) | _places(seen.size, pack_words(words))


def _of_scan(number: int, seen: Recognised, pdf: Path | None = None) -> dict[str, Any]:
    return _of_words(number, seen, PageSource.OCR) | _marks(marks.of_scan(seen, number, pdf))


def _with_marks(page: dict[str, Any], pdf: PdfDocument, path: Path) -> dict[str, Any]:
    def draw() -> tuple[Image, float]:
        return pdf.render(page["number"], dpi=LAYER_DPI, max_pixels=MAX_RENDER_PIXELS)

    return page | _marks(marks.of_layer(PageText.model_validate(page), path, draw))


def _marks(found: list[PageMark]) -> dict[str, Any]:
    return {"marks": [mark.model_dump() for mark in found]}


def _places(size: tuple[int, int], table: str) -> dict[str, Any]:
    return {"width_px": size[0], "height_px": size[1], "word_table": table}


def _fields(number: int, text: str, source: PageSource, confidence: float) -> dict[str, Any]:
    return {"number": number, "text": text, "source": source.value, "confidence": confidence}
