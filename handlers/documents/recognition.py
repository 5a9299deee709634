"""Optical character recognition of one page: as cheap as its print allows, and twice only where once read badly.

What each step is worth, measured on generated office scans (share of words read, seconds of processor time a page):

- 200 dpi instead of 300 saves a quarter (1.42 s for 1.87) and loses nothing down to 6 points; below that 300 dpi
  reads 0.997 instead of 0.987 of the words. A fax (200 by 100 dpi) gains nothing by more (0.980 for 0.979).
- Scaling up pays for a scan of 72 dpi (0.977 for 0.938) and of 100 (0.993 for 0.984), not from 120 dpi on.
- Straightening: see `deskew`. Looking for the orientation: 0.2 s, so only where the sheet reads badly as it lies.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from handlers.documents.cleaning import clean_text
from handlers.documents.deskew import line_pitch, skew
from handlers.documents.languages import AUTO, choose, likelier
from handlers.documents.ocr_engines import Box, OcrEngine, Word, check_languages
from handlers.documents.pose import Pose
from jobqueue.errors import LimitExceeded

if TYPE_CHECKING:
    from PIL.Image import Image

TIMEOUT_S: Final = 90.0  # for all tries together
MIN_SIDE_PIXELS: Final = 16  # nothing smaller holds a letter, and Tesseract fails on slivers
PRINT_DPI: Final = 200.0
SMALL_PRINT_DPI: Final = 300.0
UPSCALE_BELOW_DPI: Final = 120.0
SMALL_PITCH_POINTS: Final = 8.0  # from line to line: print of 6 points and less
LOW_CONFIDENCE: Final = 0.8  # a straight page of clean print has 0.95, one lying on its side 0.3 to 0.5
SURE: Final = 0.6  # a word below is suspect: marked, never changed
_PITCH_REDUCED: Final = 2  # half the resolution tells lines apart just as well
_SURE_ORIENTATION: Final = 1.0
_BLANK_RANGE: Final = 24  # between the darkest and the lightest spot of a page without anything on it

Render = Callable[[float], "tuple[Image, float | None]"]
"""A page in grey at about that many dots per inch, with the resolution it got (None: unknown)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedWord:
    """A word, where it begins in the page's text, and where it stands on the page.

    Attributes:
        box: left, top, right, bottom in pixels of the page as it was given, however it lay.
    """

    text: str
    start: int
    confidence: float
    box: Box
    block: int
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A page as it was read, for whoever looks for more on it.

    Attributes:
        image: set upright, in grey.
        dpi: None where unknown.
        pose: the way back to the picture as it lies.
        boxes: of the words, on this sheet.
    """

    image: Image
    dpi: float | None
    pose: Pose
    boxes: tuple[Box, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """What was read on a page.

    Attributes:
        text: its words; lines and paragraphs parted by line feeds.
        confidence: the mean of its words, 0..1; 0 where there is no word.
        words: in reading order.
        size: width and height of the picture in pixels, to which the words' boxes belong.
        blank: there is nothing on the page, not even something unreadable.
        sheet: what was read; None where nothing was.
    """

    text: str
    confidence: float
    words: tuple[PlacedWord, ...] = ()
    size: tuple[int, int] = (0, 0)
    blank: bool = False
    sheet: Sheet | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    words: list[Word]
    pose: Pose
    image: Image
    dpi: float | None

    @property
    def confidence(self) -> float:
        return sum(word.confidence for word in self.words) / len(self.words) if self.words else 0.0

    @property
    def worth(self) -> int:
        """How many letters were read that are surely there: nonsense has many words, too."""
        return sum(len(word.text) for word in self.words if word.confidence >= SURE)


def recognise(render: Render, *, engine: OcrEngine, languages: str, own_dpi: float | None = None) -> Recognised:
    """Read a page, lying in any of the four orientations and a few degrees askew.

    Args:
        render: makes its picture.
        engine: see `ocr_engine`.
        languages: Tesseract's codes, joined by ``+``; ``auto``: what the page is in, of those installed.
        own_dpi: the resolution of the scan, where it is known; there is nothing to see beyond it.

    Raises:
        LimitExceeded: the page took longer than `TIMEOUT_S`.
        RejectedFile: the picture can't be read.
        SandboxCrashed: the engine was killed.
        Unavailable: Tesseract is not installed on this worker.
        ConfigError: it lacks one of the languages.
    """
    installed = engine.languages()
    if languages != AUTO:
        check_languages(languages, installed)
    image, dpi = render(_print_dpi(own_dpi))
    if min(image.size) < MIN_SIDE_PIXELS or _range(image) < _BLANK_RANGE:
        return Recognised(text="", confidence=0.0, size=image.size, blank=True)
    reader = _Reader(engine, choose(languages, installed), time.monotonic() + TIMEOUT_S)
    pose = Pose(size=image.size, skew=skew(image))
    if _is_small_print(pose.upright(image.reduce(_PITCH_REDUCED)), dpi, own_dpi):
        image, dpi = render(SMALL_PRINT_DPI)
        pose = replace(pose, size=image.size)
    best = reader.read(image, pose, dpi)
    if best.confidence < LOW_CONFIDENCE:
        best = reader.better(best, image, dpi)
    if languages == AUTO and (other := likelier(_joined(best.words), reader.languages, installed)):
        best = max(best, reader.also(best, image, dpi, other), key=lambda reading: reading.worth)
    return _placed(best)


class _Reader:
    """One page's tries, within one time limit."""

    def __init__(self, engine: OcrEngine, languages: str, deadline: float) -> None:
        self.languages = languages
        self._engine = engine
        self._deadline = deadline

    def read(self, image: Image, pose: Pose, dpi: float | None, languages: str = "") -> _Reading:
        upright = pose.upright(image)
        words = self._engine.words(
            upright,
            languages=languages or self.languages,
            dpi=dpi,
            timeout_s=self._left_s(),
        )
        return _Reading(words=words, pose=pose, image=upright, dpi=dpi)

    def better(self, first: _Reading, image: Image, dpi: float | None) -> _Reading:
        """The best of what a second try gives and the first: the sheet turned upright, where it lay otherwise."""
        try:
            found = self._engine.orientation(image, timeout_s=self._left_s())
            if found is None or found.degrees == 0 or found.confidence < _SURE_ORIENTATION:
                return first
            pose = Pose(size=image.size, turn=found.degrees)
            pose = replace(pose, skew=skew(pose.upright(image)))
            return max(first, self.read(image, pose, dpi), key=lambda reading: reading.worth)
        except LimitExceeded:
            return first  # that one is whole

    def also(self, first: _Reading, image: Image, dpi: float | None, languages: str) -> _Reading:
        """The same page once more in other languages."""
        try:
            return self.read(image, first.pose, dpi, languages)
        except LimitExceeded:
            return first

    def _left_s(self) -> float:
        return max(0.001, self._deadline - time.monotonic())


def _print_dpi(own_dpi: float | None) -> float:
    return PRINT_DPI if own_dpi is None or own_dpi < UPSCALE_BELOW_DPI else min(own_dpi, PRINT_DPI)


def _is_small_print(image: Image, dpi: float | None, own_dpi: float | None) -> bool:
    # Where the budget has already lowered the resolution, asking for more gives the same picture.
    if not dpi or dpi < 0.99 * PRINT_DPI or (own_dpi is not None and own_dpi < 0.8 * SMALL_PRINT_DPI):
        return False
    pitch = line_pitch(image)
    return pitch is not None and pitch * _PITCH_REDUCED * 72 / dpi < SMALL_PITCH_POINTS


def _range(image: Image) -> int:
    # Of a smaller copy: the paper's grain is not something on it.
    darkest, lightest = image.reduce(4).getextrema()
    return int(lightest) - int(darkest)  # type: ignore[arg-type]  # a grey picture has one band: two numbers


def _joined(words: list[Word]) -> str:
    return " ".join(word.text for word in words)


def _placed(reading: _Reading) -> Recognised:
    """Words to lines, a blank line between paragraphs; each word's place in the text and on the page."""
    cleaned = [replace(word, text=clean_text(word.text)) for word in reading.words]
    words = [word for word in cleaned if word.text]
    separators = [""] + [_separator(before, word) for before, word in pairwise(words)]
    placed, length = [], 0
    for separator, word in zip(separators, words, strict=False):
        length += len(separator)
        box = reading.pose.on_page(word.box)
        placed.append(
            PlacedWord(
                text=word.text, start=length, confidence=word.confidence, box=box, block=word.block, line=word.line
            )
        )
        length += len(word.text)
    text = "".join(part for pair in zip(separators, (word.text for word in words), strict=False) for part in pair)
    confidence = round(reading.confidence, 4)
    sheet = Sheet(image=reading.image, dpi=reading.dpi, pose=reading.pose, boxes=tuple(word.box for word in words))
    return Recognised(text=text, confidence=confidence, words=tuple(placed), size=reading.pose.size, sheet=sheet)


def _separator(before: Word, word: Word) -> str:
    if (before.block, before.paragraph) != (word.block, word.paragraph):
        return "\n\n"
    return " " if before.line == word.line else "\n"
