"""One page's text, from wherever it can be had: the file's own text layer, or recognition of its picture."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from handlers.documents import ocr_engines, office_text, plain
from handlers.documents.cleaning import clean_text
from handlers.documents.engines import open_pdf
from handlers.documents.images import FORMATS, at_dpi, grey_page, likely_dpi
from handlers.documents.inlays import joined, read_inlays
from handlers.documents.kept import kept_pdf
from handlers.documents.plausible import letters, plausible, sound
from handlers.documents.recognition import Recognised, Render, recognise
from jobqueue.errors import InvalidInput, LimitExceeded, RejectedFile
from jobqueue.tasks import PageSource, PageWord, pack_words

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_RENDER_PIXELS: Final = 25_000_000  # A3 at 300 dpi has 17 million

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
    if mime_type == "text/plain":
        page = _of_layer(number, _plain_page(Path(path), number))
    elif mime_type == "application/pdf":
        page = _pdf_page(Path(path), number, reader)
    elif mime_type in office_text.READERS:
        page = _of_layer(number, office_text.page_of(Path(path), mime_type, number))
    elif mime_type in FORMATS:
        page = _of_words(number, _picture_page(Path(path), mime_type, number, reader), PageSource.OCR)
    else:
        raise InvalidInput(f"a file of type {mime_type!r} can't be read")
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
            return all(_layer(pdf, number)[1] for number in numbers)
    except RejectedFile:
        return False  # whoever reads that page says what is wrong with it


def _pdf_page(path: Path, number: int, reader: _Reader) -> dict[str, Any]:
    """By its text layer where that is sound, the pictures beside it included; else as it looks."""
    pdf = kept_pdf(path, engine=reader.pdf_engine)
    if number > pdf.page_count:
        raise RejectedFile(f"page {number} is missing: the file ends with page {pdf.page_count}")
    layer, usable = _layer(pdf, number)
    if usable:
        read = functools.partial(reader.recognise, own_dpi=None)
        inlays = read_inlays(pdf, number, recognise=read, max_pixels=MAX_RENDER_PIXELS)
        return _of_words(number, joined(layer, inlays), PageSource.BOTH) if inlays else _of_layer(number, layer)
    scanned = pdf.picture_share(number) > _SCAN_SHARE

    def render(dpi: float) -> tuple[Image, float | None]:
        return pdf.render(number, dpi=dpi, max_pixels=MAX_RENDER_PIXELS)

    seen = reader.recognise(render, pdf.scan_dpi(number) if scanned else None)
    if letters(layer) > letters(seen.text) and sound(layer):  # short, but it says more
        return _of_layer(number, layer)
    return _of_words(number, seen, PageSource.OCR)


def _picture_page(path: Path, mime_type: str, number: int, reader: _Reader) -> Recognised:
    image, stated_dpi = grey_page(path, mime_type, number, max_pixels=MAX_RENDER_PIXELS)
    own_dpi = stated_dpi or likely_dpi(image)

    def render(dpi: float) -> tuple[Image, float | None]:
        return at_dpi(image, own_dpi, dpi, max_pixels=MAX_RENDER_PIXELS)

    return reader.recognise(render, own_dpi)


def _layer(pdf: Any, number: int) -> tuple[str, bool]:
    """A page's own text, and whether that is what the page says."""
    layer = clean_text(pdf.text(number))
    stamp_only = len(layer) < _STAMP_CHARACTERS and pdf.picture_share(number) > _SCAN_SHARE
    return layer, plausible(layer) and not stamp_only


def _plain_page(path: Path, number: int) -> str:
    if number > 1:
        raise RejectedFile(f"page {number} is missing: a text file is one page")
    text = plain.decode(path.read_bytes())
    if text is None:
        raise RejectedFile("the file is no plain text: ingest it again")
    return clean_text(text)


def _of_layer(number: int, layer: str) -> dict[str, Any]:
    return _fields(number, layer, PageSource.TEXT, 1.0) if layer.strip() else _fields(number, "", PageSource.EMPTY, 0.0)


def _of_words(number: int, seen: Recognised, source: PageSource) -> dict[str, Any]:
    if not seen.text:
        return _fields(number, "", PageSource.EMPTY if seen.blank else PageSource.UNREADABLE, 0.0)
    words = [PageWord(word.text, word.start, word.confidence, *word.box, word.block, word.line) for word in seen.words]
    return _fields(number, seen.text, source, seen.confidence) | {
        "width_px": seen.size[0],
        "height_px": seen.size[1],
        "word_table": pack_words(words),
    }


def _fields(number: int, text: str, source: PageSource, confidence: float) -> dict[str, Any]:
    return {"number": number, "text": text, "source": source.value, "confidence": confidence}
