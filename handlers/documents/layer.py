"""A page's text layer made ready: cleaned, in reading order, divided words whole, every word with its place."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, compress, count, repeat
from operator import add, ne
from typing import Final

from handlers.documents.cleaning import clean_text, is_clean
from handlers.documents.engine_parts import POINTS_PER_INCH
from handlers.documents.engines import Layer, LayerWord
from handlers.documents.hyphens import is_divided, made_whole
from handlers.documents.layout import arranged, beside
from jobqueue.tasks import PageWord, pack_columns

LAYER_DPI: Final = 144
MAX_WORDS: Final = 100_000  # of a page, with places; the text goes on. A dense page has a thousand
_SCALE: Final = LAYER_DPI / POINTS_PER_INCH
_NEAR: Final = 10_000  # characters, in which a word of the file is found in the text


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Words by column, as the fields of `PageWord`: making hundreds of objects takes longer than finding the words."""

    texts: Sequence[str]
    starts: Sequence[int]
    boxes: tuple[Sequence[int], Sequence[int], Sequence[int], Sequence[int]]
    blocks: Sequence[int]
    lines: Sequence[int]

    def __iter__(self) -> Iterator[PageWord]:
        return map(
            PageWord._make,
            zip(self.texts, self.starts, repeat(1.0), *self.boxes, self.blocks, self.lines, strict=False),
        )

    @property
    def table(self) -> str:
        """As `pack_words` makes it."""
        percent = [100] * len(self.texts)
        return pack_columns(self.starts, map(len, self.texts), percent, *self.boxes, self.blocks, self.lines)


NO_WORDS: Final = Words(texts=(), starts=(), boxes=((), (), (), ()), blocks=(), lines=())


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedText:
    """A page's own text.

    Attributes:
        text: cleaned.
        words: in its order; each is a slice of it, and its box lies within the page.
        size: of the page at `LAYER_DPI`, the unit of the boxes.
    """

    text: str
    words: Words = NO_WORDS
    size: tuple[int, int] = (0, 0)


def placed(layer: Layer) -> PlacedText:
    """The text layer as `jobqueue.tasks.PageText` has it."""
    text = clean_text(layer.text)
    size = max(1, math.ceil(layer.width_pt * _SCALE)), max(1, math.ceil(layer.height_pt * _SCALE))
    words = _words(text, layer.words[:MAX_WORDS], size)
    if is_divided(text) or beside(_line_boxes(words)):
        text, several = made_whole(*arranged(text, list(words)))
        words = _by_column(several)
    return PlacedText(text=text, words=words, size=size)


def _words(text: str, words: Sequence[LayerWord], size: tuple[int, int]) -> Words:
    if not words:
        return NO_WORDS
    lefts, tops, rights, bottoms, texts, blocks, lines, _ = zip(*words, strict=True)
    if not is_clean("".join(texts)):
        texts = tuple(map(clean_text, texts))
    try:
        boxes = (*_pixels(lefts, rights, size[0]), *_pixels(tops, bottoms, size[1]))
    except (ValueError, OverflowError):  # a place that is no number, or infinite
        return _words(text, [word for word in words if all(map(math.isfinite, word[:4]))], size)
    left, right, top, bottom = boxes
    starts = _starts(text, texts)
    found = Words(texts=texts, starts=starts, boxes=(left, top, right, bottom), blocks=blocks, lines=lines)
    return found if min(starts) >= 0 else _by_column([word for word in found if word.start >= 0])


def _by_column(words: Iterable[PageWord]) -> Words:
    columns = list(zip(*words, strict=True))
    if not columns:
        return NO_WORDS
    texts, starts, _, left, top, right, bottom, blocks, lines = columns
    return Words(texts=texts, starts=starts, boxes=(left, top, right, bottom), blocks=blocks, lines=lines)


def _starts(text: str, texts: Sequence[str]) -> list[int]:
    """Where each word begins in the text; -1 where it isn't there."""
    if " ".join(texts) == text.replace("\n", " "):  # as most pages are
        return list(map(add, accumulate(map(len, texts[:-1]), initial=0), count()))
    find, at, starts = text.find, 0, []
    for word in texts:
        start = find(word, at, at + _NEAR) if word else -1
        starts.append(start)
        if start >= 0:
            at = start + len(word)
    return starts


def _pixels(lows_pt: Sequence[float], highs_pt: Sequence[float], most: int) -> tuple[list[int], list[int]]:
    """The pixels within the page from the one that each low lies in to beyond the one of each high."""
    lows = [int(place * _SCALE) for place in lows_pt]
    highs = [int(place * _SCALE) + 1 for place in highs_pt]
    if min(lows) < 0 or max(highs) > most:
        lows = [min(most - 1, max(0, place)) for place in lows]
        highs = [min(most, max(1, place)) for place in highs]
    return lows, highs


def _line_boxes(words: Words) -> list[tuple[int, int, int, int]]:
    """Top, left, right and bottom of each line, by its first and last word."""
    lefts, tops, rights, bottoms = words.boxes
    places = list(zip(words.blocks, words.lines, strict=True))
    ends = list(compress(count(), map(ne, places, places[1:])))
    spans = zip([0, *(end + 1 for end in ends)], [*ends, len(places) - 1], strict=True) if places else ()
    return [
        (min(tops[first], tops[last]), lefts[first], rights[last], max(bottoms[first], bottoms[last]))
        for first, last in spans
    ]
