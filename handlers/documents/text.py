"""One page's text, from wherever it can be had: the file's own text layer, or recognition of its picture."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any, Final

from handlers.documents import plain
from handlers.documents.cleaning import clean_text
from handlers.documents.engines import open_pdf
from handlers.documents.images import FORMATS, grey_page
from handlers.documents.recognition import Recognised, recognise
from jobqueue.errors import InvalidInput, LimitExceeded, RejectedFile

RENDER_DPI: Final = 300
MAX_RENDER_PIXELS: Final = 25_000_000  # A3 at 300 dpi has 17 million

_MIN_CHARACTERS: Final = 16
_MIN_LETTER_SHARE: Final = 0.5
_MAX_UNMAPPED_SHARE: Final = 0.05
_SCAN_SHARE: Final = 0.5  # pictures over half a page are a scan ...
_STAMP_CHARACTERS: Final = 300  # ... and so few characters on it an envelope id or a page number, not its text

_FILLERS: Final = re.compile(r"([_.\-–—·…*=])\1{2,}")  # blanks to fill in, and leaders
_UNMAPPED: Final = re.compile("[\ufffd\ue000-\uf8ff]")  # glyphs without a character, or with a private one


def read_page(path: str, mime_type: str, number: int, *, engine: str, languages: str) -> dict[str, Any]:
    """The text of one page of an accepted file, as the fields of `jobqueue.tasks.PageText`.

    Args:
        path: the file on this machine.
        mime_type: its type as `inspect` found it.
        number: of the page, counted from 1.
        engine: which PDF engine; see `open_pdf`.
        languages: for recognition; Tesseract's codes, joined by ``+``.

    Raises:
        RejectedFile: the page is damaged, or isn't there.
        LimitExceeded: it takes too long, or has more than `plain.MAX_CHARACTERS` characters.
        InvalidInput: there is no such page number or type.
        ConfigError: the engine or a language is not installed.
    """
    started = time.monotonic()
    if number < 1:
        raise InvalidInput(f"there is no page {number}: pages are counted from 1")
    if mime_type == "text/plain":
        layer, seen = _plain_page(Path(path), number), None
    elif mime_type == "application/pdf":
        layer, seen = _pdf_page(Path(path), number, engine, languages)
    elif mime_type in FORMATS:
        image, dpi = grey_page(Path(path), mime_type, number, max_pixels=MAX_RENDER_PIXELS)
        layer, seen = "", recognise(image, languages=languages, dpi=dpi)
    else:
        raise InvalidInput(f"a file of type {mime_type!r} can't be read")
    text, source, confidence = _best(layer, seen)
    if len(text) > plain.MAX_CHARACTERS:
        raise LimitExceeded(
            f"page {number} holds {len(text):,} characters, more than the {plain.MAX_CHARACTERS:,} allowed: split it"
        )
    seconds = round(time.monotonic() - started, 3)
    return {"number": number, "text": text, "source": source, "confidence": confidence, "seconds": seconds}


def layered(path: str, mime_type: str, numbers: list[int], *, engine: str) -> bool:
    """Whether all these pages of an accepted file can be had without recognition; a damaged page can't.

    Raises `ConfigError` when the engine is not installed.
    """
    if mime_type != "application/pdf":
        return mime_type == "text/plain"
    try:
        with open_pdf(Path(path), engine=engine, file_name="the file") as pdf:
            return all(_layer(pdf, number)[1] for number in numbers)
    except RejectedFile:
        return False  # whoever reads that page says what is wrong with it


def plausible(text: str) -> bool:
    """Whether a text layer can be what the page says: long enough, mostly letters and digits, its glyphs mapped.

    >>> plausible("Buyer: ____________  Price: $425,000"), plausible("Page 3")
    (True, False)
    """
    characters = re.sub(r"\s", "", _FILLERS.sub("", text))
    if len(characters) < _MIN_CHARACTERS:
        return False
    return _letters(characters) >= _MIN_LETTER_SHARE * len(characters) and _mapped(characters)


def _letters(text: str) -> int:
    return sum(character.isalnum() for character in text)


def _mapped(text: str) -> bool:
    return len(_UNMAPPED.findall(text)) <= _MAX_UNMAPPED_SHARE * len(text)


def _pdf_page(path: Path, number: int, engine: str, languages: str) -> tuple[str, Recognised | None]:
    with open_pdf(path, engine=engine, file_name="the file") as pdf:
        if number > pdf.page_count:
            raise RejectedFile(f"page {number} is missing: the file ends with page {pdf.page_count}")
        layer, usable = _layer(pdf, number)
        if usable:
            return layer, None
        image, dpi = pdf.render(number, dpi=RENDER_DPI, max_pixels=MAX_RENDER_PIXELS)
    return layer, recognise(image, languages=languages, dpi=dpi)


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


def _best(layer: str, seen: Recognised | None) -> tuple[str, str, float]:
    """Text, source and confidence: what was recognised, unless a short but sound text layer says more."""
    if seen is None or (_letters(layer) > _letters(seen.text) and _mapped(layer)):
        return (layer, "text", 1.0) if layer.strip() else ("", "empty", 0.0)
    return (seen.text, "ocr", seen.confidence) if seen.text else ("", "empty", 0.0)
