"""pypdfium2 behind the port of `handlers.documents.engines`."""

# ruff: noqa: PLC0415  # heavy libraries are imported inside functions, so that a worker stays light

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from handlers.documents.engine_parts import (
    POINTS_PER_INCH,
    Box,
    fitting_dpi,
    largest_dpi,
    metadata_of,
    needs_password,
    no_pages,
    reading,
    rendered,
    share,
    unreadable,
)
from jobqueue.errors import RejectedFile

if TYPE_CHECKING:
    from PIL.Image import Image

    from handlers.documents.engines import Layer, LayerWord, PdfDocument


_HYPHEN: Final = "\ufffe"
_WORD: Final = re.compile(rf"[^\s{_HYPHEN}]+")
_WIDE_GAP: Final = 1.0  # of the word's height: no blank of a line of print, however stretched
_BLOCK_PITCH: Final = 2.5  # of the word's height, from line to line: beyond is another paragraph


class _Pdfium:
    def __init__(self, document: Any, raw: Any) -> None:
        self.page_count = len(document)
        self._document = document
        self._raw = raw

    @property
    def metadata(self) -> dict[str, str]:
        return metadata_of(self._document.get_metadata_dict())

    def text(self, number: int) -> str:
        with reading(number):
            return _without_marks(self._page(number).get_textpage().get_text_range())

    def layer(self, number: int) -> Layer:
        from handlers.documents.engines import Layer  # it names this module

        with reading(number):
            page = self._page(number)
            width, height = page.get_size()
            text_page = page.get_textpage()
            text = text_page.get_text_range()
            places = _Places(page, text_page, self._raw)
            spans = [match.span() for match in _WORD.finditer(text)]
            boxes = [places.box(*span) for span in spans]
            return Layer(
                text=_without_marks(text),
                words=_numbered(text, spans, boxes),
                width_pt=width,
                height_pt=height,
            )

    def _page(self, number: int) -> Any:
        page = self._document[number - 1]
        if self._document.formenv:
            page.flatten()  # in memory: the values of form fields become text like any other
            page = self._document[number - 1]
        return page

    def picture_share(self, number: int) -> float:
        with reading(number):
            page = self._document[number - 1]
            pictures = page.get_objects(filter=[self._raw.FPDF_PAGEOBJ_IMAGE], max_depth=4)
            return min(1.0, sum(share(picture.get_bounds(), page.get_bbox()) for picture in pictures))

    def bare_pictures(self, number: int, *, min_share: float) -> list[Box]:
        with reading(number):
            page = self._document[number - 1]
            sheet, text = page.get_bbox(), page.get_textpage()
            pictures = page.get_objects(filter=[self._raw.FPDF_PAGEOBJ_IMAGE], max_depth=4)
            boxes = [box for box in (picture.get_bounds() for picture in pictures) if share(box, sheet) >= min_share]
            return [
                rendered(box, sheet, page.get_rotation()) for box in boxes if not text.get_text_bounded(*box).strip()
            ]

    def scan_dpi(self, number: int) -> float | None:
        with reading(number):
            pictures = self._document[number - 1].get_objects(filter=[self._raw.FPDF_PAGEOBJ_IMAGE], max_depth=4)
            return largest_dpi((picture.get_bounds(), picture.get_px_size()) for picture in pictures)

    def render(self, number: int, *, dpi: float, max_pixels: int) -> tuple[Image, float]:
        with reading(number):
            page = self._document[number - 1]
            dpi = fitting_dpi(*page.get_size(), dpi=dpi, max_pixels=max_pixels)
            bitmap = page.render(scale=dpi / POINTS_PER_INCH, grayscale=True)
            image: Image = bitmap.to_pil().convert("L")
            return image, dpi


def _without_marks(text: str) -> str:
    """PDFium marks a hyphen at a line's end, and the line's end with it, by one noncharacter."""
    return text.replace(_HYPHEN, "-\n")


class _Places:
    """Where the characters of a page's text are."""

    def __init__(self, page: Any, text_page: Any, raw: Any) -> None:
        self._text_page = text_page
        self._raw = raw
        self._sheet: Box = page.get_bbox()
        self._rotation: int = page.get_rotation()
        self._size: tuple[float, float] = page.get_size()

    def box(self, start: int, end: int) -> Box | None:
        """The box around these characters, in points of the page as rendered; None where they have none."""
        # With the font's height, so that words of a line are of one height; the ink's boxes are not.
        ends = [box for at in (start, end - 1) if (box := self._loose_box(at))]
        if not ends:
            return None
        lefts, lows, rights, highs = zip(*ends, strict=True)
        left, top, right, bottom = rendered(
            (min(lefts), min(lows), max(rights), max(highs)), self._sheet, self._rotation
        )
        width, height = self._size
        return left * width, top * height, right * width, bottom * height

    def _loose_box(self, at: int) -> Box | None:
        index = self._raw.FPDFText_GetCharIndexFromTextIndex(self._text_page, at)
        return self._text_page.get_charbox(index, loose=True) if index >= 0 else None


def _are_apart(one: Box, other: Box) -> bool:
    """Whether two words are in different lines all the same: what stands side by side is one line to PDFium."""
    height = min(one[3] - one[1], other[3] - other[1])
    gap = max(one[0], other[0]) - min(one[2], other[2])
    return gap > _WIDE_GAP * height or 2 * (min(one[3], other[3]) - max(one[1], other[1])) < height


def _numbered(text: str, spans: list[tuple[int, int]], boxes: list[Box | None]) -> list[LayerWord]:
    """Words with the numbers of their blocks and lines, of which PDFium has none."""
    words: list[LayerWord] = []
    block = line = word = 0
    end, before = 0, None
    for span, box in zip(spans, boxes, strict=True):
        if box is None:
            continue
        if before is not None:
            height = before[3] - before[1]
            new_line = "\n" in text[end : span[0]] or text[end : end + 1] == _HYPHEN
            if new_line and not 0 <= box[1] - before[1] < _BLOCK_PITCH * height:
                block, line, word = block + 1, 0, 0
            elif new_line or _are_apart(box, before):
                line, word = line + 1, 0
            else:
                word += 1
        words.append(
            (*box, text[slice(*span)] + ("-" if text[span[1] : span[1] + 1] == _HYPHEN else ""), block, line, word)
        )
        end, before = span[1], box
    return words


@contextmanager
def open_document(path: Path, file_name: str) -> Iterator[PdfDocument]:
    import pypdfium2
    from pypdfium2 import raw

    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as exc:
        raise _pdfium_refusal(path, file_name, exc, raw) from exc
    try:
        if document.get_formtype():
            document.init_forms()
        yield _Pdfium(document, raw)
    finally:
        document.close()


def _pdfium_refusal(path: Path, file_name: str, exc: Exception, raw: Any) -> RejectedFile:
    """Why PDFium didn't open a file.

    The error code in ``exc`` can be an earlier file's, for a document that opens but has no pages sets none: the
    file is tried again, to have its own.
    """
    document = raw.FPDF_LoadDocument(os.fsencode(path), None)
    if document:
        raw.FPDF_CloseDocument(document)
        return no_pages(file_name)
    if raw.FPDF_GetLastError() == raw.FPDF_ERR_PASSWORD:
        return needs_password(file_name)
    return unreadable(file_name, exc)
