"""Pictures on a page that has its own text: what is written on them is in no text layer."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from handlers.documents.engines import PdfDocument
from handlers.documents.layer import PlacedText
from handlers.documents.ocr_engines import Box
from handlers.documents.recognition import SURE, PlacedWord, Recognised, Render
from jobqueue.errors import LimitExceeded

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL.Image import Image

MIN_SHARE: Final = 0.08  # of the page: a strip as wide as the print and an inch high; logos and signatures are smaller
MAX_PICTURES: Final = 4  # a page of photographs is not worth a minute
PATIENCE_S: Final = 20.0  # after which no further picture is begun: the page has a limit of its own
MIN_WORDS: Final = 3  # fewer are a photograph's accident


def read_inlays(
    pdf: PdfDocument, number: int, *, recognise: Callable[[Render], Recognised], max_pixels: int
) -> list[Recognised]:
    """What is written on the page's larger pictures, those without a text layer on them; surely read words only count.

    The words' boxes, and the sizes, are those of the whole page.
    """
    found: list[Recognised] = []
    started = time.monotonic()
    for share in pdf.bare_pictures(number, min_share=MIN_SHARE)[:MAX_PICTURES]:
        view = _View(pdf, number, share, max_pixels)
        try:
            seen = recognise(view.render)
        except LimitExceeded:
            return found  # the page's own text is not to be lost over a picture
        if len(seen.words) >= MIN_WORDS and seen.confidence >= SURE:
            found.append(view.on_page(seen))
        if time.monotonic() - started > PATIENCE_S:
            return found
    return found


class _View:
    """A part of a page, rendered with the page and cut out."""

    def __init__(self, pdf: PdfDocument, number: int, share: tuple[float, ...], max_pixels: int) -> None:
        self._pdf = pdf
        self._number = number
        self._share = share
        self._max_pixels = max_pixels
        self._page_size = (0, 0)
        self._corner = (0, 0)

    def render(self, dpi: float) -> tuple[Image, float | None]:
        page, dpi = self._pdf.render(self._number, dpi=dpi, max_pixels=self._max_pixels)
        left, top, right, bottom = self._share
        self._page_size = page.size
        self._corner = (max(0, int(left * page.width)), max(0, int(top * page.height)))
        lower = min(page.width, round(right * page.width)), min(page.height, round(bottom * page.height))
        return page.crop((*self._corner, *lower)), dpi

    def on_page(self, seen: Recognised) -> Recognised:
        words = tuple(replace(word, box=self._moved(word.box)) for word in seen.words)
        return replace(seen, words=words, size=self._page_size)

    def _moved(self, box: Box) -> Box:
        across, down = self._corner
        return box[0] + across, box[1] + down, box[2] + across, box[3] + down


def joined(layer: PlacedText, inlays: list[Recognised]) -> Recognised:
    """The layer's text with the pictures' below it; its confidence by the number of characters of each.

    All boxes are in the layer's unit: each picture was read at a resolution of its own.
    """
    text, sure = layer.text, float(len(layer.text))
    words = [
        PlacedWord(text=w.text, start=w.start, confidence=w.confidence, box=w[3:7], block=w.block, line=w.line)
        for w in layer.words
    ]
    for seen in inlays:
        text += "\n\n"
        # Blocks are counted on: two pictures' first blocks are not one.
        block = max((word.block for word in words), default=-1) + 1
        words += [
            replace(word, start=word.start + len(text), block=block + word.block, box=_scaled(word.box, seen, layer))
            for word in seen.words
        ]
        text += seen.text
        sure += seen.confidence * len(seen.text)
    return Recognised(text=text, confidence=round(min(1.0, sure / len(text)), 4), words=tuple(words), size=layer.size)


def _scaled(box: Box, seen: Recognised, layer: PlacedText) -> Box:
    across, down = layer.size[0] / seen.size[0], layer.size[1] / seen.size[1]
    left, top = min(int(box[0] * across), layer.size[0] - 1), min(int(box[1] * down), layer.size[1] - 1)
    right, bottom = math.ceil(box[2] * across), math.ceil(box[3] * down)
    return left, top, max(left + 1, min(right, layer.size[0])), max(top + 1, min(bottom, layer.size[1]))
